"""What one switch carries, between homes behind NATs: every kind of frame, whole and unchanged."""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from l2mesh.lab import Host, Namespace
from tests.net.mesh import Edge

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.net.mesh import Mesh

pytestmark = pytest.mark.root

STATION = "10.98.0.50"
STATION_MAC = "02:00:00:00:00:50"
GROUP = "239.9.8.7"
PORT = 5001
MEGABYTE = 1_000_000
EXPERIMENTAL = 0x88B5  # IEEE 802, 9.2.4: an EtherType for experiments
# <linux/if_ether.h>, <linux/socket.h>, <linux/if_packet.h>
ETH_P_ALL = 3
SOL_PACKET, PACKET_AUXDATA, TP_STATUS_VLAN_VALID = 263, 8, 0x10


@pytest.fixture(scope="module")
def mesh(meshes: Callable[[], AbstractContextManager[Mesh]]) -> Iterator[Mesh]:
    """alice and bob at home; carol, whose TAP is a port of a bridge with the host `station` behind."""
    with meshes() as built:
        built.supernode("supernode")
        for name in ("alice", "bob"):
            built.edge(name)
        carol, station = built.site("carol").host, built.site("station").host
        carol.ip(
            [
                "link add name br0 address 02:00:00:00:00:03 type bridge mcast_snooping 0",
                f"link add name port type veth peer name inside address {STATION_MAC} netns {station.full_name}",
                "link set dev port master br0 up",
                "link set dev br0 up",
                "address add 10.98.0.3/24 dev br0",
                "address add fd98::3/64 dev br0 nodad",
            ]
        )
        station.ip(["link set dev inside up", f"address add {STATION}/24 dev inside"])
        built.edge(carol, tap={"bridge": "br0", "addresses": []})
        built.start()
        built.wait_up("direct")
        yield built


@pytest.fixture
def alice(mesh: Mesh) -> Edge:
    return mesh["alice"]


@pytest.fixture
def bob(mesh: Mesh) -> Edge:
    return mesh["bob"]


@pytest.fixture
def carol(mesh: Mesh) -> Edge:
    return mesh["carol"]


# Frames.


def test_arp_ipv4_and_ipv6_neighbours_find_each_other(mesh: Mesh) -> None:
    for one in mesh.edges:
        for other in mesh.edges:
            if one is not other:
                assert one.ping(other.address4)
                assert one.ping(other.address6)
    neighbours = mesh["alice"].host.run("ip neighbour show dev l2m0").stdout
    assert neighbours.count(mesh["bob"].mac()) >= 2


def packet_socket(edge: Edge) -> socket.socket:
    """All frames of the TAP as they are, with what the kernel took out of them on the side."""
    with edge.host.entered():
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        made.bind((edge.device, ETH_P_ALL))
    made.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    made.settimeout(2)
    return made


def next_experiment(packets: socket.socket) -> tuple[bytes, int | None]:
    """A frame without its tag, and the tag: priority, DEI and VLAN (tpacket_auxdata of <linux/if_packet.h>)."""
    while True:
        frame, [(_, _, data)], _, _ = packets.recvmsg(65_535, 100)
        status, _, _, _, _, tag, _ = struct.unpack("=IIIHHHH", data)
        if frame[12:14] == struct.pack("!H", EXPERIMENTAL):
            return frame, tag if status & TP_STATUS_VLAN_VALID else None


def test_frames_of_any_ethertype_with_and_without_a_vlan_tag(alice: Edge, bob: Edge) -> None:
    # By packet sockets, because not every kernel has devices of type vlan.
    addresses = bytes.fromhex((bob.mac() + alice.mac()).replace(":", ""))
    ethertype = struct.pack("!H", EXPERIMENTAL)
    with packet_socket(alice) as outside, packet_socket(bob) as inside:
        for tag in (None, 42, 7 << 13 | 1 << 12 | 4094):
            for size in (46, 1500):
                data = os.urandom(size)
                dot1q = b"" if tag is None else struct.pack("!HH", 0x8100, tag)
                outside.send(addresses + dot1q + ethertype + data)
                assert next_experiment(inside) == (addresses + ethertype + data, tag)
    vlans = {(one["vlan"], one["mac"]): one["port"] for one in bob.get("fdb")["stations"]}
    assert [vlans.get((vlan, alice.mac())) for vlan in (None, 42, 4094)] == ["alice"] * 3


