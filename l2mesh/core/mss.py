"""TCP's maximum segment size, lowered where a connection begins to what one datagram of the path carries.

The TAP has the MTU of a LAN, and the path less. Whole segments would be cut anew (superframe.py) or fragmented,
and then one lost datagram is a part of two segments: both are sent again, one of them for nothing. Measured with
1 % loss below: two of three retransmissions brought a duplicate SACK (RFC 2883), with this one in three hundred.

So the option of a SYN or SYN-ACK (RFC 9293, 3.7.1) is lowered on its way, as routers with tunnels do. It tells the
other end how much to send to this one: both directions of a path carry the same.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from l2mesh.wire import ethernet, ip, virtio
from l2mesh.wire.errors import BadPacket
from l2mesh.wire.plaintext import ITEM_SIZE, KIND_SIZE, SEGMENT_HEADER_SIZE

if TYPE_CHECKING:
    from l2mesh.wire.ethernet import Buffer

MSS_MIN: Final = 536
"""What every host takes (RFC 9293): a path that carries less cuts again."""

SYN_SIZE_MIN: Final = virtio.HEADER_SIZE + ethernet.HEADER_SIZE + ip.IPV4_HEADER_SIZE + ip.TCP_HEADER_SIZE + 4

_OVERHEAD: Final = max(SEGMENT_HEADER_SIZE, KIND_SIZE + ITEM_SIZE)
_SYN: Final = 0x02
_END_OF_OPTIONS, _NO_OPERATION, _MSS = 0, 1, 2
_MSS_SIZE: Final = 4
_U16: Final = Struct(">H")

_TYPE_AT: Final = virtio.HEADER_SIZE + 12
_PROTOCOL_AT: Final = virtio.HEADER_SIZE + ethernet.HEADER_SIZE + ip.IPV4_PROTOCOL


def may_be_tcp(frame: Buffer) -> bool:
    """False for most frames that are not, given with virtio header and at least SYN_SIZE_MIN bytes. Hot."""
    if frame[0] & virtio.NEEDS_CSUM:
        return frame[virtio.CSUM_OFFSET_AT] == ip.TCP_CHECKSUM
    return frame[_PROTOCOL_AT] == ip.PROTOCOL_TCP or frame[_TYPE_AT] != ethernet.IPV4 >> 8


def lower_mss(frame: bytearray | memoryview, room: int) -> None:
    """Make a frame that begins a TCP connection ask for segments that fit in plaintexts of `room` bytes.

    The frame has its virtio header. Whatever it is, it stays well-formed; other frames stay as they are.
    """
    try:
        ether_type, network = ethernet.network_offset(frame[virtio.HEADER_SIZE :])
        protocol, transport = ip.transport_offset(frame, ether_type, virtio.HEADER_SIZE + network)
    except BadPacket:
        return
    options = transport + ip.TCP_HEADER_SIZE
    if protocol != ip.PROTOCOL_TCP or len(frame) < options or not frame[transport + ip.TCP_FLAGS] & _SYN:
        return
    end = min(transport + (frame[transport + ip.TCP_HEADER_LENGTH] >> 4) * 4, len(frame))
    at = _find_mss(frame, options, end)
    if at is None:
        return
    (old,) = _U16.unpack_from(frame, at)
    new = max(MSS_MIN, room - _OVERHEAD - (options - virtio.HEADER_SIZE))
    if new >= old:
        return
    _U16.pack_into(frame, at, new)
    if not frame[0] & virtio.NEEDS_CSUM:  # a partial one does not have the options in it
        _mend_checksum(frame, transport + ip.TCP_CHECKSUM, old, new, odd=bool((at - transport) % 2))


def _find_mss(frame: Buffer, at: int, end: int) -> int | None:
    """Where the value of the option is, among the TCP options from `at` to `end`."""
    while at + _MSS_SIZE <= end and frame[at] != _END_OF_OPTIONS:
        if frame[at] == _NO_OPERATION:
            at += 1
        elif frame[at] == _MSS and frame[at + 1] == _MSS_SIZE:
            return at + 2
        else:
            at += max(2, frame[at + 1])
    return None


def _mend_checksum(frame: bytearray | memoryview, at: int, old: int, new: int, *, odd: bool) -> None:
    """RFC 1624, equation 3. At an odd offset the two bytes belong to two words of the sum, the wrong way round."""
    difference = (old - new) * (256 if odd else 1)
    (before,) = _U16.unpack_from(frame, at)
    _U16.pack_into(frame, at, (before + difference) % 65535)
