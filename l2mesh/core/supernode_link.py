"""An edge's link to one supernode of its file: from its name to a registration that is kept alive.

    RESOLVING    the name has no address yet (the shell asks DNS, again and again)
    ASKING_KEY   no key is pinned or remembered: ask for it, trust the first answer, remember it
    CONNECTING   a handshake is under way
    REGISTERING  Register was sent, and is sent again each second
    REGISTERED   renewed three times within its lease

    RESOLVING -> ASKING_KEY -> CONNECTING -> REGISTERING -> REGISTERED
                                    ^  probes unanswered  ------'
    REGISTERING -> REFUSED -> REGISTERING (after a minute: a clock may be set, a list extended)

A probe goes out every 2 s, so that a supernode that restarted (and knows nothing of us) has our registration again
within 5 s. It keeps our NAT mapping open too. The old session stays in use until the new one: frames that the
supernode relays need no registration of ours to be renewed in time.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Protocol

from l2mesh.core.directory import Directory
from l2mesh.core.events import Event, SupernodeLost, SupernodeReached, SupernodeRefused, SupernodeTrusted
from l2mesh.core.peer import Peer, Via
from l2mesh.crypto.keys import encode_key
from l2mesh.wire.address import Address, format_address, parse_ip
from l2mesh.wire.control import Control, DirectoryHint, Refused, Register, Registered
from l2mesh.wire.outer import emit_key_request

ADDRESSES_MAX: Final = 4
"""Addresses of one name that a handshake is tried on at once; the first answer wins (RFC 8305 in short)."""
PROBE_AFTER_S: Final = 2.0
LOST_AFTER_S: Final = 3.5
LOST_AFTER_PROBES: Final = 2
REPEAT_AFTER_S: Final = 1.0
CHECK_AFTER_S: Final = 0.2
"""However many peers' paths by it are in doubt, it is probed for them only so often."""
ASK_KEY_AFTER_S: Final = (0.5, 1.0, 2.0, 4.0, 5.0)
ASK_DIRECTORY_AFTER_S: Final = (1.0, 2.0, 4.0, 5.0)
"""An unanswered request for the directory is repeated: the supernode may be busy with ten thousand others'."""
REFUSED_FOR_S: Final = 60.0
RENEWALS_PER_LEASE: Final = 3
RENEWAL_JITTER: Final = 0.2
"""A renewal comes up to this part earlier: edges that all found a supernode again at once do not stay in step."""
RTT_SMOOTHING: Final = 0.125


class LinkState(Enum):
    RESOLVING = "resolving"
    ASKING_KEY = "asking for its key"
    CONNECTING = "connecting"
    REGISTERING = "registering"
    REFUSED = "refused"
    REGISTERED = "registered"


class LinkNode(Protocol):
    """What a link needs of the edge it belongs to."""

    def make_supernode_peer(self, link: SupernodeLink, public_key: bytes) -> Peer | None: ...
    def make_registration(self, sequence: int) -> Register: ...
    def send_control(self, peer: Peer, message: Control, now: float, via: Via | None = None) -> bool: ...
    def send_probe(self, peer: Peer, via: Via, now: float) -> bytes: ...
    def send_plain(self, datagram: bytes, address: Address) -> None: ...
    def wake_peer(self, peer: Peer, at: float) -> None: ...
    def wake_link(self, link: SupernodeLink, at: float) -> None: ...
    def tell(self, event: Event) -> None: ...
    def random_bytes(self, size: int) -> bytes: ...
    def chance(self) -> float: ...
    def observed_changed(self, now: float) -> None: ...
    def address_changed(self, now: float) -> None: ...
    def link_lost(self, link: SupernodeLink, now: float) -> None: ...


