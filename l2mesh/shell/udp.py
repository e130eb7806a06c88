"""UDP sockets: trains of datagrams out with UDP_SEGMENT, bursts of datagrams in with UDP_GRO and recvmmsg.

One UdpSocket per IP version. Nothing here raises for one bad datagram or one unreachable address: it is
counted, and told to `on_send_error`. What the kernel lacks is found out once, logged once, and done without.

Measured: a 40-datagram train costs 4 us by UDP_SEGMENT and 140 us by sendto; sendmmsg gains nothing over
sendto (3.4 us a datagram either way: the kernel's share), so there is no sendmmsg here.
"""

from __future__ import annotations

import errno
import logging
import mmap
import socket
import struct
import sys
from typing import TYPE_CHECKING

from l2mesh.shell.errors import ShellError
from l2mesh.shell.mmsg import MessageReceiver, is_supported
from l2mesh.shell.statistics import PortStatistics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Buffer = bytes | bytearray | memoryview
    Address = tuple[str, int]
    Train = tuple[Address, Buffer, int]
    Burst = tuple[Address, memoryview, int]

log = logging.getLogger(__name__)

# <linux/udp.h>, <asm-generic/socket.h>, <linux/in.h>, <linux/in6.h>: not in Python's socket module
SOL_UDP = 17
UDP_SEGMENT = 103
UDP_GRO = 104
SO_SNDBUFFORCE = 32
SO_RCVBUFFORCE = 33
IP_MTU_DISCOVER = 10
IPV6_MTU_DISCOVER = 23
PMTUDISC_PROBE = 3

# Bursts arrive while Python works on the last batch: 4 MB is 5 ms at 6 Gbit/s.
RECEIVE_BUFFER = 4 << 20
# What waits here cannot be taken back, so no more than a few batches: 1 MB is 80 ms at 100 Mbit/s.
SEND_BUFFER = 1 << 20
# One wake-up takes at most this many receives, or the fewer when GRO makes each of them large.
BATCH_MESSAGES = 64
BATCH_MESSAGES_LARGE = 8
LARGE_BATCH_BYTES = 256 * 1024
ARENA_SIZE = 1 << 20
MESSAGE_SIZE = 64 * 1024
CONTROL_SIZE = 24
# Anyone can send to us from any address, so the table of known ones has a bound.
KNOWN_ADDRESSES = 16_384

SEND_DROPS = {
    errno.EMSGSIZE: "longer than the link's MTU",
    errno.ENETUNREACH: "network unreachable",
    errno.EHOSTUNREACH: "host unreachable",
    errno.EPERM: "forbidden by a firewall",
    errno.EACCES: "forbidden by a firewall",
    errno.ECONNREFUSED: "connection refused",
    errno.EADDRNOTAVAIL: "source address gone",
    errno.ENETDOWN: "network down",
    errno.ENOBUFS: "interface queue full",
    errno.EINVAL: "invalid destination",
}


