from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from l2mesh.shell.errors import ShellError
from l2mesh.shell.link import LinkSettings, configure_link
from l2mesh.shell.offload import VIRTIO_HEADER, GsoType
from l2mesh.shell.tap import BATCH_FRAMES, FrameDescriptor, Tap, TapFeatures, check_device_name

if TYPE_CHECKING:
    from collections.abc import Iterator

ALL = TapFeatures(vnet_header=True, tso=True, uso=True)
BARE = TapFeatures(vnet_header=False, tso=False, uso=False)
HEADER = bytes(10)


@pytest.fixture
def kernel() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends that keep message bounds: ours, and the one that plays the kernel."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


Pair = tuple[socket.socket, socket.socket]


def test_a_batch_is_what_waits(kernel: Pair) -> None:
    port = FrameDescriptor(kernel[0].fileno(), ALL)
    assert port.read_batch() == []
    for number in range(3):
        kernel[1].send(HEADER + bytes([number]) * 60)
    assert port.read_batch() == [HEADER + bytes([number]) * 60 for number in range(3)]
    assert (port.statistics.reads, port.statistics.read_bytes) == (3, 210)


def test_a_batch_is_bounded_in_frames_and_in_bytes(kernel: Pair) -> None:
    port = FrameDescriptor(kernel[0].fileno(), ALL)
    for _ in range(20):
        kernel[1].send(HEADER + bytes(990))
    assert len(port.read_batch(limit_frames=4)) == 4
    assert len(port.read_batch(limit_bytes=2500)) == 3
    assert len(port.read_batch()) == 13


def test_frames_can_be_changed_in_place(kernel: Pair) -> None:
    port = FrameDescriptor(kernel[0].fileno(), ALL)
    kernel[1].send(HEADER + b"frame")
    frame = port.read_batch()[0]
    frame[10:15] = b"FRAME"
    assert frame == HEADER + b"FRAME"