class SupernodeLink:
    """Doors: set_addresses, receive_key, established, receive, probe_replied, renew; turn."""

    def __init__(self, node: LinkNode, name: str, key: bytes | None) -> None:
        """`key`: the supernode's public key, pinned in the file or remembered from an earlier start."""
        self.name = name
        self.key = key
        self.state = LinkState.RESOLVING
        self.addresses: list[Address] = []
        self.peer: Peer | None = None
        self.observed: Address | None = None
        self.directory = Directory()
        self.rtt: float | None = None
        self.registered_at: float | None = None
        self.refusal = ""
        self._node = node
        self._nonce = b""
        self._asked = 0
        self._sequence = 0
        self._renewing = False
        self._repeat_at = 0.0
        self._renew_at = 0.0
        self._request_at = 0.0
        self._requests = 0
        """For the directory, since the last page."""
        self._probe_at = 0.0
        self._checked_at = float("-inf")
        self._probes: dict[bytes, float] = {}

    # ---- facts

    def set_addresses(self, addresses: list[Address], now: float) -> None:
        if addresses == self.addresses:
            return
        self.addresses = addresses[:ADDRESSES_MAX]
        if self.state is LinkState.RESOLVING:
            self._move_to(LinkState.ASKING_KEY)
            if self.key is not None:
                self._connect(self.key, now)
        elif self.peer is not None and (self.peer.via is None or self.peer.via[0] not in self.addresses):
            self.reconnect(now)
        self._node.wake_link(self, now)

    def receive_key(self, nonce: bytes, public_key: bytes, now: float) -> bool:
        """A key reply; False when it answers no request of ours."""
        if self.state is not LinkState.ASKING_KEY or nonce != self._nonce:
            return False
        self.key = public_key
        self._node.tell(SupernodeTrusted(self.name, f"{self.name}#{encode_key(public_key)}"))
        self._connect(public_key, now)
        return True

    def established(self, via: Via, now: float) -> None:
        assert self.peer is not None
        self.peer.via = via
        self._probes.clear()
        self._probe_at = now + PROBE_AFTER_S
        self._register(now)

    def receive(self, message: Control, now: float) -> bool:
        """Registered, Refused or DirectoryHint; False when it is something else. Raises BadPacket."""
        if isinstance(message, Registered):
            if message.sequence == self._sequence:
                self._registered(message, now)
        elif isinstance(message, Refused):
            if message.sequence == self._sequence:
                self._refused(message.reason, now)
        elif isinstance(message, DirectoryHint):
            self.directory.hint(message)
            self._request_at = now
            self._node.wake_link(self, now)
        else:
            return False
        return True

    def probe_replied(self, transaction: bytes, observed: Address, now: float) -> bool:
        sent_at = self._probes.get(transaction)
        if sent_at is None:
            return False
        self._probes.clear()
        self._probe_at = now + PROBE_AFTER_S
        rtt = now - sent_at
        self.rtt = rtt if self.rtt is None else self.rtt + RTT_SMOOTHING * (rtt - self.rtt)
        if self.observed not in (None, observed):
            self.observed = observed
            self._node.address_changed(now)
        return True

    def left(self, now: float) -> None:
        """The supernode said goodbye: it ends, or starts again."""
        self._lost("it is shutting down", now)

    def renew(self, now: float) -> None:
        """Our addresses changed: register again now."""
        if self.state in (LinkState.REGISTERED, LinkState.REGISTERING):
            self._register(now)
            self._probe_at = now
        elif self.peer is not None:
            self.reconnect(now)

    def renew_soon(self, now: float) -> None:
        """Our candidates changed: let the next renewal be now."""
        if self.state is LinkState.REGISTERED:
            self._renew_at = now
            self._renewing = False
            self._node.wake_link(self, now)

    def check(self, now: float) -> None:
        """It, or our NAT's mapping to it, may be gone: probe it now. Where only the mapping was, that makes a new
        one, and tells it where we are now, so that what it relays comes through again.
        """
        if self.peer is None or now - self._checked_at < CHECK_AFTER_S:
            return
        self._checked_at = self._probe_at = now
        self._node.wake_link(self, now)

    def page_received(self, now: float) -> None:
        """A page of the directory came: the next may be asked for at once."""
        self._request_at = now
        self._requests = 0
        self._node.wake_link(self, now)

    def reconnect(self, now: float) -> None:
        """A handshake now, whatever the session's age; the old session serves until then."""
        if self.peer is None:
            return
        self._move_to(LinkState.CONNECTING)
        self.peer.attempts = 0
        self.peer.renew_at = now
        self._node.wake_peer(self.peer, now)

    # ---- timers

    def turn(self, now: float) -> float:
        """Do what is due; the instant of the next."""
        if self.state is LinkState.ASKING_KEY:
            return self._ask_key(now)
        if self.state is LinkState.REFUSED:
            if now < self._repeat_at:
                return self._repeat_at
            self._register(now)
        if self.state is LinkState.REGISTERING:
            if now >= self._repeat_at:
                self._send_registration(now)
            return min(self._repeat_at, self._probe(now))
        if self.state is LinkState.REGISTERED:
            return self._keep(now)
        return float("inf")

    def _ask_key(self, now: float) -> float:
        if now >= self._repeat_at:
            self._nonce = self._nonce or self._node.random_bytes(8)
            for address in self.addresses:
                self._node.send_plain(emit_key_request(self._nonce), address)
            self._repeat_at = now + ASK_KEY_AFTER_S[min(self._asked, len(ASK_KEY_AFTER_S) - 1)]
            self._asked += 1
        return self._repeat_at

    def _keep(self, now: float) -> float:
        assert self.peer is not None
        if now >= self._renew_at:
            self._renew(now)
        request = self.directory.request()
        if request is not None and now >= self._request_at:
            self._node.send_control(self.peer, request, now)
            self._request_at = now + ASK_DIRECTORY_AFTER_S[min(self._requests, len(ASK_DIRECTORY_AFTER_S) - 1)]
            self._requests += 1
        next_at = min(self._renew_at, self._probe(now))
        return min(next_at, self._request_at) if request is not None else next_at

    def _probe(self, now: float) -> float:
        assert self.peer is not None
        silent = now - self.peer.last_received_at
        if len(self._probes) >= LOST_AFTER_PROBES and silent >= LOST_AFTER_S:
            self._lost("it does not answer", now)
            return float("inf")
        if now >= self._probe_at and self.peer.via is not None:
            self._probes[self._node.send_probe(self.peer, self.peer.via, now)] = now
            self._probe_at = now + REPEAT_AFTER_S
        return self._probe_at

    # ---- moves

    def _connect(self, key: bytes, now: float) -> None:
        self.peer = self._node.make_supernode_peer(self, key)
        if self.peer is None:
            self.refusal = "it is the same supernode as another one of the file"
            self._node.tell(SupernodeRefused(self.name, self.refusal))
            self._move_to(LinkState.REFUSED)
            self._repeat_at = float("inf")
            return
        self.peer.wanted_at = now
        self._move_to(LinkState.CONNECTING)
        self._node.wake_peer(self.peer, now)

    def _register(self, now: float) -> None:
        if self.peer is None:
            return
        self._sequence += 1
        self._move_to(LinkState.REGISTERING)
        self._send_registration(now)

    def _renew(self, now: float) -> None:
        if not self._renewing:
            self._sequence += 1
            self._renewing = True
        self._send_registration(now)

    def _send_registration(self, now: float) -> None:
        """Repeated under the same number: an answer that takes longer than a second is an answer too."""
        assert self.peer is not None
        self._node.send_control(self.peer, self._node.make_registration(self._sequence), now)
        self._repeat_at = self._renew_at = now + REPEAT_AFTER_S
        self._node.wake_link(self, now + REPEAT_AFTER_S)

    def _registered(self, message: Registered, now: float) -> None:
        observed = (parse_ip(message.ip), message.port)
        first = self.registered_at is None
        self._move_to(LinkState.REGISTERED)
        self.registered_at = now
        self.refusal = ""
        self._renewing = False
        self._renew_at = now + message.lease / RENEWALS_PER_LEASE * (1 - RENEWAL_JITTER * self._node.chance())
        self.directory.learn_version(message.epoch, message.version)
        self._request_at = now
        self._requests = 0
        changed, self.observed = observed != self.observed, observed
        if first:
            self._node.tell(SupernodeReached(self.name, format_address(observed)))
        if changed:
            self._node.observed_changed(now)
        self._node.wake_link(self, now)

    def _refused(self, reason: str, now: float) -> None:
        if reason != self.refusal:
            self._node.tell(SupernodeRefused(self.name, reason))
        self.refusal = reason
        self._move_to(LinkState.REFUSED)
        self._repeat_at = now + REFUSED_FOR_S
        self._node.wake_link(self, self._repeat_at)

    def _lost(self, reason: str, now: float) -> None:
        if self.registered_at is not None:
            self._node.tell(SupernodeLost(self.name, reason))
        self.registered_at = None
        self._probes.clear()
        self._node.link_lost(self, now)
        self.reconnect(now)

    def _move_to(self, state: LinkState) -> None:
        self.state = state
