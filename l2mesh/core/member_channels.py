"""Channels that other members relay for us: ways to peers that we have no direct path to.

    ask         two seconds after a peer is up and not reached directly, and at once when it is not reached at all:
                the nearest members that relay and that we reach directly ourselves. At most RELAYS_WANTED serve a
                peer; who is silent or refuses is asked again ever less often.
    channel     the relay tells both ends: a path to check, whoever asked
    lost        no direct path to the relay any more, or it says that there is no channel any more: so is the path

A relay is believed when its certificate says that it may. It can do no more than forward or not: a path by it is
selected after a round trip through it, as every other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.path import PathClass
from l2mesh.wire.control import Channel, ChannelRequest, Control, NoChannel
from l2mesh.wire.outer import relay_header

if TYPE_CHECKING:
    from l2mesh.core.path import Path
    from l2mesh.core.path_care import PathCare
    from l2mesh.core.peer import Peer, Via
    from l2mesh.core.remote_edge import RemoteEdge
    from l2mesh.wire.address import Address

RELAYS_WANTED: Final = 2
"""For one peer: one to use, one to take over."""
CHANNELS_MAX: Final = 4
"""To one peer: as many as we want, and as many as the peer does, for it may find others near."""
ASK_AFTER_S: Final = 2.0
"""What can be direct mostly is by then (CHECK_AT_S), and the supernode's relay carries meanwhile."""
ASK_AGAIN_S: Final = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
"""After the first request, the second ...: one may be lost, and the relay may soon reach the other end."""
ANSWER_WITHIN_S: Final = 1.0
"""Until then another relay is not asked in its place."""
GIVE_UP_AFTER_S: Final = 7.0
"""A channel whose path was never valid: the checks of a new path take 6.55 s."""


@dataclass(slots=True, eq=False)
class MemberChannel:
    """One end of a channel: to `edge`, by `relay`."""

    relay: RemoteEdge
    edge: RemoteEdge
    id: bytes
    via: Via
    opened_at: float

    @property
    def path(self) -> Path | None:
        return self.edge.paths.by_via.get(self.via)

    @property
    def works(self) -> bool:
        path = self.path
        return path is not None and path.valid_at is not None


@dataclass(slots=True)
class Ask:
    """What we asked a relay for: last when, how often, and whether it refused."""

    at: float = float("-inf")
    times: int = 0
    refused: bool = False

    @property
    def again_at(self) -> float:
        return self.at + ASK_AGAIN_S[min(self.times, len(ASK_AGAIN_S)) - 1] if self.times else self.at

    def awaits_answer(self, now: float) -> bool:
        return not self.refused and now - self.at < ANSWER_WITHIN_S


NOT_ASKED: Final = Ask()


class MemberChannelsNode(Protocol):
    """What these channels need of their edge."""

    drops: Drops
    edges: dict[bytes, RemoteEdge]

    def send_control(self, peer: Peer, message: Control, now: float, via: Via | None = None) -> bool: ...
    def try_initiation_on(self, peer: RemoteEdge, via: Via, now: float) -> None: ...
    def wake_peer(self, peer: Peer, at: float) -> None: ...


