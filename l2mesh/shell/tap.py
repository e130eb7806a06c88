"""The TAP device: Ethernet frames and superframes to and from this machine's kernel.

Every frame travels behind a 10-byte struct virtio_net_hdr (<linux/virtio_net.h>, little-endian here): with
it, one read returns up to 64 KB of TCP or UDP that the kernel has not cut yet, and one write delivers as
much. Reading goes into a pool that is reused: the engine may change the bytes in place, until the next
read_batch().

Where the kernel lacks part of this, shell/offload.py does the missing part in software, chosen once when
opening.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import mmap
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pytun

from l2mesh.shell.errors import ShellError
from l2mesh.shell.offload import VIRTIO_HEADER_SIZE, GsoType, finish_checksum, split_superframe
from l2mesh.shell.statistics import PortStatistics
from l2mesh.wire.errors import BadPacket

if TYPE_CHECKING:
    from collections.abc import Sequence

    Buffer = bytes | bytearray | memoryview

log = logging.getLogger(__name__)

# One wake-up takes at most this much, so that neither direction starves the other or a timer.
BATCH_FRAMES = 64
BATCH_BYTES = 256 * 1024
# gso_max_size is at most 64 KB unless someone asks for BIG TCP; then come the headers of Ethernet and virtio.
FRAME_SIZE_MAX = 68 * 1024
# A frame begins at a multiple of this: room for one of 1500 bytes, and no two of a batch in the same cache set.
STEP = 2112

# <linux/if_tun.h>
TUNSETOFFLOAD = 0x400454D0
TUNSETVNETLE = 0x400454DC
TUN_F_CSUM = 0x01
TUN_F_TSO4 = 0x02
TUN_F_TSO6 = 0x04
TUN_F_USO4 = 0x20
TUN_F_USO6 = 0x40
TSO = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6
USO = TUN_F_USO4 | TUN_F_USO6

# What the kernel answers for one bad frame; the device and the next frame are fine.
WRITE_DROPS = {
    errno.EAGAIN: "device queue full",
    errno.ENOBUFS: "device queue full",
    errno.ENOMEM: "device queue full",
    errno.EINVAL: "frame refused by the kernel",
    errno.EIO: "device is down",
    errno.EFAULT: "frame refused by the kernel",
    errno.EMSGSIZE: "frame too long",
}


@dataclass(frozen=True, slots=True)
class TapFeatures:
    """What this kernel gives. `uso`: UDP superframes too (Linux 6.2), in both directions."""

    vnet_header: bool
    tso: bool
    uso: bool


class FramePort(Protocol):
    """Where frames come from and go to: a TAP, or something of equal rank in a test."""

    @property
    def features(self) -> TapFeatures: ...
    @property
    def statistics(self) -> PortStatistics: ...
    def fileno(self) -> int: ...
    def read_batch(self, limit_frames: int = ..., limit_bytes: int = ...) -> list[memoryview]: ...
    def write(self, deliveries: Sequence[list[Buffer]]) -> int: ...
    def close(self) -> None: ...


class FrameDescriptor:
    """A FramePort over any non-blocking descriptor that keeps the bounds of messages.

    That is a TAP, and just as well one end of a SOCK_SEQPACKET pair, whose other end then plays the kernel.
    """

    def __init__(self, descriptor: int, features: TapFeatures) -> None:
        self.features = features
        self.statistics = PortStatistics()
        self._descriptor = descriptor
        # Anonymous memory that becomes real page by page as frames need it: a bytearray would be all real at
        # once.
        size = BATCH_FRAMES * STEP + BATCH_BYTES + FRAME_SIZE_MAX
        pool = memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        starts = range(0, size - FRAME_SIZE_MAX, STEP)
        self._slots = [pool[start : start + FRAME_SIZE_MAX] for start in starts]
        # Without the kernel's virtio header, each frame has one of zeros in front.
        self._prefix = 0 if features.vnet_header else VIRTIO_HEADER_SIZE
        self._vectors = [(slot[self._prefix :],) for slot in self._slots]
        self._simple = not (features.vnet_header and features.uso)

    def fileno(self) -> int:
        return self._descriptor

    def read_batch(self, limit_frames: int = BATCH_FRAMES, limit_bytes: int = BATCH_BYTES) -> list[memoryview]:
        """All frames that wait, up to the limits; each is virtio header + frame, mutable, valid until the
        next call.

        Raises ShellError when the device is gone. Hot.
        """
        frames: list[memoryview] = []
        descriptor, prefix, readv, append = self._descriptor, self._prefix, os.readv, frames.append
        slots, vectors = self._slots, self._vectors
        at = total = 0
        try:
            # readv into the pool: 0.9 us per small frame and 2.6 us for 8 KB, where os.read, which allocates
            # 64 KB each time and then needs a copy to be mutable, takes 0.9 and 3.6.
            for _ in range(limit_frames):
                size = prefix + readv(descriptor, vectors[at])
                append(slots[at][:size])
                total += size
                if total >= limit_bytes:
                    break
                at += size // STEP + 1
        except BlockingIOError:
            pass
        except OSError as error:
            raise ShellError(f"the TAP device is gone: {error.strerror}: start again") from error
        if prefix:
            for frame in frames:
                frame[:prefix] = bytes(prefix)  # the engine may have written into the last batch's
        self.statistics.reads += len(frames)
        self.statistics.read_bytes += total
        return frames

    def write(self, deliveries: Sequence[list[Buffer]]) -> int:
        """Deliver each (virtio header + frame in one or more buffers); -> how many the kernel took. Hot.

        One that the kernel refuses is counted in statistics.drops, and the rest go on.
        """
        if self._simple:
            deliveries = self._simplified(deliveries)
        written = total = 0
        descriptor, writev = self._descriptor, os.writev
        for delivery in deliveries:
            try:
                total += writev(descriptor, delivery)
                written += 1
            except OSError as error:
                reason = WRITE_DROPS.get(error.errno or 0, error.strerror or "write failed")
                self.statistics.drops[reason] += 1
        self.statistics.writes += written
        self.statistics.write_bytes += total
        return written

    def _simplified(self, deliveries: Sequence[list[Buffer]]) -> list[list[Buffer]]:
        """The same frames in what this kernel takes: without USO, or without any virtio header."""
        simple: list[list[Buffer]] = []
        for delivery in deliveries:
            try:
                simple += self._parts(delivery)
            except BadPacket as error:
                self.statistics.drops[str(error)] += 1
        return simple

    def _parts(self, delivery: list[Buffer]) -> list[list[Buffer]]:
        has_header, gso_type = self.features.vnet_header, delivery[0][1]
        if has_header and gso_type != GsoType.UDP_L4:
            return [delivery]
        whole = b"".join(delivery)
        frames = split_superframe(whole) if gso_type else [bytearray(whole)]
        if has_header:
            return [[frame] for frame in frames]
        return [[memoryview(finish_checksum(frame))[VIRTIO_HEADER_SIZE:]] for frame in frames]

    def close(self) -> None:
        """The descriptor belongs to whoever opened it."""


class Tap(FrameDescriptor):
    """A TAP device of our own, which lives as long as this object. `device` is its name.

    The keyword arguments forbid a mechanism: each stands for a kernel that lacks it.
    Raises ShellError, with the remedy, when it cannot be had.
    """

    def __init__(self, device: str, *, vnet_header: bool = True, tso: bool = True, uso: bool = True) -> None:
        check_device_name(device)
        tun, vnet_header = _open(device, vnet_header)
        self._tun = tun
        self.device: str = tun.name
        os.set_inheritable(tun.fileno(), False)  # pytun forgets O_CLOEXEC, and we run `up` commands
        os.set_blocking(tun.fileno(), False)
        features = _set_offloads(tun.fileno(), TapFeatures(vnet_header, vnet_header and tso, vnet_header and uso))
        super().__init__(tun.fileno(), features)

    def close(self) -> None:
        """Give the device back: the kernel removes it."""
        self._tun.close()


def check_device_name(device: str) -> None:
    """Raises ShellError for what the kernel would refuse, or (`%d`) understand differently."""
    if len(device.encode()) > 15:
        raise ShellError(f"device name {device!r} is too long: Linux allows 15 characters")
    if not device or device in {".", ".."} or any(char in "/:%" or char.isspace() for char in device):
        raise ShellError(f"device name {device!r} is not valid: use letters, digits, '-', '_' and '.'")


def _open(device: str, vnet_header: bool) -> tuple[pytun.TunTapDevice, bool]:
    """-> the device, and whether it has virtio headers."""
    # IFF_TUN_EXCL: never take over a persistent TAP that somebody else made.
    flags = pytun.IFF_TAP | pytun.IFF_NO_PI | pytun.IFF_TUN_EXCL
    if vnet_header:
        try:
            return pytun.TunTapDevice(name=device, flags=flags | pytun.IFF_VNET_HDR), True
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise ShellError(_remedy(device, error)) from error
        log.warning("%s: this kernel's TAP has no virtio headers: every frame travels alone (slower)", device)
    try:
        return pytun.TunTapDevice(name=device, flags=flags), False
    except OSError as error:
        raise ShellError(_remedy(device, error)) from error


def _remedy(device: str, error: OSError) -> str:
    match error.errno:
        case errno.EACCES | errno.EPERM:
            return (
                "cannot open /dev/net/tun: permission denied: run as root, or grant CAP_NET_ADMIN "
                "(setcap cap_net_admin+ep on the Python interpreter, "
                "or AmbientCapabilities= in a systemd unit)"
            )
        case errno.ENOENT | errno.ENODEV | errno.ENXIO:
            return (
                "cannot open /dev/net/tun: it does not exist: load the module (modprobe tun), "
                "or in a container pass the device in (--device /dev/net/tun)"
            )
        case errno.EBUSY:
            return (
                f"cannot create TAP device {device}: the name is in use: "
                f"stop the program that has it, or choose another [tap] device (ip link show {device})"
            )
        case _:
            return f"cannot create TAP device {device}: {error.strerror or error}"


def _set_offloads(descriptor: int, wanted: TapFeatures) -> TapFeatures:
    """Ask for the most that was wanted and the kernel has; -> what it gave."""
    if not wanted.vnet_header:
        return wanted
    with contextlib.suppress(OSError):  # Linux < 4.1 has it not, and is little-endian on all that matters
        fcntl.ioctl(descriptor, TUNSETVNETLE, struct.pack("i", 1))
    attempts = [(TSO | USO, True, True)] if wanted.tso and wanted.uso else []
    attempts += [(TSO, True, False)] if wanted.tso else []
    for offloads, tso, uso in attempts:
        try:
            fcntl.ioctl(descriptor, TUNSETOFFLOAD, offloads)
        except OSError as error:
            log.info("TAP offloads %#x refused (%s): doing with fewer", offloads, error.strerror)
        else:
            return TapFeatures(True, tso, uso)
    fcntl.ioctl(descriptor, TUNSETOFFLOAD, 0)
    return TapFeatures(True, False, False)
