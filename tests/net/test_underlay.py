"""What others on the way can see, and what they can do: nothing of the frames, and nothing but counters."""

from __future__ import annotations

import random
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from l2mesh.lab import Namespace, nat, wait_until
from l2mesh.wire.outer import Outer
from tests.net.mesh import UP_S, Daemon

if TYPE_CHECKING:
    from pathlib import Path

    from tests.net.mesh import Mesh

pytestmark = pytest.mark.root

MANY = 10_000
CHUNK = 250
MEMORY_KB = 4096  # by which a daemon may grow: Python's and malloc's own hysteresis
MARKERS = (b"plaintext-marker", b"another-marker!!", b"marker-in-a-name")
REASONS = {
    "garbage": ("unknown type", "malformed", "wrong mac1", "unknown receiver index", "unknown relay channel"),
    "replayed": ("replayed", "replayed handshake"),
    "truncated": ("malformed", "not authentic"),
}
TYPES = (*Outer, 0, 1, 199, 255)


@dataclass(frozen=True)
class Datagram:
    source: tuple[str, int]
    target: tuple[str, int]
    payload: bytes


def datagrams(pcap: Path) -> Iterator[Datagram]:
    """UDP over IPv4 of a capture of one Ethernet interface (pcap-savefile(5), little-endian)."""
    data = pcap.read_bytes()
    assert struct.unpack_from("<I", data) == (0xA1B2C3D4,)
    assert struct.unpack_from("<I", data, 20) == (1,), "not Ethernet"
    offset = 24
    while offset + 16 <= len(data):
        size = struct.unpack_from("<I", data, offset + 8)[0]
        frame = data[offset + 16 : offset + 16 + size]
        offset += 16 + size
        if frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_UDP:
            continue
        udp = 14 + 4 * (frame[14] & 15)
        ports = struct.unpack_from("!HH", frame, udp)
        source, target = (socket.inet_ntoa(frame[at : at + 4]) for at in (26, 30))
        yield Datagram((source, ports[0]), (target, ports[1]), frame[udp + 8 :])


# Seeing.


def test_a_capture_of_everything_shows_nothing_of_the_frames(mesh: Mesh) -> None:
    mesh.supernode("supernode")
    for name in ("alice", "bob", "marker-in-a-name"):
        mesh.edge(mesh.site(name[:10]).host, name=name)
    mesh.lab.block_udp(mesh.sites["alice"], mesh.sites["marker-in-"])
    captures = [(site.host, mesh.directory / f"{name}.pcap") for name, site in mesh.sites.items()]
    dumps = [host.capture(path, "eth0") for host, path in captures]
    mesh.start()
    alice, bob, relayed = mesh.edges
    alice.wait_path("direct", "bob")
    alice.wait_path("relay", relayed.name)
    for other in (bob, relayed):
        for marker in MARKERS[:2]:
            alice.ping(other, "-p", marker.hex())
            alice.ping(other, "-p", marker.hex(), "-s", "1472")
        with other.host.udp(other.address4, 5001) as inbox, alice.host.udp() as outbox:
            outbox.sendto(MARKERS[0] * 500, inbox.getsockname())
            assert inbox.recv(65_535) == MARKERS[0] * 500
    secret = mesh.secrets["office"].encode()
    macs = [bytes.fromhex(edge.mac().replace(":", "")) for edge in mesh.edges]
    for _, path in captures:
        wait_until(lambda path=path: path.stat().st_size > 10_000, UP_S, "it was captured")  # type: ignore[misc]
    for dump in dumps:
        dump.terminate()
    for _, path in captures:
        seen = path.read_bytes()
        for clear in (*MARKERS, *macs, secret, b"office", b"abcdefghijklmnop"):
            assert clear not in seen, (path, clear)


# Doing.


def inject(core: Namespace, stream: Iterator[Datagram], read: Callable[[], int]) -> int:
    """Sends as if from their sources, as fast as `read` (bytes read by the victim) tells that they arrive."""
    with core.entered():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    sent = 0
    with raw:
        while chunk := [one for _, one in zip(range(CHUNK), stream, strict=False)]:
            goal = read() + sum(len(one.payload) for one in chunk)
            for one in chunk:
                raw.sendto(ip_packet(one), one.target)
            wait_until(lambda goal=goal: read() >= goal, UP_S, f"it reads all {len(chunk)} datagrams")  # type: ignore[misc]
            sent += len(chunk)
    return sent


