from __future__ import annotations

from l2mesh.wire import virtio


def test_a_header_read_from_a_tap_of_linux_6_18() -> None:
    """TCP over IPv4, as tcpdump and iperf3 made it: 66 bytes of headers, MSS 1448."""
    read = bytes.fromhex("01 01 4200 a805 2200 1000")
    assert virtio.HEADER.unpack(read) == (virtio.NEEDS_CSUM, virtio.GSO_TCPV4, 66, 1448, 34, 16)
    assert len(read) == virtio.HEADER_SIZE
