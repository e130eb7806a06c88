from __future__ import annotations

import struct

import pytest

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.superframe import SLICES_MAX, join

TCP_FLAGS_AT = 14 + 20 + 13
SIZE = 100


def tcp(size: int = SIZE, flags: int = 0x10) -> bytes:
    return (
        bytes.fromhex("020000000022 020000000011 0800 4500")
        + struct.pack(">H", 40 + size)
        + bytes.fromhex("0007 4000 40 06 0000 0a000001 0a000002 0001 0009 00000001 00000005 50")
        + bytes((flags,))
        + bytes.fromhex("0064 0000 0000")
    )


def udp(size: int = SIZE) -> bytes:
    return (
        bytes.fromhex("020000000022 020000000011 0800 4500")
        + struct.pack(">H", 28 + size)
        + bytes.fromhex("0007 4000 40 11 0000 0a000001 0a000002 0001 0009")
        + struct.pack(">H", 8 + size)
        + b"\0\0"
    )


def segment(headers: bytes, offset: int, payload: bytes = bytes(SIZE), *, last: bool = False) -> bytes:
    gso = 5 if headers[23] == 17 else 1
    return bytes((2, gso << 4 | last, len(headers), 0)) + struct.pack(">HH", 1, offset) + headers + payload


def joined(*segments: bytes, uso: bool = True, dropped: int = 0) -> list[bytes]:
    deliveries: list[list[bytes | bytearray | memoryview]] = []
    at = 0
    drops = Drops()
    while at < len(segments):
        at = join(list(segments), at, uso, deliveries, drops)
    assert drops.as_dict().get(DropReason.BAD_SEGMENT, 0) == dropped
    assert all(len(delivery) <= 1001 for delivery in deliveries)
    return [b"".join(delivery) for delivery in deliveries]


def flags(written: bytes) -> int:
    return written[10 + TCP_FLAGS_AT]


def test_push_and_fin_are_on_the_run_that_holds_the_last_segment() -> None:
    headers = tcp(flags=0x19)
    one, two = joined(
        segment(headers, 0),
        segment(headers, 100),
        segment(headers, 300),
        segment(headers, 400, b"end", last=True),
    )
    assert (flags(one), flags(two)) == (0x10, 0x19)


def test_cwr_is_on_the_first_segment_only_and_the_superframe_says_so() -> None:
    headers = tcp(flags=0x90)
    one, two, three = joined(
        segment(headers, 0),
        segment(headers, 100),
        segment(headers, 300),
        segment(headers, 400),
        segment(headers, 0),
    )
    assert (flags(one), flags(two), flags(three)) == (0x90, 0x10, 0x90)
    assert (one[1], two[1], three[1]) == (0x81, 1, 0)


def test_a_run_of_one_is_a_plain_frame() -> None:
    (written,) = joined(segment(tcp(), 0))
    assert written[:10] == struct.pack("<BBHHHH", 1, 0, 0, 0, 34, 16)


def test_a_slice_of_several_segments_is_a_superframe_by_itself() -> None:
    (written,) = joined(segment(tcp(), 0, bytes(250)))
    assert written[:10] == struct.pack("<BBHHHH", 1, 1, 54, 100, 34, 16)


def test_a_shorter_segment_ends_a_run_even_if_it_does_not_say_so() -> None:
    assert len(joined(segment(tcp(), 0), segment(tcp(), 100, b"short"), segment(tcp(), 200))) == 2


@pytest.mark.parametrize(("size", "rest"), [(1300, 0), (9000, 0), (1300, 600), (1300, 495), (1300, 1299)])
def test_a_run_is_never_longer_than_ip_can_say(size: int, rest: int) -> None:
    """Offsets end at 65535, so here is a hostile sender, who goes on with what the carry makes of the id."""
    headers = tcp(size)
    segments = []
    for index in range(65495 // size + 1):
        last = index == 65495 // size and rest
        one = bytearray(segment(headers, 0, bytes(rest if last else size)))
        one[4:8] = (0x10000 + size * index).to_bytes(4, "big")
        segments.append(bytes(one))
    fits = 65495 // size * size + rest <= 65495 and rest
    for written in joined(*segments, dropped=0 if fits else 1):
        assert len(written) - 10 - 14 == int.from_bytes(written[26:28], "big")


def test_a_slice_that_ends_within_a_segment_ends_its_run() -> None:
    deliveries: list[list[bytes | bytearray | memoryview]] = []
    segments = [segment(udp(), 0, bytes(150)), segment(udp(), 150, bytes(150))]
    assert join(segments, 0, True, deliveries, Drops()) == 1


def test_a_run_has_at_most_1000_slices() -> None:
    segments = [segment(tcp(10), 10 * index, bytes(10)) for index in range(SLICES_MAX + 500)]
    first, second = joined(*segments)
    assert (len(first) - 64, len(second) - 64) == (10_000, 5_000)


def test_a_run_of_udp_has_at_most_64_datagrams() -> None:
    first, second = joined(*[segment(udp(), SIZE * index) for index in range(100)])
    assert (len(first) - 52, len(second) - 52) == (6400, 3600)
    first, second = joined(*[segment(udp(), SIZE * index) for index in range(64)], segment(udp(), 6400, b"rest"))
    assert (len(first) - 52, len(second) - 52) == (6400, 4)


def test_without_uso_each_datagram_is_a_frame() -> None:
    written = joined(segment(udp(), 0, bytes(250)), segment(udp(), 300), uso=False)
    assert [len(one) - 52 for one in written] == [100, 100, 50, 100]
    assert [int.from_bytes(one[28:30], "big") for one in written] == [7, 8, 9, 10], "identification"
    assert {one[1] for one in written} == {0}


@pytest.mark.parametrize(
    "bad",
    [
        b"\2",
        b"\2\x11\x36\0\0\1\0",
        segment(tcp(), 0, b""),
        segment(tcp(), 50),
        segment(tcp(0), 0),
        segment(tcp(), 0)[:2] + b"\x35" + segment(tcp(), 0)[3:],
        segment(tcp(1300), 1300 * 50, bytes(1300)),
        segment(udp(10), 0, bytes(650)),
        b"\2\x41" + segment(tcp(), 0)[2:],
        b"\2\x71" + segment(tcp(), 0)[2:],
        b"\2\x51" + segment(tcp(), 0)[2:],
        segment(tcp()[:16] + b"\xff\xff" + tcp()[18:], 0)[:40],
        segment(tcp()[:20] + b"\x20\0" + tcp()[22:], 0),
        segment(tcp() + b"more", 0),
    ],
    ids=[
        "kind only",
        "header cut short",
        "no payload",
        "offset between segments",
        "segments of nothing",
        "header length one less",
        "longer than IP can say",
        "65 datagrams at once",
        "IPv4 as IPv6",
        "unknown type",
        "TCP as UDP",
        "headers cut short",
        "an IP fragment",
        "header length of more than the headers",
    ],
)
def test_a_bad_segment_is_dropped(bad: bytes) -> None:
    deliveries: list[list[bytes | bytearray | memoryview]] = []
    drops = Drops()
    good = segment(tcp(), 0)
    assert join([bad, good], 0, True, deliveries, drops) == 1
    assert deliveries == []
    assert drops.as_dict() == {DropReason.BAD_SEGMENT: 1}
    assert join([good, bad], 0, True, deliveries, drops) == 1
