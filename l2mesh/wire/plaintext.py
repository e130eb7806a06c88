"""What is sealed inside a data datagram: frames, whole, together or in pieces, and messages.

The first byte is the kind. Integers are big-endian unless it says LE, which is how virtio_net_hdr has them.

    empty           keepalive

    udp             kind(1) | Ethernet header with its tags | IP header, slim | ports(4) | payload
       IPv4, slim   without total length, identification and checksum: 14 bytes; no options
       IPv6, slim   without payload length: 38 bytes; no extension headers
                    One UDP frame, not fragmented, with a partial checksum: what is left out follows from its
                    length. The identification is zero, as the frame may not be fragmented (RFC 6864).

    bundle          kind(1) | one or more items
       item         length(2 LE) csum_start(2 LE) csum_offset(2 LE) | frame(length)
                    csum_start = 0: no partial checksum. These 6 bytes are the end of a virtio_net_hdr,
                    with the length in the place of gso_size.

    segment         kind(1) flags(1) header length(1) 0(1) superframe id(2) offset(2) | headers | slice
       flags        bit 0: the last of its superframe; bits 4-7: 1 TCP over IPv4, 4 TCP over IPv6, 5 UDP
       offset       of the slice in the superframe's payload
       headers      Ethernet, IP, TCP or UDP, as of a packet with the superframe's full segment size:
                    IP length and UDP length say that size. The partial checksum fits that length.
                    The IPv4 header checksum is not used.
       slice        one or more whole segments; at the end of the superframe the last may be shorter

    fragment        kind(1) index(1) count(1) 0(1) id(4) csum_start(2 LE) csum_offset(2 LE) | piece of a frame

    control, probe and probe reply have files of their own.

Reserved bytes are sent as 0 and ignored when received. Nothing may follow the last item of a bundle.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from l2mesh.wire import virtio


class Kind(IntEnum):
    """Below CONTROL: frames."""

    UDP = 0
    BUNDLE = 1
    SEGMENT = 2
    FRAGMENT = 3
    CONTROL = 4
    PROBE = 5
    PROBE_REPLY = 6


# Plain integers for the hot path.
UDP: Final = int(Kind.UDP)
BUNDLE: Final = int(Kind.BUNDLE)
SEGMENT: Final = int(Kind.SEGMENT)
FRAGMENT: Final = int(Kind.FRAGMENT)

KIND_SIZE: Final = 1

ITEM: Final = struct.Struct("<HHH")
ITEM_SIZE: Final = ITEM.size
FRAME_SIZE_MAX: Final = 65535

# A segment's header is one number, so that the successor in a run is known by one comparison:
# its header is this one plus the length of this slice.
SEGMENT_HEADER: Final = struct.Struct(">Q")
SEGMENT_HEADER_SIZE: Final = SEGMENT_HEADER.size
LAST: Final = 1 << 48
SEGMENT_GSO_TYPES: Final = frozenset({virtio.GSO_TCPV4, virtio.GSO_TCPV6, virtio.GSO_UDP_L4})
HEADERS_SIZE_MAX: Final = 255

FRAGMENT_HEADER: Final = struct.Struct(">BBBxI")
FRAGMENT_CSUM: Final = struct.Struct("<HH")
FRAGMENT_HEADER_SIZE: Final = FRAGMENT_HEADER.size + FRAGMENT_CSUM.size
FRAGMENTS_MAX: Final = 255


def segment_header(gso: int, header_length: int, superframe_id: int) -> int:
    """The header of a superframe's first segment, unless that is also its last: then add LAST."""
    return SEGMENT << 56 | gso << 52 | header_length << 40 | superframe_id << 16