def test_1500_byte_packets_pass_with_df_and_no_larger_ones(alice: Edge, bob: Edge) -> None:
    alice.ping(bob, "-M", "do", "-s", "1472")
    alice.ping(bob.address6, "-M", "do", "-s", "1452")
    assert not alice.ping(bob, "-M", "do", "-s", "1473", check=False)
    alice.ping(bob, "-s", "8000")  # in fragments of the kernel's


def test_dhcp_from_a_real_server_to_a_real_client(alice: Edge, bob: Edge, mesh: Mesh) -> None:
    command = ["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root", "--port=0", "--no-ping"]
    options = ["--interface=l2m0", "--bind-interfaces", "--dhcp-authoritative", "--log-dhcp"]
    lease = ["--dhcp-range=10.98.0.200,10.98.0.200", f"--dhcp-leasefile={mesh.directory / 'leases'}"]
    server = alice.host.popen([*command, *options, *lease])
    server.wait_for_line("started")
    script = mesh.directory / "script"
    script.write_text('#!/bin/sh\n[ "$1" = bound ] && echo "bound to $ip"\nexit 0\n')
    script.chmod(0o755)
    client = ["busybox", "udhcpc", "-f", "-n", "-q", "-t", "5", "-T", "1", "-i", "l2m0", "-s", str(script)]
    try:
        assert "bound to 10.98.0.200" in bob.host.run(client).stdout
    finally:
        server.terminate()


def receiver(host: Host, own: str) -> socket.socket:
    """Hears the group and broadcasts."""
    udp = host.udp("0.0.0.0", PORT)
    udp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + socket.inet_aton(own))
    return udp


def heard(udp: socket.socket, seconds: float) -> list[bytes]:
    """All that comes until it is silent for so long."""
    found = []
    while select.select([udp], [], [], seconds)[0]:
        found.append(udp.recv(2000))
    return found


def test_multicast_and_broadcast_reach_each_of_the_others_once(mesh: Mesh) -> None:
    alice, bob, carol = mesh.edges
    with ExitStack() as stack:
        owns = ((alice.host, alice.address4), (bob.host, bob.address4), (carol.host, carol.address4))
        own, *others = (stack.enter_context(receiver(host, address)) for host, address in owns)
        sender = stack.enter_context(alice.host.udp(alice.address4))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(alice.address4))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for what, where in ((b"to the group", GROUP), (b"to all", "10.98.0.255")):
            sender.sendto(what, (where, PORT))
            assert [udp.recv(100) for udp in others] == [what, what]
        assert [heard(udp, 0.1) for udp in others] == [[], []]
        assert heard(own, 0.0) in ([], [b"to all"])  # the kernel's own copy; the mesh sends none back
    answers = alice.host.run(["ping", "-n", "-c2", "-i0.5", "-W1", "ff02::1%l2m0"]).stdout
    duplicates = re.search(r"\+(\d+) duplicates", answers)
    assert duplicates
    assert int(duplicates[1]) >= 2  # we answer ourselves first; then bob and carol


def test_a_station_behind_a_bridged_tap_is_reached_and_learned(mesh: Mesh, alice: Edge, carol: Edge) -> None:
    alice.ping(STATION)
    assert alice.stations()[STATION_MAC] == "carol"
    assert carol.stations()[STATION_MAC] == "local"
    mesh.sites["station"].host.run(["ping", "-n", "-c1", "-W1", "-M", "do", "-s", "1472", mesh["bob"].address4])


# Streams.


def transferred(sender: Namespace, receiver: Namespace, address: str, size: int) -> tuple[str, str]:
    """Sends so many random bytes by TCP. Returns both ends' SHA-256."""
    data = os.urandom(size)
    digest = hashlib.sha256()
    with receiver.entered():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.create_server((address, 0), family=family)

    def receive() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(20)
            while piece := connection.recv(1 << 16):
                digest.update(piece)

    with listener, sender.entered():
        listener.settimeout(20)
        thread = threading.Thread(target=receive)
        thread.start()
        with socket.create_connection(listener.getsockname()[:2], timeout=20) as out:
            out.sendall(data)
        thread.join(20)
    return hashlib.sha256(data).hexdigest(), digest.hexdigest()


