"""The bytes as they are on the wire, written and read by the code of core/ that knows each format."""

from __future__ import annotations

from l2mesh.core.drops import Drops
from l2mesh.core.packer import Packer
from l2mesh.core.unpacker import Unpacker
from l2mesh.wire import plaintext

ETHERNET = "020000000022 020000000011"
ARP = bytes.fromhex(ETHERNET + "0806") + b"who has"
UDP = (
    bytes.fromhex(ETHERNET + "0800 4500 0021 0007 4000 40 11 26c3 0a000001 0a000002  0001 0009 000d 1421")
    + b"hello"
)
SUPERFRAME = (
    bytes.fromhex(
        "01 01 3600 0400 2200 1000"
        + ETHERNET
        + "0800 4500 0032 0007 4000 40 06 26bd 0a000001 0a000002"
        + "0001 0009 ffffffff 00000005 50 99 0064 1427 0000"
    )
    + b"0123456789"
)


def packed(frame: bytes, room: int = 1440) -> list[bytes]:
    return [bytes(one) for one in Packer(Drops(), first_id=0x01020304).pack([bytearray(frame)], room)]


def unpacked(plaintexts: list[bytes]) -> list[bytes]:
    return [b"".join(delivery) for delivery in Unpacker(Drops(), uso=True).unpack(plaintexts, 0.0)]


def test_kinds() -> None:
    assert [int(kind) for kind in plaintext.Kind] == [0, 1, 2, 3, 4, 5, 6]


def test_bundle() -> None:
    frames = [bytes(10) + ARP, bytes.fromhex("01 00 0000 0000 2200 0600") + UDP]
    expected = bytes.fromhex("01 1500 0000 0000") + ARP + bytes.fromhex("2f00 2200 0600") + UDP
    assert [bytes(one) for one in Packer(Drops()).pack([bytearray(f) for f in frames], 1440)] == [expected]
    assert unpacked([expected]) == frames


def test_bundle_of_one() -> None:
    assert packed(bytes(10) + ARP) == [bytes.fromhex("01 1500 0000 0000") + ARP]


def test_segments() -> None:
    """Each has the headers of a segment of 4 bytes: IP length 0x2c, partial checksum less by 6."""
    headers = bytes.fromhex(
        ETHERNET
        + "0800 4500 002c 0007 4000 40 06 26bd 0a000001 0a000002"
        + "0001 0009 ffffffff 00000005 50 99 0064 1421 0000"
    )
    expected = [
        bytes.fromhex("02 10 36 00 0305 0000") + headers + b"0123",
        bytes.fromhex("02 10 36 00 0305 0004") + headers + b"4567",
        bytes.fromhex("02 11 36 00 0305 0008") + headers + b"89",
    ]
    assert packed(SUPERFRAME, 8 + 54 + 7) == expected


def test_the_last_segment_alone_is_a_plain_frame_with_sequence_number_and_identification_of_its_own() -> None:
    last = packed(SUPERFRAME, 69)[2]
    assert unpacked([last]) == [
        bytes.fromhex(
            "01 00 0000 0000 2200 1000"
            + ETHERNET
            + "0800 4500 002a 0009 4000 40 06 26c3 0a000001 0a000002"
            + "0001 0009 00000007 00000005 50 19 0064 141f 0000"
        )
        + b"89"
    ]


def test_slim_udp() -> None:
    """Without total length, identification and both checksums; they are back, but the identification is zero."""
    expected = bytes.fromhex("00" + ETHERNET + "0800 4500 4000 40 11 0a000001 0a000002 0001 0009") + b"hello"
    assert packed(bytes.fromhex("01 00 0000 0000 2200 0600") + UDP, 40) == [expected]
    restored = UDP.replace(bytes.fromhex("0007"), bytes(2)).replace(bytes.fromhex("26c3"), bytes.fromhex("26ca"))
    assert unpacked([expected]) == [bytes.fromhex("01 00 0000 0000 2200 0600") + restored]


def test_fragments() -> None:
    expected = [
        bytes.fromhex("03 00 02 00 01020305 2200 0600") + UDP[:24],
        bytes.fromhex("03 01 02 00 01020305 2200 0600") + UDP[24:],
    ]
    frame = bytes.fromhex("01 00 0000 0000 2200 0600") + UDP
    assert packed(frame, 36) == expected
    assert unpacked(expected) == [frame]
