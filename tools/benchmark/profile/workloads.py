"""Batches of frames as a TAP gives them: a virtio header, then Ethernet, IPv4, TCP or UDP."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

SOURCE, DESTINATION = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
TCP, UDP = 6, 17
ETHERNET, IPV4, TCP_WITH_TIMESTAMPS, UDP_HEADER = 14, 20, 32, 8
NEEDS_CSUM, GSO_TCPV4 = 1, 1
MSS = 1366
"""Of TCP with timestamps, lowered to what a path of 1500 bytes carries (core/mss.py)."""
SUPERFRAME_PAYLOAD = 44 * MSS
"""Close to the most that one read of a TAP gives."""

virtio = struct.Struct("<BBHHHH")
ipv4 = struct.Struct("!BBHHHBBH4s4s")
tcp = struct.Struct("!HHIIBBHHH")
udp = struct.Struct("!HHHH")


@dataclass(frozen=True, slots=True)
class Workload:
    """Its title: frames in a batch, and segments of each, or bytes of payload.

    `make(destination, source)` gives one frame. A batch has `batch` of them, which count `units` each.
    """

    name: str
    title: str
    make: Callable[[bytes, bytes], bytes]
    batch: int
    unit: str
    units: int
    batches: int
    """In one pass."""


def tcp_superframe(destination: bytes, source: bytes) -> bytes:
    """One that the kernel wants cut at `MSS`, its checksum unfinished."""
    header = tcp.pack(40_000, 5201, 12345, 678, TCP_WITH_TIMESTAMPS // 4 << 4, 0x10, 500, 0x1234, 0)
    options = b"\x01\x01\x08\x0a" + bytes(8)
    segment = header + options + bytes(SUPERFRAME_PAYLOAD)
    headers = ETHERNET + IPV4 + TCP_WITH_TIMESTAMPS
    meta = virtio.pack(NEEDS_CSUM, GSO_TCPV4, headers, MSS, ETHERNET + IPV4, 16)
    return meta + ethernet(destination, source) + _ipv4(TCP, len(segment)) + segment


def udp_frame(size: int) -> Callable[[bytes, bytes], bytes]:
    """Makes one with `size` bytes of payload."""

    def make(destination: bytes, source: bytes) -> bytes:
        segment = udp.pack(40_000, 5201, UDP_HEADER + size, 0x1234) + bytes(size)
        meta = virtio.pack(NEEDS_CSUM, 0, 0, 0, ETHERNET + IPV4, 6)
        return meta + ethernet(destination, source) + _ipv4(UDP, len(segment)) + segment

    return make


def ethernet(destination: bytes, source: bytes) -> bytes:
    return destination + source + b"\x08\x00"


def _ipv4(protocol: int, payload: int) -> bytes:
    return ipv4.pack(0x45, 0, IPV4 + payload, 1, 0x4000, 64, protocol, 0, SOURCE, DESTINATION)


WORKLOADS = (
    Workload("tcp", "TCP 4 x 44", tcp_superframe, 4, "segment", 44, 40),
    Workload("tcp-1", "TCP 1 x 44", tcp_superframe, 1, "segment", 44, 120),
    Workload("udp64", "UDP 64 x 64 B", udp_frame(64), 64, "frame", 1, 100),
    Workload("udp1400", "UDP 64 x 1400 B", udp_frame(1400), 64, "frame", 1, 60),
    Workload("lone", "lone 64 B", udp_frame(64), 1, "frame", 1, 1500),
)
