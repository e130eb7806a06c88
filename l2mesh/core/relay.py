"""The relay of a supernode: channels between pairs of members, for datagrams that it cannot open.

Each pair that asks has two channels, random 64-bit numbers, one for each end. What comes in on the channel of one
end, from that end's address, goes out to the other end under the other's channel; nothing is kept. A burst of one
sender is forwarded as it came: its channel fields are rewritten in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.peer import Peer
from l2mesh.core.token_bucket import TokenBucket
from l2mesh.crypto.keys import RandomBytes
from l2mesh.wire.address import Address
from l2mesh.wire.outer import RELAY_HEADER_SIZE, Buffer, Outer

CHANNEL_SIZE: Final = 8
PAIRS_MAX: Final = 200_000
"""Pairs with channels, in all: about 600 bytes each."""
BURST_S: Final = 0.25
"""A pair, and a network, may send this many seconds' worth of its rate at once."""
DEFAULT_PAIR_RATE: Final = 5e9 / 8
DEFAULT_NETWORK_RATE: Final = 10e9 / 8
"""Bytes a second: what this program can relay at all, so one network does not starve another's share by default
more than the host's line does; the supernode's file sets less."""


class Channel:
    """One end of a pair. `twin` is the other."""

    __slots__ = ("bucket", "id", "network", "owner", "relayed_bytes", "twin")

    def __init__(self, channel_id: bytes, owner: Peer, network: TokenBucket, bucket: TokenBucket) -> None:
        self.id = channel_id
        self.owner = owner
        self.network = network
        self.bucket = bucket
        self.relayed_bytes = 0
        self.twin: Channel = self


class Relay:
    """Doors: open_pair, close_all_of, forward."""

    def __init__(self, drops: Drops, random_bytes: RandomBytes, *, pair_rate: float, network_rate: float) -> None:
        self.relayed_bytes = 0
        self.relayed_datagrams = 0
        self._drops = drops
        self._random_bytes = random_bytes
        self._pair_rate = pair_rate
        self._network_rate = network_rate
        self._channels: dict[bytes, Channel] = {}
        self._by_owner: dict[Peer, dict[Peer, Channel]] = {}
        self._networks: dict[bytes, TokenBucket] = {}

    def __len__(self) -> int:
        """Pairs."""
        return len(self._channels) // 2

    def open_pair(self, network: bytes, one: Peer, other: Peer, now: float) -> tuple[bytes, bytes] | None:
        """The channels of two members, for the one and for the other; None when there are too many pairs."""
        channel = self._by_owner.get(one, {}).get(other)
        if channel is None:
            if len(self._channels) >= 2 * PAIRS_MAX:
                self._drops.count(DropReason.TOO_MANY_CHANNELS)
                return None
            channel = self._make_pair(network, one, other, now)
        return channel.id, channel.twin.id

    def _make_pair(self, network: bytes, one: Peer, other: Peer, now: float) -> Channel:
        rate = self._network_rate
        shared = self._networks.setdefault(network, TokenBucket(rate, rate * BURST_S, now))
        bucket = TokenBucket(self._pair_rate, self._pair_rate * BURST_S, now)
        first = Channel(self._fresh_id(), one, shared, bucket)
        second = Channel(self._fresh_id(), other, shared, bucket)
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

    def close_all_of(self, member: Peer) -> None:
        """A member left: its channels are gone."""
        for other, channel in self._by_owner.pop(member, {}).items():
            del self._channels[channel.id]
            del self._channels[channel.twin.id]
            theirs = self._by_owner[other]
            del theirs[member]
            if not theirs:
                del self._by_owner[other]

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

        Returns the offset of the first datagram that is of another type: GRO knows sizes, not types.
        """
        channels = self._channels
        length = len(data)
        offset = 0
        while offset < length and data[offset] == Outer.RELAYED:
            channel_id = bytes(data[offset + 4 : offset + RELAY_HEADER_SIZE])
            start = offset
            channel = channels.get(channel_id)
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
        owner_via, target_via = channel.owner.via, channel.twin.owner.via
        count = -(-len(run) // size)
        if owner_via is None or owner_via[0] != source:
            self._drops.count(DropReason.NOT_THE_OWNER, count)
        elif target_via is None:
            self._drops.count(DropReason.NO_PATH, count)
        elif not (channel.bucket.take(len(run), now) and channel.network.take(len(run), now)):
            self._drops.count(DropReason.RELAY_LIMIT, count)
        else:
            channel.relayed_bytes += len(run)
            self.relayed_bytes += len(run)
            self.relayed_datagrams += count
            send((target_via[0], run, size))
