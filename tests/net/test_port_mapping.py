"""Port mapping by real edges: from a real router daemon (miniupnpd), and from routers that lie."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import pytest

from l2mesh.lab import IPv6, Site, miniupnpd, nat, wait_until
from l2mesh.wire import pcp
from tests.core.router import FakeRouter
from tests.net.mesh import Edge, Mesh
from tests.net.routers import PermanentOnly, announce, serving

pytestmark = pytest.mark.root

UPNP_S = 30.0  # two silent protocols, a search, a check, on a machine that is busy
CHECK_S = 20.0
MEMORY_KB = 60_000


def mapping(edge: Edge) -> dict[str, Any]:
    found: dict[str, Any] = edge.get("status")["port_mapping"]
    return found


def wait_mapping(edge: Edge, within_s: float, **wanted: object) -> dict[str, Any]:
    """Until the status of its mapping says so. A callable judges the value."""

    def says() -> dict[str, Any] | None:
        said = mapping(edge)
        fits = all(want(said[key]) if callable(want) else said[key] == want for key, want in wanted.items())
        return said if fits else None

    found = wait_until(says, within_s, f"{edge.name}: {wanted}", poll_s=0.05)
    assert found
    return found


def mapped_candidates(edge: Edge, of: str) -> list[str]:
    """What `edge` was told that `of`'s router maps to it."""
    return [one["endpoint"] for one in edge.peer(of)["candidates"] if one["origin"] == "mapped"]


def pair(mesh: Mesh) -> tuple[Edge, Edge, Site]:
    """Alice, whose router will be told to map, and bob: both behind symmetric NATs."""
    mesh.supernode("hub")
    site = mesh.site("alice", nat.SYMMETRIC)
    alice = mesh.edge(site.host, transport={"port_mapping": True})
    bob = mesh.edge(mesh.site("bob", nat.SYMMETRIC).host, transport={"port_mapping": False})
    return alice, bob, site


@pytest.mark.parametrize(("protocol", "name"), [("pcp", "PCP"), ("nat_pmp", "NAT-PMP"), ("upnp", "UPnP")])
def test_symmetric_nats_meet_by_a_mapped_port(
    mesh: Mesh, measured: Callable[[str, float], None], protocol: str, name: str
) -> None:
    alice, bob, site = pair(mesh)
    miniupnpd.start(mesh.lab, site, **{protocol: True})
    mesh.start()
    begun = time.monotonic()
    said = wait_mapping(alice, UPNP_S, state="open")
    measured(f"{name}: to a mapping that was reached", time.monotonic() - begun)
    assert said["protocol"] == name
    assert said["external"].startswith(f"{site.router.address4}:")
    assert mapping(bob) | {"state": "off", "reason": "switched off in the file"} == mapping(bob)
    alice.wait_path("direct", "bob")
    bob.wait_path("direct", "alice")
    assert bob.peer("alice")["endpoint"] == said["external"]
    assert alice.memory_kb() < MEMORY_KB
    assert f":{alice.udp_port()}" in miniupnpd.mappings(site)
    begun = time.monotonic()
    assert alice.process.terminate() == 0
    measured(f"{name}: to the end", time.monotonic() - begun)
    assert "dnat" not in miniupnpd.mappings(site)


def test_after_a_kill_and_after_a_restart_of_the_router_it_is_the_same_mapping(mesh: Mesh) -> None:
    alice, _, site = pair(mesh)
    router = miniupnpd.start(mesh.lab, site, pcp=True)
    mesh.start()
    external = wait_mapping(alice, UPNP_S, state="open")["external"]
    alice.process.kill()
    assert miniupnpd.mappings(site).count("dnat") == 1
    alice.start()
    assert wait_mapping(alice, UPNP_S, state="open")["external"] == external
    assert miniupnpd.mappings(site).count("dnat") == 1

    router.terminate()
    miniupnpd.start(mesh.lab, site, pcp=True)  # it knows of no mapping, and announces itself
    wait_until(lambda: "dnat" in miniupnpd.mappings(site), UPNP_S, "the port is mapped again")
    assert wait_mapping(alice, UPNP_S, state="open")["external"] == external


