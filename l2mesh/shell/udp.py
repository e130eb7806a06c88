"""UDP sockets: trains of datagrams out with UDP_SEGMENT, bursts of datagrams in with UDP_GRO and recvmmsg.

One UdpSocket per IP version, and side sockets (side_sockets.py). Nothing here raises for one bad datagram or one
unreachable address: what this host refuses to send is counted, and it and what ICMP reports are kept in `errors`
(error_queue.py). What the kernel lacks is found out once, logged once, and done without.

Measured: a 40-datagram train costs 4 us by UDP_SEGMENT and 140 us by sendto; sendmmsg gains nothing over
sendto (3.4 us a datagram either way: the kernel's share), so there is no sendmmsg here. IP_RECVERR costs nothing
until an ICMP error comes.
"""

from __future__ import annotations

import errno
import logging
import mmap
import socket
import struct
import sys
from functools import cache
from typing import TYPE_CHECKING

from l2mesh.shell import error_queue
from l2mesh.shell.errors import ShellError
from l2mesh.shell.mmsg import MessageReceiver, is_supported
from l2mesh.shell.statistics import PortStatistics
from l2mesh.shell.udp_options import SOL_UDP, bound_socket, enable_gro, set_receive_buffer, set_send_buffer
from l2mesh.wire.address import SideAddress

if TYPE_CHECKING:
    from collections.abc import Sequence

    Buffer = bytes | bytearray | memoryview
    Address = tuple[str, int]
    Train = tuple[Address, Buffer, int]
    Burst = tuple[Address, memoryview, int]
    SendError = tuple[Address, int, bool]

log = logging.getLogger(__name__)

# <linux/udp.h>, <linux/in.h>, <linux/in6.h>: not in Python's socket module
UDP_SEGMENT = 103
IP_TTL = 2
IPV6_HOPLIMIT = 52

