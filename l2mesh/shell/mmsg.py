"""recvmmsg(2) through ctypes: many datagrams, of any senders, in one system call.

Where UDP_GRO joins nothing (a plain NIC, a bridged veth), each receive is one datagram, and this halves its
cost: 1.5 us instead of 2.7 us with recvmsg_into. All lengths and all addresses of a batch are unpacked by one
struct each.

    struct mmsghdr (64-bit), 64 bytes per message
      name*(8) namelen(4) 0(4) iov*(8) iovlen(8) control*(8) controllen(8) flags(4) 0(4) | msg_len(4) 0(4)
    ancillary area of ours, 56 bytes per message
      sockaddr(28) 0(4) | cmsg_len(8) level(4) type(4) UDP_GRO size(4) 0(4)
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct
import sys

POINTER_SIZE = 8
HEADER = struct.Struct("=QIIQQQQIIII")
HEADER_SIZE = HEADER.size
SOCKADDR_SIZE = 28
CONTROL_OFFSET = 32
CONTROL_SIZE = 24
ANCILLARY_SIZE = CONTROL_OFFSET + CONTROL_SIZE
# A run that GRO joined has up to 64 KB; the memory becomes real only where datagrams were.
SLOT_SIZE = 64 * 1024


def is_supported() -> bool:
    """Whether this machine's struct layouts are the ones above."""
    return struct.calcsize("P") == POINTER_SIZE and sys.platform == "linux"


class MessageReceiver:
    """Receives up to `count` messages of one socket at a time into buffers it owns.

    receive(limit) -> list of (raw sockaddr, buffer valid until the next call, size of each datagram in it).
    """

    def __init__(self, descriptor: int, count: int) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self._recvmmsg = library.recvmmsg
        self._recvmmsg.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_void_p,
        ]
        self._descriptor = descriptor
        arena = mmap.mmap(-1, count * SLOT_SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._data = memoryview(arena)
        self._headers = bytearray(HEADER_SIZE * count)
        self._ancillary = bytearray(ANCILLARY_SIZE * count)
        self._vectors = bytearray(16 * count)
        data, ancillary, vectors = (_address(area) for area in (arena, self._ancillary, self._vectors))
        for index in range(count):
            struct.pack_into("=QQ", self._vectors, 16 * index, data + index * SLOT_SIZE, SLOT_SIZE)
            name = ancillary + index * ANCILLARY_SIZE
            fields = (name, SOCKADDR_SIZE, 0, vectors + 16 * index, 1, name + CONTROL_OFFSET, CONTROL_SIZE)
            HEADER.pack_into(self._headers, HEADER_SIZE * index, *fields, 0, 0, 0, 0)
        self._template = memoryview(bytes(self._headers))
        self._header_address = _address(self._headers)
        self._lengths = [struct.Struct("=" + "40xQ8xI4x" * n) for n in range(count + 1)]
        self._names = [struct.Struct("=" + "28s20xi4x" * n) for n in range(count + 1)]

    def receive(self, limit: int) -> list[tuple[bytes, memoryview, int]]:
        """Without waiting; [] when nothing is there. Raises OSError. Hot."""
        count: int = self._recvmmsg(self._descriptor, self._header_address, limit, socket.MSG_DONTWAIT, None)
        if count <= 0:
            return _nothing()
        lengths = self._lengths[count].unpack_from(self._headers)
        names = self._names[count].unpack_from(self._ancillary)
        # The kernel wrote what it used of name and control into the headers: set them back.
        self._headers[: count * HEADER_SIZE] = self._template[: count * HEADER_SIZE]
        data, start, messages = self._data, 0, []
        for name, size, control_used, length in zip(
            names[::2], names[1::2], lengths[::2], lengths[1::2], strict=True
        ):
            messages.append((name, data[start : start + length], size if control_used else length))
            start += SLOT_SIZE
        return messages


def _nothing() -> list[tuple[bytes, memoryview, int]]:
    error = ctypes.get_errno()
    if error in (errno.EAGAIN, errno.EINTR):
        return []
    raise OSError(error, os.strerror(error))


def _address(area: bytearray | mmap.mmap) -> int:
    """Where it lies in memory. The area must outlive the address, and may not be resized."""
    return ctypes.addressof(ctypes.c_char.from_buffer(area))
