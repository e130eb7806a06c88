"""STUN with others: coturn's client at our supernode, our edge at coturn's server; and what real edges find out
about the NATs of the lab.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from l2mesh.lab import Nat, nat, wait_until
from tests.net.mesh import PORT, Edge, Mesh, write_tables

pytestmark = pytest.mark.root

PORTS = (PORT, PORT + 1)
STUN_PORT = 3478
CLIENT_S = 20.0  # of coturn's client: it waits 3 s for each answer that a filter withholds
SURVEY_S = 15.0

CLASSES = {"EI": "endpoint-independent", "AD": "address-dependent", "APD": "address-and-port-dependent"}


@pytest.fixture
def hub(mesh: Mesh) -> Mesh:
    """A supernode that listens on two addresses with two ports each."""
    host = mesh.lab.public_host("hub", addresses=2)
    one, other = host.addresses4
    supernode = mesh.supernode(host)
    listen = [f"{address}:{port}" for address in (one, other) for port in PORTS]
    write_tables(supernode.file, {"supernode": {"listen": listen}})
    return mesh


def found(edge: Edge, deadline_s: float = SURVEY_S) -> dict[str, Any]:
    """What the edge says of its NAT, once its first survey is over."""
    wait_until(lambda: edge.get("status")["nat"]["age_s"] is not None, deadline_s, f"{edge.name} knows its NAT")
    said: dict[str, Any] = edge.get("status")["nat"]
    return said


# Behind each kind.

KINDS: dict[str, tuple[Nat, str]] = {
    "routed": (nat.ROUTED, "unknown"),
    "home": (nat.HOME, "unknown"),
    "accepting": (nat.HOME_ACCEPT, "unknown"),
    "cone": (nat.CONE, "unknown"),
    "restricted": (nat.RESTRICTED_CONE, "unknown"),
    "address": (nat.ADDRESS_DEPENDENT, "block"),
    "symmetric": (nat.SYMMETRIC, "random"),
    "sequential": (nat.SEQUENTIAL, "sequential"),
    "carrier": (nat.BLOCK_1024, "block"),
}


def test_real_edges_find_out_what_they_are_behind(hub: Mesh) -> None:
    """All at once, each at home behind a NAT of its own."""
    edges = {name: hub.edge(hub.site(name, kind).host, name=name) for name, (kind, _) in KINDS.items()}
    hub.start()
    said = {name: found(edge) for name, edge in edges.items()}
    expected = {
        name: (
            "none" if not kind.private else CLASSES[kind.mapping.value],
            CLASSES[kind.filtering.value],
            allocation,
        )
        for name, (kind, allocation) in KINDS.items()
    }
    assert {name: (one["mapping"], one["filtering"], one["allocation"]) for name, one in said.items()} == expected
    assert said["sequential"]["port_step"] == 1
    low, high = said["carrier"]["port_low"], said["carrier"]["port_high"]
    assert high - low < 1024
    assert abs(low - nat.BLOCK_START) < 512  # most of it is right
    for name, edge in edges.items():
        (server,) = said[name]["servers"]
        observed = server["observed"].rpartition(":")[0]
        assert observed == edge.host.address4 if name == "routed" else observed == hub.sites[name].router.address4
        assert 0 < server["rtt_ms"] < 1000
    # Its supernode passes on what it found, and the side sockets that it took are closed again.
    assert not hub.supernodes[0].drops().get("stun limit")
    status = edges["carrier"].get("status")
    assert status["ports"]["side"]["writes"] > 0
    assert not status["ports"]["side"]["drops"]


# With coturn.


@pytest.fixture
def coturn(mesh: Mesh) -> str:
    """An independent server on a public host with two addresses, ports 3478 and 3479: where it is."""
    host = mesh.lab.public_host("turn", addresses=2)
    one, other = host.addresses4
    options = ["-n", "--stun-only", "--no-auth", "--no-tls", "--no-dtls", "--no-tcp", "--no-cli"]
    options += ["-L", one, "-L", other, "--log-file", "stdout"]
    options += ["--pidfile", str(mesh.directory / "turn.pid"), "--userdb", str(mesh.directory / "turn.db")]
    server = host.popen(["turnserver", *options, "-p", str(STUN_PORT)], name="turnserver")
    server.wait_for_line("Total General servers", 10)
    return f"{one}:{STUN_PORT}"


def test_a_stun_server_of_the_file_tells_what_one_supernode_cannot(mesh: Mesh, coturn: str) -> None:
    mesh.supernode("hub")
    kinds = {"home": nat.HOME, "cone": nat.CONE, "address": nat.ADDRESS_DEPENDENT, "sequential": nat.SEQUENTIAL}
    edges = {
        name: mesh.edge(mesh.site(name, kind).host, name=name, transport={"stun": [coturn]})
        for name, kind in kinds.items()
    }
    alone = mesh.edge("alone")
    mesh.start()
    for name, edge in edges.items():
        said = found(edge)
        kind = kinds[name]
        assert (said["mapping"], said["filtering"]) == (CLASSES[kind.mapping.value], CLASSES[kind.filtering.value])
        assert [one["observed"] is not None for one in said["servers"]] == [True, True]
    assert found(alone)["mapping"] == "unknown"


VERDICT = re.compile(r"NAT with (.*) (Mapping|Filtering)!")


def test_an_independent_client_finds_the_same_at_our_supernode(hub: Mesh) -> None:
    """`turnutils_natdiscovery`. Of an address-dependent mapping it says that it is port-dependent, for it asks its
    third question where the second answer points, which by RFC 5780, section 7.4, is back at the first address.
    """
    hub.supernodes[0].start()
    kinds = {"home": nat.HOME, "cone": nat.CONE, "restricted": nat.RESTRICTED_CONE, "symmetric": nat.SYMMETRIC}
    words = {
        "EI": "Endpoint Independent",
        "AD": "Address Dependent",
        "APD": "Address and Port Dependent",
    }
    command = ["turnutils_natdiscovery", "-m", "-f", "-p", str(PORT), hub.supernodes[0].host.address4]
    clients = {name: hub.site(name, kind).host.popen(command, name="client") for name, kind in kinds.items()}
    for name, client in clients.items():
        assert client.wait(CLIENT_S) == 0
        verdicts = {what: which for which, what in VERDICT.findall(client.text())}
        kind = kinds[name]
        assert verdicts == {
            "Mapping": words[kind.mapping.value],
            "Filtering": words[kind.filtering.value],
        }, client.text()
