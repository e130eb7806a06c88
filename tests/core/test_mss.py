"""The MSS of a SYN fits the path, its checksum fits the MSS, and nothing else is touched."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.core.bundle import lone_bundle, write_bundle
from l2mesh.core.mss import lower_mss
from l2mesh.wire import ip

ROOM = 1440
ETHERNET = bytes.fromhex("020000000022 020000000011")
IPV4 = bytes.fromhex("0007 4000 40 06 0000 0a000001 0a000002")
IPV6 = bytes.fromhex("06 40") + bytes.fromhex("fd" + "00" * 14 + "01" + "fd" + "00" * 14 + "02")
MSS_1460 = b"\2\4\x05\xb4"
LINUX = MSS_1460 + bytes.fromhex("0402080a0000000100000000 01 030307")
SYN, SYN_ACK, ACK = 0x02, 0x12, 0x10


def tcp_frame(
    options: bytes = LINUX, *, flags: int = SYN, version: int = 4, tag: bytes = b"", partial: bool = True
) -> bytearray:
    options += b"\0" * (-len(options) % 4)
    header = struct.pack(">HHIIBBHHH", 1, 9, 7, 0, (20 + len(options)) // 4 << 4, flags, 64240, 0, 0) + options
    if version == 4:
        network = tag + b"\x08\x00\x45\0" + struct.pack(">H", 20 + len(header)) + IPV4
        addresses = network[-8:]
    else:
        network = tag + b"\x86\xdd\x60\0\0\0" + struct.pack(">H", len(header)) + IPV6
        addresses = network[-32:]
    pseudo = addresses + struct.pack(">HH", 6, len(header))
    total = ip.checksum(pseudo + header)
    before = ETHERNET + network
    virtio = struct.pack("<BBHHHH", 1, 0, 0, 0, len(before), 16) if partial else bytes(10)
    field = 65535 - ip.checksum(pseudo) if partial else total
    return bytearray(virtio + before + header[:16] + struct.pack(">H", field) + header[18:])


def mss(frame: bytes | bytearray) -> int:
    at = bytes(frame).index(b"\2\4", 10 + 14 + 40)
    return int.from_bytes(frame[at + 2 : at + 4], "big")


def checksum_is_right(frame: bytearray, addresses: slice, transport: int) -> bool:
    segment = bytes(frame[transport:])
    pseudo = bytes(frame[addresses]) + struct.pack(">HH", 6, len(segment))
    return int.from_bytes(pseudo + segment, "big") % 65535 == 0


@pytest.mark.parametrize("flags", [SYN, SYN_ACK])
@pytest.mark.parametrize(
    ("version", "tag", "most"),
    [(4, b"", ROOM - 8 - 54), (6, b"", ROOM - 8 - 74), (4, b"\x81\0\0\x07", ROOM - 8 - 58)],
    ids=["IPv4", "IPv6", "VLAN"],
)
def test_a_connection_begins_with_what_one_datagram_takes(flags: int, version: int, tag: bytes, most: int) -> None:
    for partial in (True, False):
        frame = tcp_frame(flags=flags, version=version, tag=tag, partial=partial)
        before = bytes(frame)
        lower_mss(frame, ROOM)
        assert mss(frame) == most
        if partial:
            assert frame[: len(frame) - len(LINUX)] == before[: len(frame) - len(LINUX)]


@pytest.mark.parametrize("shift", [0, 1, 2, 3], ids="{} bytes before".format)
def test_a_complete_checksum_is_complete_still(shift: int) -> None:
    frame = tcp_frame(b"\1" * shift + MSS_1460, partial=False)
    lower_mss(frame, ROOM)
    assert mss(frame) == ROOM - 62
    assert checksum_is_right(frame, slice(10 + 26, 10 + 34), 10 + 34)


@pytest.mark.parametrize(
    "frame",
    [
        tcp_frame(flags=ACK),
        tcp_frame(b"\2\4\x05\0"),
        tcp_frame(b"\1\1\1\1"),
        tcp_frame(b"\0\0\0\0" + MSS_1460),
        tcp_frame(b"\3\0\4\2\4\x05\xb4"),
        tcp_frame(b"\2\6\x05\xb4\0\0"),
        tcp_frame()[:58],
    ],
    ids=["no SYN", "smaller already", "no option", "behind the end", "an option of length 0", "6 bytes", "short"],
)
def test_other_frames_stay_as_they_are(frame: bytearray) -> None:
    before = bytes(frame)
    lower_mss(frame, ROOM)
    assert frame == before


def test_what_every_host_takes_is_not_undercut() -> None:
    frame = tcp_frame()
    lower_mss(frame, 400)
    assert mss(frame) == 536


@given(st.binary(min_size=24, max_size=90), st.integers(0, 3))
def test_any_frame_keeps_its_length(content: bytes, kind: int) -> None:
    """Bytes of any kind, some behind the beginning of a real SYN."""
    frame = bytearray(tcp_frame()[: (0, 22, 40, 60)[kind]] + content)
    before = len(frame)
    lower_mss(frame, ROOM)
    assert len(frame) == before


def test_bundles_ask_for_it() -> None:
    for partial in (True, False):
        for version in (4, 6):
            lone = lone_bundle(memoryview(tcp_frame(version=version, partial=partial)), ROOM)
            assert lone is not None
            assert mss(bytes(10) + bytes(lone)) < 1400
            two: list[bytearray | memoryview] = [tcp_frame(version=version, partial=partial) for _ in range(2)]
            bundle, _ = write_bundle(two, 0, ROOM)
            assert bytes(bundle).count(MSS_1460) == 0
