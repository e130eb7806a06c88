"""Software segmentation against an independent, naive builder of every single frame."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.shell.offload import (
    VIRTIO_HEADER,
    GsoType,
    finish_checksum,
    ones_complement_sum,
    split_superframe,
)
from l2mesh.wire.errors import BadPacket

ETHERNET = bytes.fromhex("020000000002 020000000001")
FIN, PSH, ACK, CWR = 0x01, 0x08, 0x10, 0x80


def naive_checksum(data: bytes) -> int:
    total = 0
    for index in range(0, len(data), 2):
        total += int.from_bytes(data[index : index + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip_packet(version: int, protocol: int, transport: bytes, checksum_at: int, identification: int) -> bytes:
    """IP header + transport with all checksums right; or without the transport's when checksum_at < 0."""
    source, target = (b"\x0a\0\0\1", b"\x0a\0\0\2") if version == 4 else (b"\xfd" + bytes(15), b"\xfe" + bytes(15))
    if checksum_at >= 0:
        pseudo = source + target + struct.pack("!II", protocol, len(transport))
        checksum = naive_checksum(pseudo + transport) or 0xFFFF
        transport = transport[:checksum_at] + struct.pack("!H", checksum) + transport[checksum_at + 2 :]
    if version == 6:
        return struct.pack("!IHBB", 6 << 28, len(transport), protocol, 64) + source + target + transport
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(transport), identification, 0x4000, 64, protocol, 0)
    checksum = naive_checksum(header + source + target)
    return header[:10] + struct.pack("!H", checksum) + source + target + transport


def tcp(sequence: int, flags: int, payload: bytes) -> bytes:
    options = b"\1\1\x08\x0a" + bytes(8)
    fixed = struct.pack("!HHIIBBHHH", 1000, 2000, sequence & 0xFFFFFFFF, 7, 8 << 4, flags, 512, 0, 0)
    return fixed + options + payload


def udp(payload: bytes) -> bytes:
    return struct.pack("!HHHH", 1000, 2000, 8 + len(payload), 0) + payload


def ethernet(version: int, tag: bytes, packet: bytes) -> bytes:
    return ETHERNET + tag + (b"\x08\x00" if version == 4 else b"\x86\xdd") + packet


@given(
    version=st.sampled_from([4, 6]),
    is_tcp=st.booleans(),
    tag=st.sampled_from([b"", b"\x81\x00\x00\x05"]),
    payload=st.binary(min_size=1, max_size=400),
    gso_size=st.integers(1, 300),
    sequence=st.sampled_from([0, 0xFFFFFFF0]),
)
def test_a_split_superframe_equals_frames_built_one_by_one(
    version: int, is_tcp: bool, tag: bytes, payload: bytes, gso_size: int, sequence: int
) -> None:
    def frame(offset: int, part: bytes, checksum_at: int) -> bytes:
        last, first = offset + len(part) == len(payload), offset == 0
        flags = ACK | (FIN | PSH if last else 0) | (CWR if first else 0)
        transport = tcp(sequence + offset, flags, part) if is_tcp else udp(part)
        number = 65535 + offset // gso_size & 0xFFFF
        return ethernet(version, tag, ip_packet(version, 6 if is_tcp else 17, transport, checksum_at, number))

    transport_at = 14 + len(tag) + (20 if version == 4 else 40)
    checksum_offset = 16 if is_tcp else 6
    gso_type = GsoType.UDP_L4 if not is_tcp else GsoType.TCP_V4 if version == 4 else GsoType.TCP_V6
    virtio = VIRTIO_HEADER.pack(1, gso_type, 0, gso_size, transport_at, checksum_offset)
    whole = frame(0, payload, -1)
    if is_tcp:  # the superframe has the flags of its first and of its last segment
        whole = whole[: transport_at + 13] + bytes([ACK | FIN | PSH | CWR]) + whole[transport_at + 14 :]

    parts = [bytes(finish_checksum(part)[10:]) for part in split_superframe(virtio + whole)]

    cuts = range(0, len(payload), gso_size)
    assert parts == [frame(cut, payload[cut : cut + gso_size], checksum_offset) for cut in cuts]


@given(st.binary(min_size=10, max_size=200))
def test_a_malformed_superframe_is_a_bad_packet_and_nothing_else(data: bytes) -> None:
    with contextlib.suppress(BadPacket):
        split_superframe(data)


@given(st.binary(min_size=10, max_size=100))
def test_a_checksum_outside_the_frame_is_a_bad_packet_and_nothing_else(data: bytes) -> None:
    with contextlib.suppress(BadPacket):
        finish_checksum(bytearray(data))


def test_a_frame_that_needs_no_checksum_is_left_alone() -> None:
    assert finish_checksum(bytearray(bytes(10) + b"frame")) == bytes(10) + b"frame"


@pytest.mark.parametrize("data", [b"", b"\1", b"\xff\xff", bytes(5), b"\1\2\3"])
def test_the_sum_agrees_with_rfc_1071(data: bytes) -> None:
    assert 0xFFFF - ones_complement_sum(data) == naive_checksum(data) or not any(data.strip(b"\xff"))
