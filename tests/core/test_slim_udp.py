"""Slim UDP frames: which travel so, how runs are joined, and what hostile ones do. Exact bytes: tests/wire."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.packer import Packer
from l2mesh.core.unpacker import Unpacker
from l2mesh.wire.plaintext import UDP

ADDRESSES = bytes.fromhex("020000000022020000000011")
TAG = bytes.fromhex("81000007")
ROOM = 1440


def udp4(payload: bytes, *, fragment: int = 0x4000, options: bytes = b"", tags: bytes = b"") -> bytearray:
    """Behind its virtio header, with a partial checksum."""
    length = 8 + len(payload)
    words = (20 + len(options)) // 4
    ip = struct.pack("!BBHHHBBH", 0x40 | words, 0, words * 4 + length, 7, fragment, 64, 17, 0)
    addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2])
    partial = (int.from_bytes(addresses, "big") + 17 + length) % 65535
    ethernet = ADDRESSES + tags + b"\x08\x00"
    start = len(ethernet) + words * 4
    return bytearray(
        struct.pack("<BBHHHH", 1, 0, 0, 0, start, 6)
        + ethernet
        + ip
        + addresses
        + options
        + struct.pack("!HHHH", 1, 9, length, partial)
        + payload
    )


def udp6(payload: bytes) -> bytearray:
    length = 8 + len(payload)
    addresses = bytes(range(32))
    partial = (int.from_bytes(addresses, "big") + 17 + length) % 65535
    return bytearray(
        struct.pack("<BBHHHH", 1, 0, 0, 0, 54, 6)
        + ADDRESSES
        + b"\x86\xdd"
        + struct.pack("!IHBB", 6 << 28, length, 17, 64)
        + addresses
        + struct.pack("!HHHH", 1, 9, length, partial)
        + payload
    )


def pack(*frames: bytearray, room: int = ROOM) -> list[bytes]:
    return [bytes(one) for one in Packer(Drops()).pack(list(frames), room)]


def unpack(plaintexts: list[bytes], *, uso: bool = True) -> list[bytes]:
    return [b"".join(delivery) for delivery in Unpacker(Drops(), uso=uso).unpack(plaintexts, 0.0)]


@pytest.mark.parametrize("tags", [b"", TAG])
def test_a_1400_byte_datagram_needs_one_plaintext(tags: bytes) -> None:
    plaintexts = pack(udp4(bytes(1400), tags=tags))
    assert [plain[0] for plain in plaintexts] == [UDP]
    assert len(plaintexts[0]) <= ROOM


def test_what_comes_out_is_what_went_in_but_for_the_identification() -> None:
    payload = bytes(range(256)) * 5 + bytes(120)
    [frame] = unpack(pack(udp4(payload), room=1436))
    expected = udp4(payload)
    network = 10 + 14
    assert frame[:network] == expected[:network]
    assert frame[network + 4 : network + 6] == bytes(2)
    assert sum(struct.unpack("!10H", frame[network : network + 20])) % 65535 == 0
    assert frame[network + 12 :] == expected[network + 12 :]


def test_ipv6_comes_out_as_it_went_in() -> None:
    frame = udp6(bytes(1380))
    assert unpack(pack(frame, room=1440)) == [udp6(bytes(1380))]


def test_a_run_is_one_superframe_where_the_tap_takes_one() -> None:
    plaintexts = pack(*[udp4(bytes([number]) * 1400) for number in range(10)])
    [superframe] = unpack(plaintexts)
    assert superframe[1] == 5
    assert len(superframe) == 10 + 42 + 10 * 1400
    assert len(unpack(plaintexts, uso=False)) == 10


def test_another_flow_or_size_ends_a_run() -> None:
    other = udp4(bytes(1400))
    other[10 + 34 : 10 + 36] = b"\0\2"
    frames = [udp4(bytes(1400)), udp4(bytes(1400)), other, udp4(bytes(1396)), udp4(bytes(1396))]
    assert len(unpack(pack(*frames))) == 3


@pytest.mark.parametrize(
    "frame",
    [
        udp4(bytes(1400), fragment=0),  # may be fragmented later, and needs its identification then
        udp4(bytes(1400), fragment=0x2000),  # is a fragment
        udp4(bytes(1390), options=bytes(4)),
        bytearray(10) + udp4(bytes(1400))[10:],  # with a complete checksum
    ],
)
def test_what_must_keep_all_its_headers_is_fragmented(frame: bytearray) -> None:
    assert {plain[0] for plain in pack(frame)} == {3}


@given(st.binary(max_size=80))
def test_hostile_bytes_raise_nothing_and_what_is_delivered_is_whole(data: bytes) -> None:
    drops = Drops()
    deliveries = Unpacker(drops, uso=True).unpack([bytes((UDP,)) + data] * 2, 0.0)
    assert deliveries or drops.as_dict() == {DropReason.BAD_SLIM_UDP: 2}


@given(
    st.binary(max_size=40), st.sampled_from([b"\x08\x00\x45", b"\x86\xdd\x60", b"\x81\x00\x00\x07\x08\x00\x45"])
)
def test_hostile_headers_are_delivered_within_bounds_or_dropped(data: bytes, start: bytes) -> None:
    for delivery in Unpacker(Drops(), uso=True).unpack([bytes((UDP,)) + ADDRESSES + start + data], 0.0):
        frame = b"".join(delivery)
        csum_start, csum_offset = struct.unpack_from("<HH", frame, 6)
        assert csum_start + csum_offset + 2 <= len(frame) - 10