def test_a_superframe_of_the_largest_size_is_read_whole(kernel: Pair) -> None:
    kernel[1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    port = FrameDescriptor(kernel[0].fileno(), ALL)
    kernel[1].send(bytes(10 + 18 + 65535))
    assert len(port.read_batch()[0]) == 10 + 18 + 65535


def test_a_delivery_of_many_buffers_is_one_frame(kernel: Pair) -> None:
    port = FrameDescriptor(kernel[0].fileno(), ALL)
    assert port.write([[HEADER + b"ab", memoryview(b"cd"), bytearray(b"ef")], [HEADER + b"gh"]]) == 2
    assert [kernel[1].recv(100) for _ in range(2)] == [HEADER + b"abcdef", HEADER + b"gh"]


def test_without_virtio_headers_zeros_are_added_and_taken_off(kernel: Pair) -> None:
    port = FrameDescriptor(kernel[0].fileno(), BARE)
    for _ in range(2):
        kernel[1].send(b"frame")
        frame = port.read_batch()[0]
        assert frame == HEADER + b"frame"
        frame[:] = b"\xff" * 15  # what the engine did to the last batch does not show in the next
    port.write([[HEADER + b"fr", b"ame"]])
    assert kernel[1].recv(100) == b"frame"


def udp_superframe(payload: bytes, gso_size: int) -> list[Any]:
    udp = struct.pack("!HHHH", 1, 2, 8 + len(payload), 0)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
    header = VIRTIO_HEADER.pack(1, GsoType.UDP_L4, 42, gso_size, 34, 6)
    return [header + bytes(12) + b"\x08\x00" + ip + udp, payload]


def test_without_uso_a_udp_superframe_is_delivered_in_frames(kernel: Pair) -> None:
    port = FrameDescriptor(kernel[0].fileno(), TapFeatures(vnet_header=True, tso=True, uso=False))
    port.write([[HEADER + b"before"], udp_superframe(b"a" * 100 + b"b" * 50, 100), [HEADER + b"after"]])
    frames = [kernel[1].recv(1000) for _ in range(4)]
    assert [frames[0], frames[3]] == [HEADER + b"before", HEADER + b"after"]
    assert [frame[52:] for frame in frames[1:3]] == [b"a" * 100, b"b" * 50]
    assert all(VIRTIO_HEADER.unpack_from(frame)[:2] == (1, GsoType.NONE) for frame in frames[1:3])


def test_a_bad_superframe_is_counted_and_the_rest_delivered(kernel: Pair) -> None:
    port = FrameDescriptor(kernel[0].fileno(), BARE)
    assert port.write([[VIRTIO_HEADER.pack(1, GsoType.UDP_L4, 0, 0, 34, 6) + bytes(60)], [HEADER + b"good"]]) == 1
    assert kernel[1].recv(100) == b"good"
    assert port.statistics.drops.total() == 1


def test_a_full_queue_is_counted_not_raised(kernel: Pair) -> None:
    port = FrameDescriptor(kernel[0].fileno(), ALL)
    kernel[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    written = port.write([[HEADER + bytes(1000)] for _ in range(20)])
    assert 0 < written < 20
    assert port.statistics.drops == {"device queue full": 20 - written}


@pytest.mark.parametrize("name", ["", "sixteen-letters-", "a/b", "l2m%d", "a b", ".."])
def test_a_bad_device_name_is_refused_before_the_kernel_sees_it(name: str) -> None:
    with pytest.raises(ShellError, match="device name"):
        check_device_name(name)


@pytest.mark.root
def test_the_kernel_gives_all_features_and_takes_what_it_gives(namespaces: list[Any]) -> None:
    tap = Tap("l2m0")
    try:
        assert tap.device == "l2m0"
        assert not os.get_inheritable(tap.fileno())
        assert tap.features == ALL
        assert tap.write([[HEADER + bytes(60)]]) == 0  # down
        assert tap.statistics.drops == {"device is down": 1}
        configure_link(LinkSettings("l2m0"))
        assert tap.write([[HEADER + bytes(60)], [HEADER + b"x"], [HEADER + bytes(60)]]) == 2
        assert tap.statistics.drops["frame refused by the kernel"] == 1
    finally:
        tap.close()


@pytest.mark.root
@pytest.mark.parametrize(
    "without", [{}, {"uso": False}, {"tso": False, "uso": False}, {"vnet_header": False}], ids=str
)
def test_udp_superframes_arrive_whatever_the_tap_lacks(namespaces: list[Any], without: dict[str, bool]) -> None:
    tap = Tap("l2m0", **without)
    try:
        mac = "02:00:00:00:00:01"
        configure_link(LinkSettings("l2m0", mac=mac, addresses=("10.0.0.2/24",)))
        delivery = udp_superframe(b"a" * 100 + b"b" * 50, 100)
        first = bytearray(delivery[0])
        first[10:16] = bytes.fromhex(mac.replace(":", ""))
        first[34:36] = (0xFFFF - sum(struct.unpack("!10H", first[24:44])) % 0xFFFF).to_bytes(2, "big")
        pseudo = struct.unpack("!4H", first[36:44])
        first[50:52] = ((sum(pseudo) + 17 + 158) % 0xFFFF).to_bytes(2, "big")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as program:
            program.bind(("10.0.0.2", 2))
            program.settimeout(2)
            assert tap.write([[first, delivery[1]]]) >= 1
            assert [program.recv(1000) for _ in range(2)] == [b"a" * 100, b"b" * 50]
        # and the other way: what a program sends by UDP_SEGMENT comes as one superframe, or as frames
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as program:
            namespaces[0].ip("neigh add 10.0.0.3 lladdr 02:00:00:00:00:03 dev l2m0")
            tap.read_batch()
            program.sendmsg([b"c" * 3000], [(17, 103, struct.pack("=H", 1000))], 0, ("10.0.0.3", 9))
            frames = [frame for frame in tap.read_batch() if bytes(frame[22:24]) == b"\x08\x00"]
            assert len(frames) == (1 if tap.features.uso else 3)
            assert all(frame[1] == (GsoType.UDP_L4 if tap.features.uso else 0) for frame in frames)
    finally:
        tap.close()


@pytest.mark.root
def test_a_name_in_use_says_so(namespaces: list[Any]) -> None:
    namespaces[0].ip("tuntap add l2m7 mode tap")
    for name in ("lo", "l2m7"):
        with pytest.raises(ShellError, match=f"cannot create TAP device {name}: the name is in use"):
            Tap(name)


@pytest.mark.root
def test_a_device_that_is_deleted_ends_reading_with_an_error(namespaces: list[Any]) -> None:
    tap = Tap("l2m0")
    try:
        namespaces[0].ip("link del l2m0")
        with pytest.raises(ShellError, match="gone"):
            tap.read_batch()
    finally:
        tap.close()


@pytest.mark.root
def test_without_permission_the_remedy_is_named(need_root: None) -> None:
    script = (
        "from l2mesh.shell import privileges, tap, errors\n"
        "privileges.drop_privileges('nobody', False)\n"
        "try: tap.Tap('l2m0')\n"
        "except errors.ShellError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "cannot open /dev/net/tun: permission denied: run as root, or grant CAP_NET_ADMIN" in done.stdout


def test_pool_memory_is_touched_only_where_frames_were(kernel: Pair) -> None:
    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    before = resident()
    port = FrameDescriptor(kernel[0].fileno(), ALL)
    assert port.read_batch() == []
    assert resident() - before < 1 << 20 < BATCH_FRAMES * 64 * 1024