def ip_packet(datagram: Datagram) -> bytes:
    """The kernel fills in length, id and checksum of IP; UDP over IPv4 may go without."""
    size = 8 + len(datagram.payload)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + size, 0, 0x4000, 64, socket.IPPROTO_UDP, 0)
    addresses = socket.inet_aton(datagram.source[0]) + socket.inet_aton(datagram.target[0])
    udp = struct.pack("!HHHH", datagram.source[1], datagram.target[1], size, 0)
    return header + addresses + udp + datagram.payload


def garbage(rng: random.Random, target: tuple[str, int], stranger: str) -> Iterator[Datagram]:
    """Bytes at random behind a type that exists, from ever other ports."""
    for _ in range(MANY):
        size = rng.choice((1, 3, 4, 12, 16, 31, 32, 64, 116, 148, 300, 1400))
        payload = bytes((rng.choice(TYPES),)) + bytes(3) + rng.randbytes(size)
        yield Datagram((stranger, rng.randrange(1024, 65_536)), target, payload)


def replayed(rng: random.Random, seen: list[Datagram]) -> Iterator[Datagram]:
    for _ in range(MANY):
        yield rng.choice(seen)


def truncated(rng: random.Random, seen: list[Datagram]) -> Iterator[Datagram]:
    for _ in range(MANY):
        one = rng.choice(seen)
        yield Datagram(one.source, one.target, one.payload[: rng.randrange(1, len(one.payload))])


def read_bytes(daemon: Daemon) -> int:
    return int(daemon.get("status")["ports"]["udp4"]["read_bytes"])


def drops(mesh: Mesh) -> Counter[str]:
    """Of all daemons, by reason."""
    return sum((Counter(daemon.drops()) for daemon in (*mesh.supernodes, *mesh.edges)), Counter[str]())


@pytest.mark.parametrize("victim", ["alice", "supernode"])
def test_garbage_replayed_and_truncated_datagrams_change_nothing_but_counters(mesh: Mesh, victim: str) -> None:
    supernode = mesh.supernode("supernode")
    for name in ("alice", "bob"):
        mesh.edge(mesh.site(name, nat.ROUTED).host)
    carol = mesh.edge("carol")
    stranger = mesh.lab.public_host("stranger")
    mesh.lab.block_udp(mesh.sites["alice"], mesh.sites["carol"])
    alice, bob, _ = mesh.edges
    daemon: Daemon = alice if victim == "alice" else supernode
    pcap = mesh.directory / "seen.pcap"
    dump = daemon.host.capture(pcap, "eth0", f"udp and dst host {daemon.host.address4}")
    supernode.start()
    alice.start()  # so that the others begin the handshakes with her
    mesh.start()
    alice.wait_path("direct", "bob")
    alice.wait_path("relay", "carol")
    for other in (bob, carol):
        assert alice.pings(["-c20", "-i0.01", other.address4])
    wait_until(lambda: len(list(datagrams(pcap))) > 40, UP_S, "handshakes and frames were captured")
    dump.terminate()
    seen = list(datagrams(pcap))
    assert {one.payload[0] for one in seen} >= {
        Outer.DATA,
        Outer.RELAYED if victim == "alice" else Outer.INITIATION,
    }

    rng = random.Random(1)
    port = alice.udp_port() if victim == "alice" else supernode.udp[1]
    target = (daemon.host.address4, port)
    seen = [one for one in seen if one.target == target]  # side sockets come and go
    attacks = {
        "garbage": garbage(rng, target, stranger.address4),
        "replayed": replayed(rng, seen),
        "truncated": truncated(rng, seen),
    }
    for name, attack in attacks.items():
        before, memory, marks = drops(mesh), daemon.memory_kb(), [edge.process.mark() for edge in mesh.edges]
        up_for = [alice.peer(peer)["up_for_s"] for peer in ("bob", "carol")]
        assert inject(mesh.lab.core, attack, lambda: read_bytes(daemon)) == MANY
        for other in (bob, carol):
            assert alice.ping(other)
        assert [edge.process.text()[mark:] for edge, mark in zip(mesh.edges, marks, strict=True)] == [""] * 3
        assert (alice.path_to("bob"), alice.path_to("carol")) == ("direct", "relay")
        assert [alice.peer(peer)["up_for_s"] for peer in ("bob", "carol")] > up_for
        assert supernode.registered() == {"alice", "bob", "carol"}
        assert daemon.memory_kb() - memory < MEMORY_KB
        # What is relayed is counted at its end; what was asked for a cookie, where that arrives.
        counted = drops(mesh) - before
        assert counted.total() > 0.9 * MANY, (name, counted)
        assert all(counted[reason] > MANY / 100 for reason in REASONS[name]), (name, counted)
