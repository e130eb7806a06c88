"""Where an Ethernet frame's payload begins (IEEE 802.3 clause 3, tags of IEEE 802.1Q).

    octets  6             6        0, 4 or 8                    2
          +-------------+--------+----------------------------+-----------+------------
          | destination | source | TPID(2) TCI(2), once a tag | EtherType | payload ...
          +-------------+--------+----------------------------+-----------+------------

There is no frame check sequence: a TAP has none.
"""

from __future__ import annotations

from typing import Final

from l2mesh.wire.errors import BadPacket

Buffer = bytes | bytearray | memoryview

HEADER_SIZE: Final = 14
TAG_SIZE: Final = 4
# A customer's tag inside a service provider's tag. Linux cuts superframes behind that many.
TAGS_MAX: Final = 2

IPV4: Final = 0x0800
IPV6: Final = 0x86DD
CUSTOMER_TAG: Final = 0x8100
SERVICE_TAG: Final = 0x88A8
TAGS: Final = frozenset({CUSTOMER_TAG, SERVICE_TAG})


def network_offset(frame: Buffer) -> tuple[int, int]:
    """(EtherType of the payload, its offset), behind at most two tags. Raises BadPacket."""
    offset = HEADER_SIZE
    for _ in range(TAGS_MAX + 1):
        if len(frame) < offset:
            raise BadPacket("an Ethernet header is cut short")
        ether_type = frame[offset - 2] << 8 | frame[offset - 1]
        if ether_type not in TAGS:
            return ether_type, offset
        offset += TAG_SIZE
    raise BadPacket("more tags than we can look behind")