# Bursts arrive while Python works on the last batch: 4 MB is 5 ms at 6 Gbit/s.
RECEIVE_BUFFER = 4 << 20
# Of a side socket until it is busy (grow): Linux's default, and 256 of them hold 53 MB at worst.
SIDE_RECEIVE_BUFFER = 208 << 10
# What waits here cannot be taken back, so no more than a few batches: 1 MB is 80 ms at 100 Mbit/s.
SEND_BUFFER = 1 << 20
# One wake-up takes at most this many receives, but few where GRO may make each of them large.
BATCH_MESSAGES = 64
BATCH_MESSAGES_LARGE = 8
# A message that is longer on average is not one datagram, but what GRO joined.
SINGLE_SIZE = 2048
ARENA_SIZE = 1 << 20
MESSAGE_SIZE = 64 * 1024
CONTROL_SIZE = 24
# Anyone can send to us from any address, so the table of known ones has a bound.
KNOWN_ADDRESSES = 16_384
SIDE_KNOWN_ADDRESSES = 256
# Errors kept until they are taken: as many as a batch has datagrams.
ERRORS_MAX = 64
# An ICMP error makes one send or receive fail; another one may come between reading the queue and trying again.
TRIES = 3

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
    number           of a side socket, 1 and up: addresses seen from it are SideAddresses; 0: a main one
    receive_buffer   bytes that may wait in the kernel to be read
    statistics       where to count; None: in its own
    gso, gro, mmsg   False: do without, as on a kernel that lacks it
    send_buffer      bytes that may wait in the kernel before send() says that the socket is full

    `errors` holds (address, errno, whether this host itself refused to send) until take_errors().

    Raises ShellError when it cannot be bound.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        any_port: bool = False,
        number: int = 0,
        receive_buffer: int = RECEIVE_BUFFER,
        statistics: PortStatistics | None = None,
        gso: bool = True,
        gro: bool = True,
        mmsg: bool = True,
        send_buffer: int = SEND_BUFFER,
    ) -> None:
        self.version = 6 if ":" in host else 4
        self.host = host
        self.number = number
        self.statistics = statistics or PortStatistics()
        self.errors: dict[SendError, None] = {}
        self.gso = gso
        self._socket = bound_socket(self.version, host, port, any_port)
        self._descriptor = self._socket.fileno()
        set_receive_buffer(self._socket, receive_buffer)
        set_send_buffer(self._socket, send_buffer)
        error_queue.enable(self._socket, self.version)
        self.port: int = self._socket.getsockname()[1]
        self.gro = gro and enable_gro(self._socket)
        self._ancillary: dict[int, list[tuple[int, int, bytes]]] = {}
        self._addresses: dict[object, Address] = {}
        self._messages = _shared_receiver() if mmsg and is_supported() else None
        self._limit = BATCH_MESSAGES_LARGE

    @property
    def address(self) -> Address:
        """The bound one: a SideAddress with the number, if it has one."""
        return SideAddress(self.host, self.port, self.number) if self.number else (self.host, self.port)

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        self._socket.close()

    def grow(self) -> None:
        """Give a side socket the receive buffer of a main one."""
        set_receive_buffer(self._socket, RECEIVE_BUFFER)

    def take_errors(self) -> list[SendError]:
        errors, self.errors = list(self.errors), {}
        return errors

    def receive_batch(self) -> list[Burst]:
        """What waits, up to a bound; the buffers are mutable and valid until the next call on any socket. Hot."""
        failure = ""
        for _ in range(TRIES):
            try:
                bursts = self._receive_many() if self._messages else self._receive_singly()
            except OSError as error:
                failure = error.strerror or "failed"
                self._read_errors()
                continue
            if not bursts:  # so it was an error that woke us
                self._read_errors()
            return bursts
        self.statistics.drops[f"receive: {failure}"] += 1
        return []

    def _receive_many(self) -> list[Burst]:
        messages = self._messages
        assert messages
        bursts: list[Burst] = []
        known, total = self._addresses, 0
        for name, data, size in messages.receive(self._descriptor, self.version, self._limit):
            address = known.get(name)
            if address is None:
                address = self._remember(name, _parse_sockaddr(name))
            bursts.append((address, data, size))
            total += len(data)
        # The next batch will look like this one. 64 receives of 64 KB are 4 MB, and three times that in copies:
        # out of the cache, and unfair.
        count = messages.count
        if count < BATCH_MESSAGES_LARGE or total > count * SINGLE_SIZE:
            self._limit = BATCH_MESSAGES_LARGE
        elif count == self._limit:
            self._limit = BATCH_MESSAGES
        self.statistics.reads += len(bursts)
        self.statistics.read_bytes += total
        return bursts

    def _receive_singly(self) -> list[Burst]:
        bursts: list[Burst] = []
        arena, receive, known, start = _shared_arena(), self._socket.recvmsg_into, self._addresses, 0
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
        except OSError:  # an ICMP error; what came before it is not to be lost
            if not bursts:
                raise
            self._read_errors()
        self.statistics.reads += len(bursts)
        self.statistics.read_bytes += start
        return bursts

    def _remember(self, source: object, address: Address) -> Address:
        if len(self._addresses) >= (SIDE_KNOWN_ADDRESSES if self.number else KNOWN_ADDRESSES):
            self._addresses.clear()
        if self.number:
            address = SideAddress(*address, self.number)
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
                except OSError:
                    rest = self._send_again(address, buffer, size)
                if rest:
                    return [(address, rest, size), *_copies(trains[index + 1 :])]
            return []
        finally:
            self.statistics.writes += writes
            self.statistics.write_bytes += total

    def send_with_ttl(self, address: Address, datagram: Buffer, ttl: int) -> None:
        """Send one datagram with this TTL or hop limit; it is dropped and counted when the socket is full."""
        six = self.version == 6
        option = (socket.IPPROTO_IPV6, IPV6_HOPLIMIT) if six else (socket.IPPROTO_IP, IP_TTL)
        try:
            failure = self._try(datagram, [(*option, struct.pack("=i", ttl))], address)
        except BlockingIOError:
            self.statistics.drops["socket full"] += 1
        else:
            if failure:
                self._refused(address, failure)

    def _send_again(self, address: Address, buffer: Buffer, size: int) -> bytes:
        """A train that failed; -> what of it the socket has no room for.

        EIO (no checksum offload) and EINVAL may mean GSO or this train: sending it singly tells which.
        """
        lone = size >= len(buffer)
        try:
            failure = self._try(buffer, [] if lone else self._segment_size(size), address)
        except BlockingIOError:
            return bytes(buffer)
        if failure is None:
            return b""
        if lone or failure.errno not in {errno.EIO, errno.EINVAL}:
            self._refused(address, failure)
            return b""
        before = self.statistics.writes
        rest = self._send_singly(address, buffer, size)
        if self.statistics.writes > before:
            self.gso = False
            log.warning("UDP_SEGMENT refused (%s): sending datagrams one by one (slower)", failure.strerror)
        return rest

    def _send_singly(self, address: Address, buffer: Buffer, size: int) -> bytes:
        """A train datagram by datagram; -> the rest for which the socket has no room."""
        train = memoryview(buffer)
        for start in range(0, len(train), size):
            try:
                failure = self._try(train[start : start + size], [], address)
            except BlockingIOError:
                return bytes(train[start:])
            if failure:
                self._refused(address, failure)
                return b""  # the others would fare no better
        return b""

    def _try(self, data: Buffer, control: list[tuple[int, int, bytes]], address: Address) -> OSError | None:
        """Send, and again if that fails: it may be the news of an earlier datagram. BlockingIOError passes."""
        failure = None
        for _ in range(TRIES):
            try:
                self.statistics.write_bytes += self._socket.sendmsg((data,), control, 0, address)
            except BlockingIOError:
                raise
            except OSError as error:
                failure = error
                self._read_errors()
            else:
                self.statistics.writes += 1
                return None
        return failure

    def _refused(self, address: Address, error: OSError) -> None:
        self.statistics.drops[SEND_DROPS.get(error.errno or 0, error.strerror or "send failed")] += 1
        self._note(address, error.errno or 0, local=True)

    def _read_errors(self) -> None:
        """Some of those that wait; the others make no send or receive fail either."""
        for address, number in error_queue.read(self._socket, ERRORS_MAX):
            self._note(SideAddress(*address, self.number) if self.number else address, number, local=False)
        self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # takes the news of the next in the queue

    def _note(self, address: Address, number: int, *, local: bool) -> None:
        if len(self.errors) < ERRORS_MAX:
            self.errors[address, number, local] = None

    def _segment_size(self, size: int) -> list[tuple[int, int, bytes]]:
        control = self._ancillary[size] = [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", size))]
        return control


def open_side_socket(
    mains: Sequence[UdpSocket], version: int, number: int, statistics: PortStatistics
) -> UdpSocket:
    """On a random port of the host address that the main one of this IP version listens on. Raises ShellError."""
    hosts = [main.host for main in mains if main.version == version and not main.number]
    if not hosts:
        raise ShellError(f"no IPv{version} address is listened on")
    return UdpSocket(hosts[0], 0, number=number, receive_buffer=SIDE_RECEIVE_BUFFER, statistics=statistics)


@cache
def _shared_receiver() -> MessageReceiver:
    """One for all sockets: what came by one is handed on before the next is read. Its arena stays in the cache."""
    return MessageReceiver(BATCH_MESSAGES)


@cache
def _shared_arena() -> memoryview:
    """The same for a machine without the former."""
    return memoryview(mmap.mmap(-1, ARENA_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def _copies(trains: Sequence[Train]) -> list[Train]:
    return [(address, bytes(buffer), size) for address, buffer, size in trains]


def _parse_sockaddr(name: bytes) -> Address:
    """struct sockaddr_in or sockaddr_in6 as the kernel wrote it."""
    port = int.from_bytes(name[2:4], "big")
    if int.from_bytes(name[:2], sys.byteorder) == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, name[4:8]), port
    return socket.inet_ntop(socket.AF_INET6, name[8:24]), port
