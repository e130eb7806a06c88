"""ICMP errors to datagrams we sent, from a UDP socket's error queue: ip(7), IP_RECVERR; <linux/errqueue.h>.

    struct sock_extended_err, 16 bytes, then who reported it
      errno(4) origin(1) type(1) code(1) 0(1) info(4) data(4)

With IP_RECVERR the news also makes the next send or receive on the socket fail, whatever its destination. So what
failed is tried again once the queue is read, and only what fails then is an error of its own.
"""

from __future__ import annotations

import logging
import socket
import struct

Address = tuple[str, int]

log = logging.getLogger(__name__)

# <linux/in.h>, <linux/in6.h>, <linux/errqueue.h>: not in Python's socket module
IP_RECVERR = 11
IPV6_RECVERR = 25
SO_EE_ORIGIN_ICMP = 2
SO_EE_ORIGIN_ICMP6 = 3
# RFC 792 and 4443. Who sends with a low TTL to open a NAT causes them; else they mean a loop of routers, which
# silence tells as well.
TIME_EXCEEDED = {(SO_EE_ORIGIN_ICMP, 11), (SO_EE_ORIGIN_ICMP6, 3)}

_extended_err = struct.Struct("=IBBBBII")
# One of the above and a sockaddr_in6, with its header.
CONTROL_SIZE = 128


def enable(udp: socket.socket, version: int) -> None:
    """Keep ICMP errors for this socket. A kernel that cannot tells nothing of them, and all else works."""
    try:
        if version == 6:
            udp.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        else:
            udp.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    except OSError as error:
        log.info("IP_RECVERR refused (%s): ICMP errors stay unknown", error.strerror)


def read(udp: socket.socket, limit: int) -> list[tuple[Address, int]]:
    """Take up to `limit` errors; -> (destination of the datagram that caused it, errno) of those worth telling.

    Errors of the kernel's own (a datagram longer than the link's MTU) are here too: the send that caused one has
    failed with it, so it is passed over.
    """
    found: list[tuple[Address, int]] = []
    for _ in range(limit):
        try:
            _, ancillary, _, name = udp.recvmsg(0, CONTROL_SIZE, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        except OSError:  # EAGAIN: that was all
            break
        for level, kind, data in ancillary:
            if (level, kind) in ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR)):
                number, origin, icmp_type, *_ = _extended_err.unpack_from(data)
                from_icmp = origin in (SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6)
                if from_icmp and (origin, icmp_type) not in TIME_EXCEEDED:
                    found.append(((name[0].partition("%")[0], name[1]), number))
    return found