def test_an_ipv6_firewall_is_opened(mesh: Mesh) -> None:
    hub = mesh.supernode("hub")
    site = mesh.site("alice", nat.HOME, ipv6=IPv6.FIREWALL)
    alice = mesh.edge(site.host, transport={"port_mapping": True})
    miniupnpd.start(mesh.lab, site, pcp=True)
    mesh.start()
    wait_until(lambda: alice.get("status")["ipv6_firewall"]["state"] == "open", UPNP_S, "open")
    host, _, port = alice.get("status")["ipv6_firewall"]["external"].rpartition(":")
    assert host == f"[{site.host.address6}]"
    before = sum(alice.drops().values())
    with hub.host.udp("::") as stranger:
        stranger.sendto(b"\xff nothing of ours", (host.strip("[]"), int(port)))
        wait_until(lambda: sum(alice.drops().values()) > before, UPNP_S, "a stranger's datagram came in")


# ---- liars


def test_a_mapping_that_does_not_forward_is_no_candidate(mesh: Mesh) -> None:
    alice, bob, site = pair(mesh)
    address = miniupnpd.make_public(site.router)
    fake = FakeRouter(host=address, nat_pmp=False)
    with serving(site, fake):
        mesh.start()
        wait_mapping(alice, UPNP_S, state="checking", protocol="PCP")
        wait_mapping(alice, CHECK_S, protocol=lambda protocol: protocol != "PCP")
        assert not fake.maps  # given back
        bob.wait_path("relay", "alice")
        assert mapped_candidates(bob, "alice") == []
        assert alice.process.terminate() == 0


def test_a_router_behind_another_nat_is_a_hint(mesh: Mesh) -> None:
    alice, bob, site = pair(mesh)
    fake = FakeRouter(host="192.168.100.7")
    with serving(site, fake):
        mesh.start()
        said = wait_mapping(alice, UPNP_S, state="none")
        assert said["double_nat"]
        assert "192.168.100.7" in said["reason"]
        assert not fake.maps
        bob.wait_path("relay", "alice")
        assert mapped_candidates(bob, "alice") == []


def test_a_router_that_says_another_address_than_supernodes_see_is_found_out(mesh: Mesh) -> None:
    alice, _, site = pair(mesh)
    with serving(site, FakeRouter(host="198.51.100.99", nat_pmp=False)):
        mesh.start()
        said = wait_mapping(alice, UPNP_S, double_nat=True)
        assert said["external"] is None


def test_garbage_and_false_epochs_are_borne(mesh: Mesh) -> None:
    alice, bob, site = pair(mesh)
    fake = FakeRouter(host=site.router.address4, garbage=True)
    with serving(site, fake) as here:
        mesh.start()
        wait_mapping(alice, UPNP_S, protocol="UPnP")
        for i in range(200):
            epoch = int.from_bytes(os.urandom(4), "big")
            announce(
                site, here, pcp.emit_response(pcp.Response(0, 0, 0, epoch, None)) if i % 2 else os.urandom(60)
            )
        alice.wait_path("relay", "bob")
        assert alice.ping(bob)
        assert len(fake.heard) < 50
    assert alice.process.terminate() == 0
    assert "Traceback" not in alice.process.text()


def test_a_router_with_permanent_leases_only_is_left_clean(mesh: Mesh) -> None:
    alice, bob, site = pair(mesh)
    miniupnpd.make_public(site.router)
    router = PermanentOnly(site)
    with router.serving():
        mesh.start()
        external = wait_mapping(alice, UPNP_S, state="open", protocol="UPnP")["external"]
        assert router.refusals
        bob.wait_path("direct", "alice")
        alice.process.kill()
        assert len(router.maps) == 1  # for ever, if we do not come back
        alice.start()
        assert wait_mapping(alice, UPNP_S, state="open")["external"] == external
        assert len(router.maps) == 1
        assert alice.process.terminate() == 0
        assert not router.maps
