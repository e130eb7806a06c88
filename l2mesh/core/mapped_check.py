"""Whether we are reached at an address that a router says it mapped to us. Routers lie, so a supernode tries it.

    claim ──> requests at 0, 0.5, 1.5, 3, 5, 7 s, to one supernode after the other; each sends a probe there
               a probe came       the address is a candidate
               none within 9 s    it is none, and its router is told; so too when all supernodes refuse
               nobody could try   as before; again each minute

Checked again when the mapping is renewed, and when something raises doubt: a peer is lost there, or a supernode
hears us from another address. Until then a candidate stays one.

A probe that came in by the very socket which we keep open to that supernode proves nothing, if the address is the
one that it sees us at anyway: then the NAT would have let it in without a mapping.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Protocol

from l2mesh.core.events import MappingChecked
from l2mesh.core.mapping_values import Verdict
from l2mesh.core.supernode_link import LinkState
from l2mesh.wire.address import Address, ip_version
from l2mesh.wire.control import Control, ReachProbe, ReachReply, ReachRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from l2mesh.core.events import Event
    from l2mesh.core.peer import Peer, Via
    from l2mesh.core.supernode_link import SupernodeLink

TRY_AGAIN_S: Final = (0.5, 1.0, 1.5, 2.0, 2.0, 2.0)
"""With a fifth of all datagrams lost, six requests and their probes are in vain one time in five hundred."""
SENT_LEAST: Final = 2
"""Fewer probes than that may all have been lost."""
AGAIN_S: Final = 60.0
NO_SUPERNODE_S: Final = 2.0
"""No supernode is registered at yet: look again, as often as it is probed."""
DOUBT_EVERY_S: Final = 30.0
"""Peers come and go by paths that have nothing to do with the mapping."""
TRANSACTION_SIZE: Final = 8


class CheckNode(Protocol):
    """What the check needs of its edge."""

    def send_control(self, peer: Peer, message: Control, now: float, via: Via | None = None) -> bool: ...
    def set_mapped(self, addresses: list[Address], now: float) -> None: ...
    def random_bytes(self, size: int) -> bytes: ...
    def tell(self, event: Event) -> None: ...


class MappedCheck:
    """Doors: claim, doubt, receive; handle_timer, next_at. `verified`: the address is a candidate."""

    def __init__(self, node: CheckNode, links: Sequence[SupernodeLink]) -> None:
        self.address: Address | None = None
        self.verified = False
        self.next_at = float("inf")
        self._node = node
        self._links = links
        self._transaction = b""
        self._tries = 0
        self._sent = 0
        self._refused: dict[SupernodeLink, str] = {}
        self._unproven = False
        self._begun_at = float("-inf")

    # ---- doors

    def claim(self, address: Address | None, now: float) -> None:
        """The router says that it maps this IPv4 address to us, or says so again; None: it maps none."""
        if address != self.address:
            self._set(address, verified=False, now=now)
        if address is not None:
            self._begin(now)

    def doubt(self, now: float) -> None:
        """Something was lost that may have come in there, or a supernode hears us from another address."""
        if self._transaction and not self._tries:  # a check that waits for the first supernode
            self.next_at = now
        elif self.address is not None:
            self.next_at = min(self.next_at, max(now, self._begun_at + DOUBT_EVERY_S))

    def receive(self, link: SupernodeLink, message: ReachReply | ReachProbe, via: Via, now: float) -> None:
        if not self._transaction or message.transaction != self._transaction:
            return  # late: the check is over
        if isinstance(message, ReachReply):
            self._heard(link, message, now)
        elif self._proves(link, via):
            self._end(Verdict.REACHED, f"supernode {link.name} reached us there", now)
        else:
            self._unproven = True

    def handle_timer(self, now: float) -> None:
        if now < self.next_at:
            return
        if not self._transaction:
            self._begin(now)
        elif self._tries == len(TRY_AGAIN_S):
            self._give_up(now)
        else:
            self._try(now)

    # ---- details

    def _heard(self, link: SupernodeLink, reply: ReachReply, now: float) -> None:
        if not reply.refusal:
            self._sent += 1
            return
        self._refused[link] = reply.refusal
        if not self._sent and all(one in self._refused for one in self._able()):
            self._give_up(now)

    def _able(self) -> list[SupernodeLink]:
        """Those that may be asked."""
        return [link for link in self._links if link.state is LinkState.REGISTERED and _is_ipv4(link)]

    def _begin(self, now: float) -> None:
        self._transaction = self._node.random_bytes(TRANSACTION_SIZE)
        self._tries = self._sent = 0
        self._refused.clear()
        self._unproven = False
        self._begun_at = now
        self._try(now)

    def _try(self, now: float) -> None:
        assert self.address is not None
        links = self._able()
        if not links:
            self.next_at = now + NO_SUPERNODE_S
            return
        peer = links[self._tries % len(links)].peer
        assert peer is not None
        host, port = self.address
        self._node.send_control(peer, ReachRequest(ip_address(host).packed, port, self._transaction), now)
        self.next_at = now + TRY_AGAIN_S[self._tries]
        self._tries += 1

    def _proves(self, link: SupernodeLink, via: Via) -> bool:
        assert link.peer is not None
        return self.address != link.observed or via != link.peer.via

    def _give_up(self, now: float) -> None:
        if self._unproven:
            self._end(Verdict.UNPROVEN, "it is the address that the NAT uses anyway, so no probe proves it", now)
        elif self._sent >= SENT_LEAST:
            self._end(Verdict.UNREACHED, "probes from outside do not arrive", now)
        elif self._refused:
            [reason, *_] = self._refused.values()
            self._end(Verdict.ELSEWHERE, f"a supernode refuses to probe it: {reason}", now)
        else:
            self._end(Verdict.UNPROVEN, "no supernode could probe it", now)

    def _end(self, verdict: Verdict, detail: str, now: float) -> None:
        address = self.address
        assert address is not None
        self._transaction = b""
        self.next_at = now + AGAIN_S if verdict is Verdict.UNPROVEN else float("inf")
        if verdict is not Verdict.UNPROVEN and self.verified is not (verdict is Verdict.REACHED):
            self._set(address, verified=verdict is Verdict.REACHED, now=now)
        self._node.tell(MappingChecked(address, verdict, detail))

    def _set(self, address: Address | None, *, verified: bool, now: float) -> None:
        before, self.verified = self.verified, verified
        if address != self.address:
            self._transaction = b""
            self.next_at = float("inf")
        self.address = address
        if before or verified:
            self._node.set_mapped([address] if verified and address is not None else [], now)


def _is_ipv4(link: SupernodeLink) -> bool:
    """Whether our session with it is by IPv4, so that it sees the address that the router maps."""
    return link.peer is not None and link.peer.via is not None and ip_version(link.peer.via[0][0]) == 4
