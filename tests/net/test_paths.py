"""How two parties reach each other: at once by relay, then directly where the network between them lets it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from l2mesh.lab import IPv6, nat, wait_until
from tests.net.mesh import UP_S, Edge

if TYPE_CHECKING:
    from tests.net.mesh import Mesh

pytestmark = pytest.mark.root

Measured = Callable[[str, float], None]

# Promises of connectivity.md and issue 2, in seconds.
DIRECT_S = 2.0
REGISTERED_AGAIN_S = 5.0
RELAY_REPLACED_S = 20.0
# What a stressed machine may add to the start of a process, to a fork, to a wake-up.
SLACK_S = 1.0


def started_pair(mesh: Mesh) -> tuple[Edge, Edge]:
    """Both, with the moment when the second was ready as the beginning of time."""
    mesh.start()
    alice, bob = mesh.edges
    return alice, bob


def test_between_two_homes_the_first_ping_goes_at_once_and_soon_directly(mesh: Mesh, measured: Measured) -> None:
    mesh.supernode("supernode")
    alice, bob = mesh.edge("alice"), mesh.edge("bob")
    mesh.supernodes[0].start()
    alice.start()
    bob.launch()
    bob.wait_ready()
    ready = time.monotonic()
    # One ping, sent when the TAP is up: it waits in the edge until there is a way, and is lost no more.
    assert bob.ping(alice)
    measured("seconds to the first answer", time.monotonic() - ready)
    assert time.monotonic() - ready < 1 + SLACK_S
    bob.process.wait_for_line("peer alice: up, relay")
    for edge, other in ((alice, bob), (bob, alice)):
        edge.wait_path("direct", other.name, deadline_s=DIRECT_S + SLACK_S)
        measured(f"seconds to direct at {edge.name}", time.monotonic() - ready)
        router = mesh.sites[other.name].router
        assert edge.peer(other.name)["endpoint"] == f"{router.address4}:{other.udp_port()}"
    assert alice.ping(bob)
    assert bob.peer("alice")["rtt_ms"] < 1000


def test_a_pair_that_cannot_meet_is_relayed_and_says_so(mesh: Mesh) -> None:
    mesh.supernode("supernode")
    for name in ("alice", "bob"):
        mesh.edge(name)
    mesh.lab.block_udp(mesh.sites["alice"], mesh.sites["bob"])
    alice, bob = started_pair(mesh)
    mesh.wait_up("relay")
    assert alice.ping(bob)
    assert alice.peer("bob")["endpoint"] == mesh.supernodes[0].address
    wait_until(lambda: alice.peer("bob")["datagram_bytes"] == 1472, UP_S, "the relay carries whole datagrams")
    assert alice.ping(bob, "-M", "do", "-s", "1472")
    assert alice.ping(bob.address6)
    assert mesh.supernodes[0].get("status")["relayed_datagrams"] > 0
    assert alice.path_to("bob") == "relay"


def test_a_change_of_path_loses_and_repeats_nothing(mesh: Mesh) -> None:
    mesh.supernode("supernode")
    for name in ("alice", "bob"):
        mesh.edge(name)
    mesh.lab.block_udp(mesh.sites["alice"], mesh.sites["bob"])
    alice, bob = started_pair(mesh)
    mesh.wait_up("relay")
    ping = alice.host.popen(["ping", "-n", "-c200", "-i0.01", bob.address4], name="ping")
    ping.wait_for_line("icmp_seq=20 ")
    mesh.lab.unblock_udp(mesh.sites["alice"], mesh.sites["bob"])
    for i in range(3):  # from relay to direct, and then twice by the relay to direct again
        mark = alice.process.mark()
        alice.host.ip([f"address add 203.0.113.{i}/32 dev lo"])  # a reason to look for paths anew
        alice.process.wait_for_line("peer bob: path .*-> direct", after=mark)
    assert ping.poll() is None, "it was to go on meanwhile"
    ping.wait()
    assert "200 packets transmitted, 200 received, 0% packet loss" in ping.text()


def test_relay_always_never_sends_to_a_peer_itself(mesh: Mesh) -> None:
    mesh.supernode("supernode")
    mesh.edge("alice", transport={"relay": "always"})
    mesh.edge("bob")
    mesh.lab.block_udp(mesh.sites["alice"], mesh.sites["bob"])
    blocked = mesh.lab.core.drop(
        f"ip saddr {mesh.sites['alice'].router.address4} ip daddr {mesh.sites['bob'].router.address4}"
    )
    alice, bob = started_pair(mesh)
    mesh.wait_up("relay")
    assert alice.ping(bob)
    assert alice.get("status")["relay"] == "always"
    assert alice.peer("bob")["candidates"] == []
    assert bob.peer("alice")["candidates"] == []
    assert blocked.packets() == 0


def test_relay_never_meets_directly_or_not_at_all(mesh: Mesh) -> None:
    supernode = mesh.supernode("supernode")
    for name in ("alice", "bob", "carol"):
        mesh.edge(name, transport={"relay": "never"})
    mesh.lab.block_udp(mesh.sites["alice"], mesh.sites["carol"])
    mesh.start()
    alice, bob, carol = mesh.edges
    for one, other in ((alice, bob), (bob, alice), (bob, carol), (carol, bob)):
        one.wait_path("direct", other.name)
    assert alice.ping(bob)
    assert bob.ping(carol)
    assert not alice.ping(carol, check=False)
    assert alice.path_to("carol") is None
    assert supernode.get("status")["relayed_datagrams"] == 0


@pytest.mark.parametrize("kind", [IPv6.OPEN, IPv6.FIREWALL], ids=lambda kind: str(kind.value))
def test_an_underlay_of_ipv6_alone(mesh: Mesh, kind: IPv6) -> None:
    supernode = mesh.supernode("supernode")
    mesh.lab.core.drop("meta nfproto ipv4")
    address = f"[{supernode.host.address6}]:7777"
    for name in ("alice", "bob"):
        mesh.edge(mesh.site(name, ipv6=kind).host, supernodes=[address])
    alice, bob = started_pair(mesh)
    mesh.wait_up("direct")
    assert alice.ping(bob, "-M", "do", "-s", "1472")
    assert (
        alice.peer("bob")["endpoint"] == f"[{bob.host.address6}]:{bob.get('status')['listen'][1].split(':')[-1]}"
    )


def over_ipv6(one: Edge, other: Edge) -> bool:
    endpoint: str = one.peer(other.name).get("endpoint") or ""
    return endpoint.startswith("[2001:db8:")


def test_ipv6_is_preferred_where_both_work(mesh: Mesh) -> None:
    mesh.supernode("supernode")
    for name in ("alice", "bob"):
        mesh.edge(mesh.site(name, ipv6=IPv6.FIREWALL).host)
    alice, bob = started_pair(mesh)
    for one, other in ((alice, bob), (bob, alice)):
        wait_until(lambda one=one, other=other: over_ipv6(one, other), UP_S, "the path is over IPv6")  # type: ignore[misc]


def test_direct_paths_of_one_lan_outlive_the_supernode_which_is_found_again(
    mesh: Mesh, measured: Measured
) -> None:
    supernode = mesh.supernode("supernode")
    home = mesh.site("home", hosts=2)
    for host, name in zip(home.hosts, ("alice", "bob"), strict=True):
        mesh.edge(host, name=name)
    alice, bob = started_pair(mesh)
    mesh.wait_up("direct")
    assert alice.peer("bob")["endpoint"] == f"{bob.host.address4}:{bob.udp_port()}"
    supernode.process.kill()
    for edge in (alice, bob):
        edge.process.wait_for_line("supernode .*: lost", 10)
    assert alice.ping(bob)
    assert alice.path_to("bob") == "direct"
    up_for = alice.peer("bob")["up_for_s"]
    supernode.start()
    ready = time.monotonic()
    wait_until(
        lambda: supernode.registered() == {"alice", "bob"}, REGISTERED_AGAIN_S + SLACK_S, "registered again"
    )
    measured("seconds to all registered", time.monotonic() - ready)
    assert alice.ping(bob)
    assert alice.peer("bob")["up_for_s"] > up_for, "the session was lost"


def test_one_of_several_supernodes_is_enough(mesh: Mesh, measured: Measured) -> None:
    first, second = mesh.supernode("one"), mesh.supernode("other")
    alice, bob = (mesh.edge(name) for name in ("alice", "bob"))
    carol = mesh.edge(mesh.site("carol", nat.SYMMETRIC).host)
    mesh.lab.block_udp(mesh.sites["alice"], mesh.sites["bob"])
    for daemon in (first, second, alice, bob):
        daemon.start()
    wait_until(lambda: first.registered() == second.registered() == {"alice", "bob"}, UP_S, "registered at both")
    alice.wait_path("relay", "bob")
    assert alice.ping(bob)
    relays = {alice.peer("bob")["endpoint"], bob.peer("alice")["endpoint"]}
    dying, living = (first, second) if first.address in relays else (second, first)
    dying.process.kill()
    seconds = alice.wait_ping(bob, RELAY_REPLACED_S + SLACK_S)
    measured("seconds to the other relay", seconds)
    carol.start()
    wait_until(lambda: "carol" in living.registered(), UP_S, "a newcomer registers at the one that is left")
    for edge in (alice, bob):
        carol.wait_ping(edge, UP_S)
