"""struct virtio_net_hdr, in front of every frame on a TAP (<linux/virtio_net.h>; virtio 1.2, 5.1.6).

    octet  0     1        2-3             4-5      6-7        8-9            little-endian
         +-----+--------+---------------+--------+----------+-------------+---------
         |flags|gso_type| header length |gso_size|csum_start| csum_offset | frame ...
         +-----+--------+---------------+--------+----------+-------------+---------

With NEEDS_CSUM the checksum at csum_start + csum_offset holds a partial checksum (l2mesh/wire/ip.py), and
its reader sums up from csum_start to the end. A superframe (gso_type not NONE) is many packets with one
header: gso_size bytes of payload each, the last may have less. What Linux 6.18 does on writing, as tried
out: csum_start and csum_offset beyond the frame, or more than 128 UDP datagrams: EINVAL; wrong headers, or a
payload of exactly gso_size: silence.
"""

from __future__ import annotations

import struct
from typing import Final

HEADER: Final = struct.Struct("<BBHHHH")
HEADER_SIZE: Final = HEADER.size
CSUM_START: Final = struct.Struct("<H")
CSUM_START_AT: Final = 6
CSUM_OFFSET_AT: Final = 8

NEEDS_CSUM: Final = 1

GSO_NONE: Final = 0
GSO_TCPV4: Final = 1
GSO_TCPV6: Final = 4
GSO_UDP_L4: Final = 5
# A flag beside TCPV4 and TCPV6: CWR belongs to the first segment alone.
GSO_ECN: Final = 0x80
