from __future__ import annotations

import pytest

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.packer import Packer

TCP = bytes.fromhex(
    "020000000022 020000000011 0800 4500 0406 0007 4000 40 06 0000 0a000001 0a000002"
    "0001 0009 00000001 00000005 50 10 0064 0000 0000"
) + bytes(990)
SUPERFRAME = bytes.fromhex("01 01 3600 6400 2200 1000") + TCP


def pack(frames: list[bytes], room: int = 1440) -> tuple[list[bytes], dict[DropReason, int]]:
    drops = Drops()
    plaintexts = [bytes(one) for one in Packer(drops).pack([bytearray(frame) for frame in frames], room)]
    return plaintexts, drops.as_dict()


def changed(at: int, value: int) -> bytes:
    return SUPERFRAME[:at] + bytes((value,)) + SUPERFRAME[at + 1 :]


def test_frames_keep_their_order_whatever_becomes_of_them() -> None:
    small, large = bytes(10) + b"s" * 60, bytes(10) + b"l" * 1500
    plaintexts, _ = pack([small, small, SUPERFRAME, small, large, small])
    assert [plaintext[0] for plaintext in plaintexts] == [1] + [2] * 1 + [1] + [3] * 2 + [1]


def test_small_segments_of_a_superframe_share_a_plaintext() -> None:
    plaintexts, _ = pack([SUPERFRAME], 8 + 54 + 350)
    assert [len(plaintext) - 62 for plaintext in plaintexts] == [300, 300, 300, 90]


def test_segments_are_made_as_small_as_the_room_asks() -> None:
    plaintexts, _ = pack([SUPERFRAME], 8 + 54 + 90)
    assert [len(plaintext) - 62 for plaintext in plaintexts] == [90] * 11


def test_a_superframe_without_room_for_headers_goes_in_fragments() -> None:
    plaintexts, drops = pack([SUPERFRAME], 62)
    assert {plaintext[0] for plaintext in plaintexts} == {3}
    assert drops == {}


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, 0),
        (1, 4),
        (1, 3),
        (4, 0),
        (6, 33),
        (8, 6),
        (23, 0x33),
        (24, 0x46),
        (27, 7),
        (30, 0x20),
        (33, 17),
        (56, 0x40),
    ],
    ids=[
        "no partial checksum",
        "TCP over IPv6",
        "UFO",
        "segments of nothing",
        "csum_start",
        "csum_offset",
        "EtherType",
        "IP header length",
        "IP length",
        "a fragment",
        "UDP",
        "TCP header length",
    ],
)
def test_a_superframe_that_contradicts_its_virtio_header_is_dropped(at: int, value: int) -> None:
    assert pack([changed(at, value)]) == ([], {DropReason.BAD_SUPERFRAME: 1})


def test_a_superframe_cut_short_anywhere_is_dropped() -> None:
    for length in range(24, 66):
        assert pack([SUPERFRAME[:length]]) == ([], {DropReason.BAD_SUPERFRAME: 1})


@pytest.mark.parametrize("size", [0, 9, 10, 23, 10 + 65536])
def test_a_frame_of_impossible_length_is_dropped(size: int) -> None:
    assert pack([bytes(size), bytes(24)]) == ([b"\1\x0e" + bytes(19)], {DropReason.BAD_FRAME: 1})


def test_a_frame_without_any_room_is_dropped() -> None:
    assert pack([bytes(200)], 12) == ([], {DropReason.NO_ROOM: 1})


def test_ids_count_on_and_wrap() -> None:
    packer = Packer(Drops(), first_id=0xFFFFFFFE)
    frames = [bytearray(SUPERFRAME) for _ in range(3)]
    assert [bytes(one)[4:6].hex() for one in packer.pack(frames, 1440)] == ["ffff", "0000", "0001"]
    large = [bytearray(2000) for _ in range(2)]
    assert [bytes(one)[4:8].hex() for one in packer.pack(large, 1440)] == ["ffffffff"] * 2 + ["00000000"] * 2
