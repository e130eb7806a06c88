from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.wire import ethernet, ip
from l2mesh.wire.errors import BadPacket

IPV4 = bytes.fromhex("45000073000040004011b861c0a80001c0a800c7")
"""An example that is in many books; its checksum is right."""
IPV6 = bytes.fromhex("60000000 0008 11 40") + b"\xfd\7" * 16


def test_the_transport_header_is_behind_ipv4_and_its_options() -> None:
    assert ip.transport_offset(b"##" + IPV4, ethernet.IPV4, 2) == (17, 22)
    assert ip.transport_offset(b"\x47" + IPV4[1:] + bytes(8), ethernet.IPV4, 0) == (17, 28)


def test_the_transport_header_is_behind_ipv6_and_its_extensions() -> None:
    hop_by_hop, destination = bytes.fromhex("3c00010400000000"), bytes.fromhex("0601010c") + bytes(12)
    assert ip.transport_offset(IPV6, ethernet.IPV6, 0) == (17, 40)
    packet = IPV6[:6] + b"\0" + IPV6[7:] + hop_by_hop + destination
    assert ip.transport_offset(packet, ethernet.IPV6, 0) == (6, 64)


@pytest.mark.parametrize(
    "packet",
    [
        IPV4[:19],
        b"\x44" + IPV4[1:],
        b"\x46" + IPV4[1:],
        b"\x65" + IPV4[1:],
        IPV4[:6] + b"\x20\x00" + IPV4[8:],
        IPV4[:6] + b"\x00\x01" + IPV4[8:],
    ],
    ids=["short", "header of 16", "options cut short", "version 6", "first fragment", "later fragment"],
)
def test_an_impossible_ipv4_header_is_refused(packet: bytes) -> None:
    with pytest.raises(BadPacket):
        ip.transport_offset(packet, ethernet.IPV4, 0)


@pytest.mark.parametrize("packet", [IPV6[:39], b"\x40" + IPV6[1:], IPV6[:6] + b"\0" + IPV6[7:] + bytes(7)])
def test_an_impossible_ipv6_header_is_refused(packet: bytes) -> None:
    with pytest.raises(BadPacket):
        ip.transport_offset(packet, ethernet.IPV6, 0)


@given(st.binary(max_size=120), st.sampled_from([ethernet.IPV4, ethernet.IPV6, 0x0806]))
def test_any_bytes_are_a_protocol_or_refused(packet: bytes, ether_type: int) -> None:
    try:
        protocol, offset = ip.transport_offset(packet, ether_type, 0)
    except BadPacket:
        return
    assert 0 <= protocol <= 255
    assert offset >= 20


def test_the_checksum_of_a_known_header() -> None:
    assert ip.checksum(IPV4[:10] + b"\0\0" + IPV4[12:]) == 0xB861


@given(st.binary(min_size=2, max_size=60).filter(lambda data: len(data) % 2 == 0 and any(data)))
def test_the_checksum_makes_the_sum_all_ones(data: bytes) -> None:
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)) + ip.checksum(data)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF


def test_a_partial_checksum_moves_with_the_length() -> None:
    assert ip.shift_partial(0x1000, 0x23) == 0x1023
    assert ip.shift_partial(0xFFFE, 2) == 1
    assert ip.shift_partial(1, -1) == 0xFFFF, "of both zeros of one's complement the kernel's"
