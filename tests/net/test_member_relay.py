"""A party that relays for two others that cannot reach each other, in real processes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from l2mesh.lab import wait_until
from tests.net.mesh import UP_S, Edge

if TYPE_CHECKING:
    from tests.net.mesh import Mesh

pytestmark = pytest.mark.root

Measured = Callable[[str, float], None]

WORD = b"nobody but bob may read this"
IPERF_S = 3
REPLACED_S = 1.0
SLACK_S = 1.0  # what a stressed machine may add


def relay_of(edge: Edge, other: str) -> str | None:
    relay: str | None = edge.peer(other).get("relay")
    return relay


def test_a_member_carries_sealed_what_the_dead_supernode_cannot(mesh: Mesh, measured: Measured) -> None:
    supernode = mesh.supernode("supernode")
    alice, bob = (mesh.edge(name) for name in ("alice", "bob"))
    carol = mesh.edge(mesh.lab.public_host("carol"), transport={"relay_for_others": True})
    mesh.lab.block_udp(mesh.sites["alice"], mesh.sites["bob"])
    mesh.start()
    started = time.monotonic()
    mesh.wait_up()
    for edge, other in ((alice, "bob"), (bob, "alice")):
        wait_until(lambda edge=edge, other=other: relay_of(edge, other) == "carol", UP_S, "carol relays")  # type: ignore[misc]
        assert edge.path_to(other) == "relay"
        assert edge.peer(other)["endpoint"] == f"{carol.host.address4}:{carol.udp_port()}"
        assert edge.peer("carol")["relays"]
        edge.wait_path("direct", "carol")
    measured("seconds from ready to relayed by a member", time.monotonic() - started)

    supernode.process.kill()
    for edge in mesh.edges:
        edge.process.wait_for_line("supernode .*: lost", UP_S)
    assert alice.ping(bob)
    assert alice.ping(bob.address6)

    underlay = mesh.directory / "carol.pcap"
    dump = carol.host.capture(underlay, "eth0", only="udp")
    payload = WORD.hex()
    alice.ping(bob, "-c20", "-i0.02", "-s", "200", "-p", payload[:32])
    server = bob.host.popen(["iperf3", "-s", "-1", "--forceflush", "-B", bob.address4], name="iperf3")
    server.wait_for_line("Server listening")
    sent = alice.host.run(["iperf3", "-J", "-t", str(IPERF_S), "-c", bob.address4], timeout=30)
    server.wait()
    dump.terminate()
    dump.wait()
    received = json.loads(sent.stdout)["end"]["sum_received"]["bits_per_second"]
    assert received > 1e6
    captured = underlay.read_bytes()
    assert len(captured) > 100_000
    assert WORD[:16] not in captured

    status = carol.get("status")
    assert status["relays_for_others"]
    assert status["relay_pairs"] == 1
    assert status["relayed_bytes"] > received / 8 * IPERF_S * 0.9
    assert relay_of(alice, "bob") == relay_of(bob, "alice") == "carol"
    assert alice.get("status")["relay_pairs"] == 0

    # And back, when it dies.
    supernode.start()
    wait_until(lambda: supernode.registered() == {"alice", "bob", "carol"}, UP_S, "all are registered again")
    wait_until(
        lambda: any(path["relay"] != "carol" and path["fate"] == "valid" for path in alice.peer("bob")["paths"]),
        60.0,
        "the supernode's relay is there again",
    )
    carol.process.kill()
    seconds = alice.wait_ping(bob, UP_S)
    measured("seconds to the supernode's relay", seconds)
    assert seconds < REPLACED_S + SLACK_S
    wait_until(lambda: relay_of(alice, "bob") == supernode.address, UP_S, "the supernode relays")
