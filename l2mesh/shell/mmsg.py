"""recvmmsg(2) through ctypes: many datagrams, of any senders, in one system call.

Where UDP_GRO joins nothing (a plain NIC, a bridged veth), each receive is one datagram, and this halves its
cost: 1.5 us instead of 2.7 us with recvmsg_into. All lengths and all addresses of a batch are unpacked by one
struct each.

    struct mmsghdr (64-bit), 64 bytes per message
      name*(8) namelen(4) 0(4) iov*(8) iovlen(8) control*(8) controllen(8) flags(4) 0(4) | msg_len(4) 0(4)
    ancillary area of ours, 56 bytes per message
      sockaddr(28) 0(4) | cmsg_len(8) level(4) type(4) UDP_GRO size(4) 0(4)

Every message has two buffers. The first is as long as the datagrams of the last batch were, and all of them lie in
a row: so a run of equal datagrams that came one by one lies in memory as one that GRO joined, and is opened as one
burst. What is longer goes on in the second. Where GRO joins, the first has no length, and the second is all.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys

from l2mesh.wire.receive_area import ReceiveArea, address_of

Message = tuple[bytes, memoryview, int]
"""Raw sockaddr, buffer, size of each datagram in it."""
Names = tuple[bytes, ...]
Numbers = tuple[int, ...]

POINTER_SIZE = 8
HEADER = struct.Struct("=QIIQQQQIIII")
HEADER_SIZE = HEADER.size
SOCKADDR_SIZE = 28
CONTROL_OFFSET = 32
CONTROL_SIZE = 24
ANCILLARY_SIZE = CONTROL_OFFSET + CONTROL_SIZE
# A run that GRO joined has up to 64 KB; the memory becomes real only where datagrams were.
SLOT_SIZE = 64 * 1024
VECTOR = struct.Struct("=QQ")

# Below, nothing is gained; above, it is no datagram of ours, but what GRO joined.
ROW_DATAGRAM_MIN = 512
ROW_DATAGRAM_MAX = 9216
ROW_FROM = 8
"""Messages in one batch: fewer say nothing of the next."""


def is_supported() -> bool:
    """Whether this machine's struct layouts are the ones above."""
    return struct.calcsize("P") == POINTER_SIZE and sys.platform == "linux"


