"""A relay: channels between pairs of members, for datagrams that it cannot open. A supernode has one, and so does
an edge that relays for others (member_relay.py).

Each pair that asks has two channels, random 64-bit numbers, one for each end. What comes in on the channel of one
end, from that end's address, goes out to the other end under the other's channel; nothing is kept. A burst of one
sender is forwarded as it came: its channel fields are rewritten in place. It goes out directly or not at all: what
was relayed is not relayed again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.peer import Peer
from l2mesh.core.session import in_trains
from l2mesh.core.token_bucket import TokenBucket
from l2mesh.crypto.keys import RandomBytes
from l2mesh.wire.address import Address
from l2mesh.wire.outer import RELAY_HEADER_SIZE, Buffer, Outer

CHANNEL_SIZE: Final = 8
PAIRS_MAX: Final = 200_000
"""Pairs with channels, in all, at a supernode: about 600 bytes each."""
BURST_S: Final = 0.25
"""A pair, and a network, may send this many seconds' worth of its rate at once."""
DEFAULT_PAIR_RATE: Final = 5e9 / 8
DEFAULT_NETWORK_RATE: Final = 10e9 / 8
"""Bytes a second: what this program can relay at all, so one network does not starve another's share by default
more than the host's line does; the supernode's file sets less."""


class Channel:
    """One end of a pair. `twin` is the other. `used_at`: when it was opened, or last carried something."""

    __slots__ = ("bucket", "id", "network", "owner", "relayed_bytes", "twin", "used_at")

    def __init__(
        self, channel_id: bytes, owner: Peer, network: TokenBucket, bucket: TokenBucket, now: float
    ) -> None:
        self.id = channel_id
        self.owner = owner
        self.network = network
        self.bucket = bucket
        self.relayed_bytes = 0
        self.used_at = now
        self.twin: Channel = self


