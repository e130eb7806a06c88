"""Which frames of one UDP flow may become one superframe (USO), before the wire or behind it.

The rule is that of the kernel's own GRO (udp_gro_receive_segment, inet_gro_receive), and stricter where a
bridge could tell the difference:

- Only frames with a partial checksum. What came with a complete one, right or wrong, keeps it; so does one
  that has none (zero, RFC 768).
- IPv4 only with Don't Fragment, and no fragments: then the identification means nothing (RFC 6864, 4.1), and
  that of the superframe's datagrams may differ from what was sent. Everything else in the headers must be
  equal.
- All datagrams are of one size; the last may be shorter.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from l2mesh.core.run_headers import DATAGRAMS_MAX, Shape, announced_payload, parse_shape
from l2mesh.wire import ip, virtio
from l2mesh.wire.errors import BadPacket
from l2mesh.wire.plaintext import ITEM_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

_get16: Final = struct.Struct(">H").unpack_from


class Flow(NamedTuple):
    """The headers of a frame that may be merged, and these without what the frames of a run differ in."""

    headers: bytes
    shape: Shape
    size: int
    """Bytes of payload of the frame."""
    constant: bytes
    partial: int
    """The partial checksum, as of a packet without payload."""

    @property
    def datagrams_max(self) -> int:
        """How many datagrams of this size one superframe holds."""
        return min(DATAGRAMS_MAX, self.shape.payload_max // self.size)

    def is_flow_of(self, other: Flow) -> bool:
        return self.constant == other.constant and self.partial == other.partial


def read_flow(headers: bytes, length: int) -> Flow | None:
    """`headers` of a frame of `length` bytes, as far as its csum_start says. None: it must stay by itself."""
    try:
        shape = parse_shape(headers, virtio.GSO_UDP_L4)
    except BadPacket:
        return None
    size = length - shape.length
    if shape.length != len(headers) or size < 1 or announced_payload(headers, shape) != size:
        return None
    if _get16(headers, shape.transport + ip.UDP_LENGTH)[0] != ip.UDP_HEADER_SIZE + size:
        return None
    if shape.ipv4 and _get16(headers, shape.network + ip.IPV4_FRAGMENT)[0] != ip.DONT_FRAGMENT:
        return None
    (partial,) = _get16(headers, shape.transport + ip.UDP_CHECKSUM)
    return Flow(headers, shape, size, _constant(headers, shape), ip.shift_partial(partial, -size))


def _constant(headers: bytes, shape: Shape) -> bytes:
    """`headers` with zero for lengths, identification and checksums."""
    constant = bytearray(headers)
    fields = [shape.length_field, shape.transport + ip.UDP_LENGTH, shape.transport + ip.UDP_CHECKSUM]
    if shape.ipv4:
        fields += [shape.network + ip.IPV4_ID, shape.network + ip.IPV4_CHECKSUM]
    for field in fields:
        constant[field : field + 2] = bytes(2)
    return bytes(constant)


@cache
def comparands(shape: Shape) -> Callable[..., tuple[Any, ...]]:
    """What must be equal in frames of one flow and one length, as one call: f(buffer, offset of the item).

    The item's csum_start and csum_offset and all headers, but for identification and checksum of IPv4.
    """
    end = ITEM_SIZE + shape.length
    if not shape.ipv4:
        return struct.Struct(f"2x{end - 2}s").unpack_from
    network = ITEM_SIZE + shape.network
    before = network + ip.IPV4_ID - 2
    middle = ip.IPV4_CHECKSUM - ip.IPV4_FRAGMENT
    after = end - network - ip.IPV4_ADDRESSES
    return struct.Struct(f"2x{before}s2x{middle}s2x{after}s").unpack_from
