"""An edge as a relay: channels for pairs of other members, when its file and its certificate let it.

It has a direct path to both ends of a pair, or there is no pair: a channel that one end asks for is refused, and
closed when a path is lost. So what it relays is never relayed again, and goes nowhere but to members that it has
a session with. It can open none of it. What a supernode does in this place is in supernode.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.relay import DEFAULT_NETWORK_RATE, DEFAULT_PAIR_RATE, Relay
from l2mesh.wire.control import Channel, Control, NoChannel

if TYPE_CHECKING:
    from l2mesh.core.peer import Peer, Via
    from l2mesh.core.remote_edge import RemoteEdge
    from l2mesh.crypto.keys import RandomBytes

PAIRS_MAX: Final = 16_384
"""About 600 bytes each."""
PAIRS_PER_MEMBER_MAX: Final = 256
"""A member with so many pairs gets no more by asking: it takes 64 hostile ones to fill the table."""
IDLE_S: Final = 120.0
"""A pair that carried nothing for so long is closed. A path that is in use, or kept as a second choice, carries
probes several times in this time."""


class MemberRelayNode(Protocol):
    """What the relay needs of its edge."""

    drops: Drops
    edges: dict[bytes, RemoteEdge]

    def relays_for_others(self) -> bool: ...
    def send_control(self, peer: Peer, message: Control, now: float, via: Via | None = None) -> bool: ...


class MemberRelay:
    """Doors: asked, declined, leg_changed, sweep. Datagrams go to `relay` straight."""

    def __init__(self, node: MemberRelayNode, network: bytes, random_bytes: RandomBytes) -> None:
        self.relay = Relay(
            node.drops,
            random_bytes,
            pair_rate=DEFAULT_PAIR_RATE,
            network_rate=DEFAULT_NETWORK_RATE,
            pairs_max=PAIRS_MAX,
            pairs_per_member_max=PAIRS_PER_MEMBER_MAX,
        )
        self._node = node
        self._network = network

    def asked(self, asker: RemoteEdge, public_key: bytes, now: float) -> None:
        """A member wants a channel to another: both are told theirs, as often as one asks, or the one that there
        is none."""
        if not asker.channel_requests.take(1, now):
            self._node.drops.count(DropReason.RATE_LIMITED)
            return
        other = self._node.edges.get(public_key)
        if not self._node.relays_for_others():
            self._node.drops.count(DropReason.NOT_A_RELAY)
        elif other is not None and other is not asker and asker.leg is not None and other.leg is not None:
            channels = self.relay.open_pair(self._network, asker, other, now)
            if channels is not None:
                self._node.send_control(asker, Channel(public_key, channels[0]), now)
                self._node.send_control(other, Channel(asker.public_key, channels[1]), now)
                return
        self._node.send_control(asker, NoChannel(public_key), now)

    def declined(self, member: RemoteEdge, public_key: bytes, now: float) -> None:
        """One end does not want the channel that it was given: the other is told that there is none."""
        other = self._node.edges.get(public_key)
        if other is not None and self.relay.close_pair(member, other):
            self._node.send_control(other, NoChannel(member.public_key), now)

    def leg_changed(self, edge: RemoteEdge, now: float) -> None:
        """There is another direct path to a member, or none any more."""
        if edge.leg is not None:
            return
        others = self.relay.others_of(edge)
        self.relay.close_all_of(edge)
        for other in others:
            self._tell_closed(edge, other, now)

    def sweep(self, now: float) -> None:
        for one, other in self.relay.close_idle(now - IDLE_S):
            self._tell_closed(one, other, now)

    def _tell_closed(self, one: Peer, other: Peer, now: float) -> None:
        self._node.send_control(one, NoChannel(other.public_key), now)
        self._node.send_control(other, NoChannel(one.public_key), now)