class Relay:
    """Doors: open_pair, close_pair, close_all_of, close_idle, forward; others_of."""

    def __init__(
        self,
        drops: Drops,
        random_bytes: RandomBytes,
        *,
        pair_rate: float,
        network_rate: float,
        pairs_max: int = PAIRS_MAX,
        pairs_per_member_max: int = PAIRS_MAX,
    ) -> None:
        """Rates in bytes a second. `pairs_per_member_max`: of one who asks for another."""
        self.relayed_bytes = 0
        self.relayed_datagrams = 0
        self._drops = drops
        self._random_bytes = random_bytes
        self._pair_rate = pair_rate
        self._network_rate = network_rate
        self._pairs_max = pairs_max
        self._pairs_per_member_max = pairs_per_member_max
        self._channels: dict[bytes, Channel] = {}
        self._by_owner: dict[Peer, dict[Peer, Channel]] = {}
        self._networks: dict[bytes, TokenBucket] = {}

    def __len__(self) -> int:
        """Pairs."""
        return len(self._channels) // 2

    def open_pair(self, network: bytes, one: Peer, other: Peer, now: float) -> tuple[bytes, bytes] | None:
        """The channels of two members, for the one, who asks, and the other; None: there are too many pairs."""
        own = self._by_owner.get(one, {})
        channel = own.get(other)
        if channel is None:
            if len(self) >= self._pairs_max or len(own) >= self._pairs_per_member_max:
                self._drops.count(DropReason.TOO_MANY_CHANNELS)
                return None
            channel = self._make_pair(network, one, other, now)
        return channel.id, channel.twin.id

    def _make_pair(self, network: bytes, one: Peer, other: Peer, now: float) -> Channel:
        rate = self._network_rate
        shared = self._networks.setdefault(network, TokenBucket(rate, rate * BURST_S, now))
        bucket = TokenBucket(self._pair_rate, self._pair_rate * BURST_S, now)
        first = Channel(self._fresh_id(), one, shared, bucket, now)
        second = Channel(self._fresh_id(), other, shared, bucket, now)
        first.twin, second.twin = second, first
        for channel in (first, second):
            self._channels[channel.id] = channel
            self._by_owner.setdefault(channel.owner, {})[channel.twin.owner] = channel
        return first

    def _fresh_id(self) -> bytes:
        while True:
            channel_id = self._random_bytes(CHANNEL_SIZE)
            if channel_id not in self._channels:
                return channel_id

    def others_of(self, member: Peer) -> list[Peer]:
        """Whom it has channels with."""
        return list(self._by_owner.get(member, ()))

    def close_pair(self, one: Peer, other: Peer) -> bool:
        """Whether there was such a pair."""
        channel = self._by_owner.get(one, {}).get(other)
        if channel is not None:
            self._close(channel)
        return channel is not None

    def close_all_of(self, member: Peer) -> None:
        """A member left: its channels are gone."""
        for channel in list(self._by_owner.get(member, {}).values()):
            self._close(channel)

    def close_idle(self, used_since: float) -> list[tuple[Peer, Peer]]:
        """Close the pairs that carried nothing since then; who they were."""
        idle = [
            channel
            for channel in self._channels.values()
            if channel.id < channel.twin.id and max(channel.used_at, channel.twin.used_at) < used_since
        ]
        for channel in idle:
            self._close(channel)
        return [(channel.owner, channel.twin.owner) for channel in idle]

    def _close(self, channel: Channel) -> None:
        for end in (channel, channel.twin):
            del self._channels[end.id]
            theirs = self._by_owner[end.owner]
            del theirs[end.twin.owner]
            if not theirs:
                del self._by_owner[end.owner]

    def forget_network(self, network: bytes) -> None:
        self._networks.pop(network, None)

    def forward(
        self,
        source: Address,
        data: memoryview,
        size: int,
        now: float,
        send: Callable[[tuple[Address, Buffer, int]], None],
    ) -> int:
        """Forward a burst of relayed datagrams of `size` bytes each (the last may be shorter). Hot.

        Returns the offset of the first datagram that may be for somebody else, though the one at the beginning
        was for us: of another type, or on another's channel. GRO knows sizes, not types.
        """
        channels = self._channels
        length = len(data)
        offset = 0
        while offset < length and data[offset] == Outer.RELAYED:
            channel_id = bytes(data[offset + 4 : offset + RELAY_HEADER_SIZE])
            start = offset
            channel = channels.get(channel_id)
            if channel is None and offset:
                break
            out_id = channel.twin.id if channel is not None else channel_id
            while (
                offset < length
                and data[offset + 4 : offset + RELAY_HEADER_SIZE] == channel_id
                and data[offset] == Outer.RELAYED
            ):
                data[offset + 4 : offset + RELAY_HEADER_SIZE] = out_id
                offset += size
            run = data[start : min(offset, length)]
            if len(run) <= RELAY_HEADER_SIZE:
                self._drops.count(DropReason.MALFORMED)
            elif channel is None:
                self._drops.count(DropReason.UNKNOWN_CHANNEL, -(-len(run) // size))
            else:
                self._forward_run(channel, source, run, size, now, send)
        return min(offset, length)

    def _forward_run(
        self,
        channel: Channel,
        source: Address,
        run: memoryview,
        size: int,
        now: float,
        send: Callable[[tuple[Address, Buffer, int]], None],
    ) -> None:
        target_via = channel.twin.owner.via
        count = -(-len(run) // size)
        if not channel.owner.is_at(source):
            self._drops.count(DropReason.NOT_THE_OWNER, count)
        elif target_via is None or target_via[1]:
            self._drops.count(DropReason.NO_PATH, count)
        elif not (channel.bucket.take(len(run), now) and channel.network.take(len(run), now)):
            self._drops.count(DropReason.RELAY_LIMIT, count)
        else:
            channel.relayed_bytes += len(run)
            channel.used_at = now
            self.relayed_bytes += len(run)
            self.relayed_datagrams += count
            for train in in_trains(run, size):
                send((target_via[0], train, size))