class MemberChannels:
    """Doors: way_of, vias_to, relay_of, received, refused, leg_changed, hinted, ask, forget; turn."""

    def __init__(self, node: MemberChannelsNode, care: PathCare, *, relays: bool) -> None:
        """`relays`: whether our frames may be relayed."""
        self._node = node
        self._care = care
        self._relays = relays
        self._near: dict[RemoteEdge, None] = {}
        """The members that relay and that we reach directly."""
        self._by_id: dict[bytes, MemberChannel] = {}

    def way_of(self, source: Address, header: bytes) -> Via | None:
        """The way by which a relayed datagram came, None when it is none of these. Hot."""
        channel = self._by_id.get(header[4:])
        return channel.via if channel is not None and channel.relay.is_at(source) else None

    def vias_to(self, edge: RemoteEdge) -> list[Via]:
        return [channel.via for channel in edge.member_channels.values()]

    def relay_of(self, via: Via) -> RemoteEdge | None:
        """Who relays on this way."""
        channel = self._by_id.get(via[1][4:])
        return channel.relay if channel is not None else None

    # ---- facts

    def received(self, relay: RemoteEdge, message: Channel, now: float) -> None:
        """A member says that it relays between a peer and us."""
        edge = self._node.edges.get(message.public_key)
        known = self._by_id.get(message.channel)
        if known is not None and known.relay is relay and known.edge is edge:
            return
        allowed = self._relays and relay.leg is not None and relay.may_relay and known is None
        if not allowed or edge is None or edge is relay:
            self._decline(relay, message, DropReason.CHANNEL_REFUSED, now)
        elif not (self._make_room(edge, relay) and self._open(relay, edge, message.channel, now)):
            self._decline(relay, message, DropReason.TOO_MANY_CHANNELS, now)

    def _decline(self, relay: RemoteEdge, message: Channel, reason: DropReason, now: float) -> None:
        self._node.drops.count(reason)
        self._node.send_control(relay, NoChannel(message.public_key), now)

    def refused(self, relay: RemoteEdge, message: NoChannel, now: float) -> None:
        """A relay has no channel to a peer, or no more."""
        edge = self._node.edges.get(message.public_key)
        if edge is None:
            return
        ask, channel = edge.channel_asks.get(relay), edge.member_channels.get(relay)
        if ask is not None:
            ask.refused = True
        if channel is not None:
            self._lose(channel, now)
        self._node.wake_peer(edge, now)

    def leg_changed(self, edge: RemoteEdge, now: float) -> None:
        """There is another direct path to a member, or none any more."""
        for channel in [channel for channel in self._by_id.values() if channel.relay is edge]:
            if edge.leg is None:
                self._lose(channel, now)
            elif edge.leg[0] != channel.via[0]:
                self._readdress(channel, now)
        edge.channel_asks.clear()
        self.hinted(edge, now)

    def hinted(self, edge: RemoteEdge, now: float) -> None:
        """A member may relay now, or may not any more."""
        near = self._relays and edge.leg is not None and edge.relays
        if near == (edge in self._near):
            return
        if not near:
            del self._near[edge]
            for other in self._node.edges.values():
                other.channel_asks.pop(edge, None)
            return
        self._near[edge] = None
        for other in self._node.edges.values():
            if other.up and other.leg is None:
                self._node.wake_peer(other, now)

    def forget(self, edge: RemoteEdge) -> None:
        """This peer is let go."""
        for channel in list(edge.member_channels.values()):
            self._close(channel)

    # ---- asking

    def turn(self, edge: RemoteEdge, now: float) -> float | None:
        """Do what is due for a peer; the instant of the next."""
        if edge.leg is not None or not edge.up or not self._relays:
            edge.without_leg_since = None
            return None
        if edge.without_leg_since is None:
            edge.without_leg_since = now
        ask_at = edge.without_leg_since + ASK_AFTER_S
        if now < ask_at and edge.paths.selected is not None:
            return ask_at if self._near else None
        return self.ask(edge, now)

    def ask(self, edge: RemoteEdge, now: float) -> float:
        """Ask as many relays as are wanted for a peer; when to look again."""
        self._give_up(edge, now)
        asks, channels = edge.channel_asks, edge.member_channels
        awaited = [relay for relay, ask in asks.items() if relay not in channels and ask.awaits_answer(now)]
        wanted = RELAYS_WANTED - len(channels) - len(awaited)
        next_at = now + ANSWER_WITHIN_S if awaited else float("inf")
        for relay in sorted(self._near, key=_distance):
            channel = channels.get(relay)
            if relay is edge or (channel is None and wanted <= 0) or (channel is not None and channel.works):
                continue
            ask = asks.get(relay, NOT_ASKED)
            if now >= ask.again_at:
                asks[relay] = ask = Ask(now, ask.times + 1)
                self._node.send_control(relay, ChannelRequest(edge.public_key), now)
                wanted -= channel is None
            next_at = min(next_at, now + ANSWER_WITHIN_S if ask.awaits_answer(now) else ask.again_at)
        return next_at

    def _give_up(self, edge: RemoteEdge, now: float) -> None:
        """Channels that lead nowhere make room for others."""
        for channel in list(edge.member_channels.values()):
            if not channel.works and now - channel.opened_at >= GIVE_UP_AFTER_S:
                self._close(channel)
                self._node.send_control(channel.relay, NoChannel(edge.public_key), now)

    # ---- channels

    def _make_room(self, edge: RemoteEdge, relay: RemoteEdge) -> bool:
        """One channel a relay, and the oldest that leads nowhere goes when there are too many. What is in use
        stays: a relay cannot make us change paths as fast as it can send."""
        before = edge.member_channels.get(relay)
        if before is not None:
            if before.path is not None and before.path is edge.paths.selected:
                return False
            self._close(before)
        if len(edge.member_channels) < CHANNELS_MAX:
            return True
        useless = [channel for channel in edge.member_channels.values() if not channel.works]
        if useless:
            self._close(useless[0])
        return bool(useless)

    def _open(self, relay: RemoteEdge, edge: RemoteEdge, channel_id: bytes, now: float) -> bool:
        """False when there are too many paths."""
        assert relay.leg is not None
        via = relay.leg[0], relay_header(channel_id)
        path = edge.paths.add_relay(via, now, PathClass.MEMBER_RELAY)
        if path is None:
            return False
        path.relay_name = relay.label
        self._by_id[channel_id] = edge.member_channels[relay] = MemberChannel(relay, edge, channel_id, via, now)
        if edge.up:
            edge.paths.check(path, now)
        elif edge.wanted_at is not None and edge.wanted_at <= now:
            self._node.try_initiation_on(edge, via, now)
        self._node.wake_peer(edge, now)
        return True

    def _readdress(self, channel: MemberChannel, now: float) -> None:
        """The relay is reached at another address: a way to be checked anew. Its old address serves until then."""
        self._close(channel)
        self._open(channel.relay, channel.edge, channel.id, now)

    def _lose(self, channel: MemberChannel, now: float) -> None:
        """The path by it fails at once."""
        edge = channel.edge
        edge.paths.fail(channel.via, f"{channel.relay.label} does not relay any more", now)
        self._close(channel)
        self._care.choose(edge, now)
        self._node.wake_peer(edge, now)

    def _close(self, channel: MemberChannel) -> None:
        del self._by_id[channel.id]
        del channel.edge.member_channels[channel.relay]
        channel.edge.paths.remove(channel.via)


def _distance(relay: RemoteEdge) -> float:
    """Round-trip time to it, seconds."""
    selected = relay.paths.selected
    return selected.rtt if selected is not None and selected.rtt is not None else float("inf")
