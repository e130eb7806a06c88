"""What may happen to a party, and how soon its frames flow again (point 7 of issue 2)."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from l2mesh.lab import wait_until
from tests.net.mesh import UP_S, Edge, write_tables

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tests.net.mesh import Mesh

pytestmark = pytest.mark.root

Measured = Callable[[str, float], None]

AGAIN_S = 3.0
REGISTERED_AGAIN_S = 5.0
UNNOTICED_S = 15.0  # a path that died in silence: doubted after 4 s of traffic, given up after 6.5 s more
ONCE_S = 0.5  # "at once", for a process that waits its turn on a busy machine
SLACK_S = 1.0  # what such a machine may add to the start of a process
STOPPED_S = 20.0  # longer than the 15 s after which a peer is taken for dead
CAP_NET_ADMIN = 1 << 12


@pytest.fixture(scope="module")
def shared(meshes: Callable[[], AbstractContextManager[Mesh]]) -> Iterator[Mesh]:
    """A supernode, alice and bob at home, carol in an office with a spare socket in the wall."""
    with meshes() as built:
        built.supernode("supernode")
        for name in ("alice", "bob", "carol"):
            built.edge(name)
        built.site("office", hosts=0)
        yield built


@pytest.fixture
def mesh(shared: Mesh) -> Mesh:
    """All of them run, and have direct paths to each other."""
    for daemon in (*shared.supernodes, *shared.edges):
        if daemon.running is not None and daemon.running.poll() is not None:
            daemon.running = None
    shared.start()
    names = {edge.name for edge in shared.edges}
    wait_until(lambda: shared.supernodes[0].registered() == names, UP_S, "all are registered", poll_s=0.01)
    shared.wait_up("direct")
    return shared


def pair(mesh: Mesh) -> tuple[Edge, Edge]:
    return mesh["alice"], mesh["bob"]


def test_a_killed_edge_that_starts_again_is_heard_at_once(mesh: Mesh, measured: Measured) -> None:
    alice, bob = pair(mesh)
    port, mac = alice.udp_port(), alice.mac()
    assert bob.ping(alice)
    alice.process.kill()
    begun = time.monotonic()
    alice.start()
    measured("seconds to ready", time.monotonic() - begun)
    seconds = bob.wait_ping(alice, AGAIN_S + SLACK_S)
    measured("seconds from ready to traffic", seconds)
    assert seconds < AGAIN_S
    assert (alice.udp_port(), alice.mac()) == (port, mac)
    assert bob.stations()[mac] == "alice"
    alice.wait_path("direct", "bob")


def test_a_supernode_that_starts_again_is_registered_at_anew(mesh: Mesh, measured: Measured) -> None:
    supernode = mesh.supernodes[0]
    handshakes = {edge.name: edge.peer("carol").get("up_for_s") for edge in mesh.edges}
    for end in ("kill", "terminate"):
        getattr(supernode.process, end)()
        supernode.start()
        ready = time.monotonic()
        wait_until(
            lambda: supernode.registered() == {"alice", "bob", "carol"}, REGISTERED_AGAIN_S, "all are registered"
        )
        measured(f"seconds from ready after {end}", time.monotonic() - ready)
    for edge in (mesh["alice"], mesh["bob"]):
        assert edge.peer("carol")["up_for_s"] > handshakes[edge.name], "the sessions of edges were disturbed"


def test_a_new_address_of_its_host(mesh: Mesh, measured: Measured) -> None:
    alice, bob = pair(mesh)
    up_for = bob.peer("alice")["up_for_s"]
    alice.host.change_address()
    seconds = bob.wait_ping(alice, AGAIN_S)
    measured("seconds to traffic", seconds)
    alice.wait_path("direct", "bob", "carol")
    assert bob.peer("alice")["up_for_s"] > up_for, "the session was lost"


def test_a_new_address_of_its_router_which_nobody_tells_it(mesh: Mesh, measured: Measured) -> None:
    alice, bob = pair(mesh)
    router = mesh.sites["alice"].router
    router.change_address()
    router.flush_conntrack()
    try:
        measured("seconds to traffic", bob.wait_ping(alice, UNNOTICED_S + SLACK_S))
    finally:
        alice.process.kill()  # or it would be relayed until it registers again


def test_another_default_route(mesh: Mesh, measured: Measured) -> None:
    carol, alice = mesh["carol"], mesh["alice"]
    office = mesh.sites["office"].router
    gateway = mesh.sites["office"].lan.addresses4[0]
    network = gateway.rpartition(".")[0]
    office.ip([f"link add name lan9 type veth peer name eth1 netns {carol.host.full_name}"])
    office.ip(["link set dev lan9 master lan up"])
    carol.host.ip(["link set dev eth1 up", f"address add {network}.99/24 dev eth1"])
    office.wait_for_link("lan9")
    assert carol.wait_ping(alice, AGAIN_S) < AGAIN_S
    carol.host.ip([f"route replace default via {gateway} dev eth1"])
    seconds = alice.wait_ping(carol, AGAIN_S)
    measured("seconds to traffic", seconds)
    wait_until(
        lambda: (alice.peer("carol")["endpoint"] or "").startswith(office.address4),
        UP_S,
        "its frames come by way of the office",
    )
    carol.host.ip([f"route replace default via {carol.host.uplink.gateway4} dev eth0", "link del dev eth1"])
    measured("seconds to traffic at home again", alice.wait_ping(carol, AGAIN_S))


def test_a_cable_pulled_and_plugged_in_again(mesh: Mesh, measured: Measured) -> None:
    alice, bob = pair(mesh)
    alice.host.link_down()
    assert not bob.ping(alice, check=False)
    alice.host.link_up()
    measured("seconds to traffic", bob.wait_ping(alice, AGAIN_S))
    bob.wait_path("direct", "alice")


def test_a_suspended_edge_wakes_up(mesh: Mesh, measured: Measured) -> None:
    alice, bob = pair(mesh)
    mark = bob.process.mark()
    stopped = time.monotonic()
    alice.process.stop()
    try:
        bob.process.wait_for_line("peer alice: down", STOPPED_S, after=mark)
        assert "alice" not in bob.stations().values()
        wait_until(lambda: time.monotonic() - stopped >= STOPPED_S, STOPPED_S, "it slept long enough")
    finally:
        alice.process.cont()
    measured("seconds to traffic", bob.wait_ping(alice, AGAIN_S))
    alice.wait_path("direct", "bob", "carol")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_an_edge_that_is_ended_is_forgotten_at_once(mesh: Mesh, number: signal.Signals) -> None:
    alice, bob = pair(mesh)
    assert bob.ping(alice)
    assert "alice" in bob.stations().values()
    assert alice.socket.is_socket()
    alice.process.signal(number)
    bob.wait_path(None, "alice", deadline_s=ONCE_S)
    assert "alice" not in bob.stations().values()
    wait_until(lambda: "alice" not in mesh.supernodes[0].registered(), ONCE_S, "it is registered no more")
    assert alice.process.wait() == 0
    assert alice.process.wait_for_line("stopped")
    assert "l2m0" not in alice.host.run("ip -brief link").stdout
    assert not alice.socket.exists()
    assert "Traceback" not in alice.process.text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_supernode_that_is_ended_says_so(mesh: Mesh, number: signal.Signals) -> None:
    supernode = mesh.supernodes[0]
    marks = [edge.process.mark() for edge in mesh.edges]
    supernode.process.signal(number)
    assert supernode.process.wait() == 0
    for edge, mark in zip(mesh.edges, marks, strict=True):
        edge.process.wait_for_line("supernode .*: lost: it is shutting down", UP_S, after=mark)
    assert not supernode.socket.exists()
    assert mesh["alice"].ping(mesh["bob"])


def test_a_file_that_is_read_again_disturbs_no_session(mesh: Mesh) -> None:
    alice, bob = pair(mesh)
    before, up_for = alice.file.read_text(), bob.peer("alice")["up_for_s"]
    alice.file.chmod(0o644)  # the daemon is nobody by now
    try:
        write_tables(alice.file, {"switch": {"ageing_time": 123}})
        alice.process.signal(signal.SIGHUP)
        wait_until(lambda: alice.get("fdb")["ageing_time_s"] == 123, UP_S, "the new ageing time is in use")
        write_tables(alice.file, {"switch": {"ageing_time": 1}})
        mark = alice.process.mark()
        alice.process.signal(signal.SIGHUP)
        alice.process.wait_for_line(r"cannot reload: .*\[switch\] ageing_time = 1: must be", after=mark)
        assert alice.get("fdb")["ageing_time_s"] == 123
    finally:
        alice.file.write_text(before)
        alice.file.chmod(0o600)
    assert bob.ping(alice)
    assert bob.peer("alice")["up_for_s"] > up_for
    assert bob.path_to("alice") == "direct"


def test_what_runs_is_nobody_who_may_do_nothing_but_its_work(mesh: Mesh) -> None:
    for daemon, may in ((mesh["alice"], CAP_NET_ADMIN), (mesh.supernodes[0], 0)):
        status = daemon.process_status()
        assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"65534"}
        assert status["Groups"] == ""
        assert status["NoNewPrivs"] == "1"
        for which in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[which], 16) == may, which
    assert re.search("ready: device=l2m0", mesh["alice"].process.text())
