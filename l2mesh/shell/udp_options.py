"""What a UDP socket is set to, and where it is bound."""

from __future__ import annotations

import errno
import logging
import socket

from l2mesh.shell.errors import ShellError

log = logging.getLogger(__name__)

# <linux/udp.h>, <asm-generic/socket.h>, <linux/in.h>, <linux/in6.h>: not in Python's socket module
SOL_UDP = 17
UDP_GRO = 104
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
IP_MTU_DISCOVER = 10
IPV6_MTU_DISCOVER = 23
PMTUDISC_PROBE = 3


def bound_socket(version: int, host: str, port: int, any_port: bool) -> socket.socket:
    """A non-blocking UDP socket, as UdpSocket (udp.py) wants it. Raises ShellError."""
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    try:
        udp = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        what = (
            "no more sockets"
            if error.errno in (errno.EMFILE, errno.ENFILE)
            else f"no IPv{version} on this machine"
        )
        raise ShellError(f"{what}: {error.strerror}", error.errno) from error
    try:
        _set_options(udp, version)
        _bind(udp, host, port, any_port)
    except BaseException:
        udp.close()
        raise
    return udp


def _set_options(udp: socket.socket, version: int) -> None:
    # Don't-fragment is set, and neither ICMP nor the kernel's idea of the path's MTU stops a send: the engine
    # probes paths itself, and believes no stranger's ICMP. Only the link's own MTU answers EMSGSIZE.
    if version == 6:
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        udp.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)
    else:
        udp.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)


def set_receive_buffer(udp: socket.socket, size: int) -> None:
    """Bytes that may wait to be read."""
    _set_buffer(udp, SO_RCVBUFFORCE, socket.SO_RCVBUF, size)


def set_send_buffer(udp: socket.socket, size: int) -> None:
    """Bytes that may wait in the kernel before the socket says that it is full."""
    _set_buffer(udp, SO_SNDBUFFORCE, socket.SO_SNDBUF, size)


def _set_buffer(udp: socket.socket, forced: int, plain: int, size: int) -> None:
    # The kernel doubles the number, for its own bookkeeping.
    try:
        udp.setsockopt(socket.SOL_SOCKET, forced, size // 2)
    except PermissionError:  # without CAP_NET_ADMIN: as much as net.core.*mem_max allows
        udp.setsockopt(socket.SOL_SOCKET, plain, size // 2)


def _bind(udp: socket.socket, host: str, port: int, any_port: bool) -> None:
    try:
        udp.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE and any_port and port:
            log.info("UDP port %d, used last time, is busy: taking a random one", port)
            udp.bind((host, 0))
        else:
            raise ShellError(_bind_remedy(host, port, error), error.errno) from error


def _bind_remedy(host: str, port: int, error: OSError) -> str:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    match error.errno:
        case errno.EADDRINUSE:
            return f"port busy: {where} is used by another program: stop it (ss -ulpn), or choose another port"
        case errno.EACCES:
            return f"cannot listen on {where}: permission denied: choose a port of 1024 or above, or run as root"
        case errno.EADDRNOTAVAIL:
            return f"cannot listen on {where}: this machine does not have that address (ip address)"
        case _:
            return f"cannot listen on {where}: {error.strerror or error}"


def enable_gro(udp: socket.socket) -> bool:
    """Whether the kernel joins what it receives."""
    try:
        udp.setsockopt(SOL_UDP, UDP_GRO, 1)
    except OSError as error:
        log.info("UDP_GRO refused (%s): receiving datagrams one by one", error.strerror)
        return False
    return True