def checksum_errors(host: Host) -> int:
    """What the kernel there refused for a wrong TCP or UDP checksum."""
    lines = host.run("cat /proc/net/snmp").stdout.splitlines()
    found = 0
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        counters = dict(zip(names.split(), values.split(), strict=True))
        found += int(counters.get("InCsumErrors", 0))
    return found


def test_files_arrive_as_they_were_sent_whoever_computes_the_checksums(mesh: Mesh) -> None:
    alice, bob, _ = mesh.edges
    station = mesh.sites["station"].host
    for one, other, address in (
        (alice.host, bob.host, bob.address4),
        (bob.host, alice.host, alice.address6),
        (alice.host, station, STATION),
        (station, alice.host, alice.address4),
    ):
        sent, arrived = transferred(one, other, address, 5 * MEGABYTE)
        assert arrived == sent
    for feature in ("tx-checksum-ip-generic", "tx-tcp-segmentation"):
        station.offload(feature, False, "inside")
    for one, other, address in ((alice.host, station, STATION), (station, bob.host, bob.address4)):
        sent, arrived = transferred(one, other, address, MEGABYTE)
        assert arrived == sent
    assert sum(checksum_errors(host) for host in (alice.host, bob.host, station)) == 0


def test_udp_of_every_size_arrives_unchanged(alice: Edge, bob: Edge) -> None:
    with bob.host.udp(bob.address4, PORT) as inbox, alice.host.udp() as outbox:
        for size in (0, 1, 17, 1000, 1471, 1472, 1473, 5000, 60_000):
            data = os.urandom(size)
            outbox.sendto(data, (bob.address4, PORT))
            assert inbox.recv(65_535) == data


def iperf3(client: Edge, server: Edge, *options: str) -> Any:
    """The sums of a test of 1 s, options as of iperf3."""
    listening = server.host.popen(["iperf3", "-s", "-1", "--forceflush", "-B", server.address4], name="iperf3")
    listening.wait_for_line("Server listening")
    command = ["iperf3", "-J", "-t", "1", "-c", server.address4, *options]
    done = client.host.run(command, timeout=20)
    listening.wait()
    return json.loads(done.stdout)["end"]


def test_iperf3_tcp_both_ways_in_datagrams_that_nobody_fragments(mesh: Mesh, alice: Edge, bob: Edge) -> None:
    pieces = mesh.lab.core.drop("ip frag-off & 0x3fff != 0 meta l4proto udp")  # a fragment
    without_df = mesh.lab.core.drop("ip frag-off & 0x4000 == 0 meta l4proto udp")
    try:
        for direction in ((), ("-R",)):
            sums = iperf3(alice, bob, *direction)
            assert sums["sum_received"]["bits_per_second"] > 30 * MEGABYTE
        assert (pieces.packets(), without_df.packets()) == (0, 0)
    finally:
        pieces.remove()
        without_df.remove()
    assert not {"bad segment", "bad fragment", "bad bundle", "fragments expired"} & alice.drops().keys()


def test_an_underlay_that_loses_1_percent(mesh: Mesh, alice: Edge, bob: Edge) -> None:
    hosts = [alice.host, bob.host, *(mesh.sites[name].router for name in ("alice", "bob"))]
    for host in hosts:
        host.offload("tx-udp-segmentation", False, host.uplink.interface)
    loss = mesh.lab.core.loss(1)
    try:
        sums = iperf3(alice, bob, "-u", "-b", "20M", "-l", "1400")
        assert loss.packets() > 0
        assert 0.1 < sums["sum"]["lost_percent"] < 4
        assert iperf3(alice, bob)["sum_received"]["bits_per_second"] > MEGABYTE
        sent, arrived = transferred(bob.host, alice.host, alice.address4, MEGABYTE)
        assert arrived == sent
    finally:
        loss.remove()
        for host in hosts:
            host.offload("tx-udp-segmentation", True, host.uplink.interface)
    assert alice.path_to("bob") == "direct"