class MessageReceiver:
    """Receives up to `count` messages of one socket at a time into buffers it owns. Any sockets may share it.

    receive(descriptor, IP version, limit) -> messages, or runs of them; their buffers are valid until the next
    call.
    """

    def __init__(self, count: int) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self._recvmmsg = library.recvmmsg
        self._recvmmsg.argtypes = [
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_void_p,
        ]
        self._row = ReceiveArea.make(count * ROW_DATAGRAM_MAX)
        self._row_view = memoryview(self._row)
        self._slots = [ReceiveArea.make(SLOT_SIZE) for _ in range(count)]
        self._slot_views = [memoryview(slot) for slot in self._slots]
        self._headers = bytearray(HEADER_SIZE * count)
        self._ancillary = bytearray(ANCILLARY_SIZE * count)
        self._vectors = bytearray(2 * VECTOR.size * count)
        ancillary, vectors = address_of(self._ancillary), address_of(self._vectors)
        for index in range(count):
            name = ancillary + index * ANCILLARY_SIZE
            vector = vectors + 2 * VECTOR.size * index
            fields = (name, SOCKADDR_SIZE, 0, vector, 2, name + CONTROL_OFFSET, CONTROL_SIZE)
            HEADER.pack_into(self._headers, HEADER_SIZE * index, *fields, 0, 0, 0, 0)
        self._template = memoryview(bytes(self._headers))
        self._header_address = address_of(self._headers)
        self._lengths = [struct.Struct("=" + "40xQ8xI4x" * n) for n in range(count + 1)]
        # Of IPv4 the kernel writes 16 bytes; behind them is what an IPv6 socket left there.
        self._names = {
            4: [struct.Struct("=" + "16s32xi4x" * n) for n in range(count + 1)],
            6: [struct.Struct("=" + "28s20xi4x" * n) for n in range(count + 1)],
        }
        self.count = 0  # messages of the last batch
        self._row_size = -1
        self._set_row(0)

    def _set_row(self, size: int) -> None:
        """From now on datagrams of `size` bytes lie in a row; 0: each where GRO has room to join."""
        if size == self._row_size:
            return
        self._row_size = size
        for index, slot in enumerate(self._slots):
            at = 2 * VECTOR.size * index
            VECTOR.pack_into(self._vectors, at, self._row.address + index * size, size)
            VECTOR.pack_into(self._vectors, at + VECTOR.size, slot.address, SLOT_SIZE - size)

    def receive(self, descriptor: int, version: int, limit: int) -> list[Message]:
        """Without waiting; [] when nothing is there. Raises OSError. Hot."""
        count: int = self._recvmmsg(descriptor, self._header_address, limit, socket.MSG_DONTWAIT, None)
        self.count = count
        if count <= 0:
            return _nothing()
        if count == 1:
            return self._lone(version)
        lengths = self._lengths[count].unpack_from(self._headers)
        names = self._names[version][count].unpack_from(self._ancillary)
        # The kernel wrote what it used of name and control into the headers: set them back.
        self._headers[: count * HEADER_SIZE] = self._template[: count * HEADER_SIZE]
        if self._row_size:
            messages, longest = self._rows(names[::2], names[1::2], lengths[::2], lengths[1::2])
        else:
            messages, longest = self._joined(names[::2], names[1::2], lengths[::2], lengths[1::2])
        if longest > ROW_DATAGRAM_MAX:
            self._set_row(0)
        elif count >= ROW_FROM:
            self._set_row(longest if longest >= ROW_DATAGRAM_MIN else 0)
        return messages

    def _lone(self, version: int) -> list[Message]:
        """The only message of a batch: most waits are for such a one. Hot."""
        control, length = self._lengths[1].unpack_from(self._headers)
        name, size = self._names[version][1].unpack_from(self._ancillary)
        self._headers[:HEADER_SIZE] = self._template[:HEADER_SIZE]
        data = self._message(0, length) if self._row_size else self._slot_views[0][:length]
        if length > ROW_DATAGRAM_MAX:
            self._set_row(0)
        return [(name, data, size if control else length)]

    def _joined(
        self, names: Names, sizes: Numbers, controls: Numbers, lengths: Numbers
    ) -> tuple[list[Message], int]:
        """(messages, length of the longest) where each has a slot. Hot."""
        messages = []
        fields = zip(names, sizes, controls, lengths, self._slot_views, strict=False)
        for name, size, control, length, view in fields:
            messages.append((name, view[:length], size if control else length))
        return messages, max(lengths)

    def _rows(
        self, names: Names, sizes: Numbers, controls: Numbers, lengths: Numbers
    ) -> tuple[list[Message], int]:
        """(runs of messages, length of the longest) where they lie in a row. Hot."""
        row, step, count = self._row_view, self._row_size, len(names)
        longest = max(lengths)
        alike = not any(controls) and longest <= step and names.count(names[0]) == count
        if alike and lengths[:-1].count(step) == count - 1:
            return [(names[0], row[: (count - 1) * step + lengths[-1]], step)], longest
        messages: list[Message] = []
        begun = -1  # where the open run begins
        for index, (name, size, control, length) in enumerate(zip(names, sizes, controls, lengths, strict=True)):
            single = not control and length <= step
            ours = begun >= 0 and single and name == names[begun]
            if ours and length == step:
                continue
            if begun >= 0:
                messages.append((names[begun], row[begun * step : index * step + (length if ours else 0)], step))
                begun = -1
            if ours:
                continue
            if single and length == step:
                begun = index
            else:
                messages.append((name, self._message(index, length), size if control else length))
        if begun >= 0:
            messages.append((names[begun], row[begun * step : count * step], step))
        return messages, longest

    def _message(self, index: int, length: int) -> memoryview:
        """A message of another length than the row's, from both its buffers."""
        step = self._row_size
        first = self._row_view[index * step : index * step + min(length, step)]
        if length <= step:
            return first
        return memoryview(bytearray().join((first, self._slot_views[index][: length - step])))


def _nothing() -> list[Message]:
    error = ctypes.get_errno()
    if error in (errno.EAGAIN, errno.EINTR):
        return []
    raise OSError(error, os.strerror(error))