class UdpSocket:
    """A bound, non-blocking UDP socket of one IP version.

    host, port       a literal address and a port, or 0 for a random one
    any_port         when the port is busy take a random one (it was only remembered, nobody asked for it)
    on_send_error    told (address, errno) of each train refused for good
    gso, gro, mmsg   False: do without, as on a kernel that lacks it
    send_buffer      bytes that may wait in the kernel before send() says that the socket is full

    Raises ShellError when it cannot be bound.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        any_port: bool = False,
        on_send_error: Callable[[Address, int], None] | None = None,
        gso: bool = True,
        gro: bool = True,
        mmsg: bool = True,
        send_buffer: int = SEND_BUFFER,
    ) -> None:
        self.version = 6 if ":" in host else 4
        self.statistics = PortStatistics()
        self.gso = gso
        self._socket = _bound_socket(self.version, host, port, any_port)
        _set_buffer(self._socket, SO_SNDBUFFORCE, socket.SO_SNDBUF, send_buffer)
        self.port: int = self._socket.getsockname()[1]
        self.gro = gro and _enable_gro(self._socket)
        self._on_send_error = on_send_error
        self._ancillary: dict[int, list[tuple[int, int, bytes]]] = {}
        self._addresses: dict[object, Address] = {}
        self._messages = None
        if mmsg and is_supported():
            self._messages = MessageReceiver(self._socket.fileno(), BATCH_MESSAGES)
            self._limit = BATCH_MESSAGES_LARGE
        else:
            self._arena = memoryview(mmap.mmap(-1, ARENA_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def receive_batch(self) -> list[Burst]:
        """What waits, up to a bound; the buffers are mutable and valid until the next call. Hot."""
        try:
            return self._receive_many() if self._messages else self._receive_singly()
        except OSError as error:
            self.statistics.drops[f"receive: {error.strerror}"] += 1
            return []

    def _receive_many(self) -> list[Burst]:
        assert self._messages
        bursts: list[Burst] = []
        known, total = self._addresses, 0
        for name, data, size in self._messages.receive(self._limit):
            address = known.get(name)
            if address is None:
                address = self._remember(name, _parse_sockaddr(name))
            bursts.append((address, data, size))
            total += len(data)
        # The next batch will look like this one. 64 receives of 64 KB would be 4 MB: out of the cache, and
        # unfair.
        self._limit = BATCH_MESSAGES if total < LARGE_BATCH_BYTES else BATCH_MESSAGES_LARGE
        self.statistics.reads += len(bursts)
        self.statistics.read_bytes += total
        return bursts

    def _receive_singly(self) -> list[Burst]:
        bursts: list[Burst] = []
        arena, receive, known, start = self._arena, self._socket.recvmsg_into, self._addresses, 0
        try:
            while len(bursts) < BATCH_MESSAGES and start <= ARENA_SIZE - MESSAGE_SIZE:
                end = start + MESSAGE_SIZE
                length, ancillary, _, source = receive((arena[start:end],), CONTROL_SIZE)
                size = int.from_bytes(ancillary[0][2][:4], sys.byteorder) if ancillary else length
                address = known.get(source)
                if address is None:
                    address = self._remember(source, (source[0].partition("%")[0], source[1]))
                bursts.append((address, arena[start : start + length], size))
                start += length
        except BlockingIOError:
            pass
        self.statistics.reads += len(bursts)
        self.statistics.read_bytes += start
        return bursts

    def _remember(self, source: object, address: Address) -> Address:
        if len(self._addresses) >= KNOWN_ADDRESSES:
            self._addresses.clear()
        self._addresses[source] = address
        return address

    def send(self, trains: Sequence[Train]) -> list[Train]:
        """Send; -> the trains for which the socket has no room, as copies that stay valid. Hot."""
        sendto, sendmsg, ancillary = self._socket.sendto, self._socket.sendmsg, self._ancillary
        writes = total = 0
        try:
            for index, (address, buffer, size) in enumerate(trains):
                rest = b""
                try:
                    if size >= len(buffer):
                        total += sendto(buffer, address)
                        writes += 1
                    elif self.gso:
                        total += sendmsg((buffer,), ancillary.get(size) or self._segment_size(size), 0, address)
                        writes += 1
                    else:
                        rest = self._send_singly(address, buffer, size)
                except BlockingIOError:
                    return _copies(trains[index:])
                except OSError as error:
                    rest = self._send_failed(address, buffer, size, error)
                if rest:
                    return [(address, rest, size), *_copies(trains[index + 1 :])]
            return []
        finally:
            self.statistics.writes += writes
            self.statistics.write_bytes += total

    def _send_singly(self, address: Address, buffer: Buffer, size: int) -> bytes:
        """A train datagram by datagram; -> the rest for which the socket has no room."""
        train = memoryview(buffer)
        for start in range(0, len(train), size):
            try:
                self.statistics.write_bytes += self._socket.sendto(train[start : start + size], address)
            except BlockingIOError:
                return bytes(train[start:])
            except OSError as error:
                self._count_error(address, error)
                return b""  # the others would fare no better
            self.statistics.writes += 1
        return b""

    def _send_failed(self, address: Address, buffer: Buffer, size: int, error: OSError) -> bytes:
        """EIO (no checksum offload) and EINVAL may mean GSO or this train: sending it singly tells which."""
        if size >= len(buffer) or error.errno not in {errno.EIO, errno.EINVAL}:
            self._count_error(address, error)
            return b""
        before = self.statistics.writes
        rest = self._send_singly(address, buffer, size)
        if self.statistics.writes > before:
            self.gso = False
            log.warning("UDP_SEGMENT refused (%s): sending datagrams one by one (slower)", error.strerror)
        return rest

    def _count_error(self, address: Address, error: OSError) -> None:
        self.statistics.drops[SEND_DROPS.get(error.errno or 0, error.strerror or "send failed")] += 1
        if self._on_send_error:
            self._on_send_error(address, error.errno or 0)

    def _segment_size(self, size: int) -> list[tuple[int, int, bytes]]:
        control = self._ancillary[size] = [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", size))]
        return control


def _copies(trains: Sequence[Train]) -> list[Train]:
    return [(address, bytes(buffer), size) for address, buffer, size in trains]


def _parse_sockaddr(name: bytes) -> Address:
    """struct sockaddr_in or sockaddr_in6 as the kernel wrote it."""
    port = int.from_bytes(name[2:4], "big")
    if int.from_bytes(name[:2], sys.byteorder) == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, name[4:8]), port
    return socket.inet_ntop(socket.AF_INET6, name[8:24]), port


def _bound_socket(version: int, host: str, port: int, any_port: bool) -> socket.socket:
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    try:
        udp = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise ShellError(f"no IPv{version} on this machine: {error.strerror}", error.errno) from error
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
    _set_buffer(udp, SO_RCVBUFFORCE, socket.SO_RCVBUF, RECEIVE_BUFFER)


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


def _enable_gro(udp: socket.socket) -> bool:
    try:
        udp.setsockopt(SOL_UDP, UDP_GRO, 1)
    except OSError as error:
        log.info("UDP_GRO refused (%s): receiving datagrams one by one", error.strerror)
        return False
    return True
