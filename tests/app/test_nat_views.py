"""What /v1/status and `l2mesh status` say of the NAT before an edge."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from l2mesh.app.config import load_edge
from l2mesh.app.management import nat_views
from l2mesh.app.management.nat_views import nat_document
from l2mesh.app.management.views import edge_status
from l2mesh.app.verbs import status as verb
from l2mesh.core.nat import (
    UNKNOWN_BEHAVIOUR,
    Allocation,
    AllocationKind,
    Filtering,
    Mapping,
    NatBehaviour,
    ServerFinding,
)
from l2mesh.simulator import nat
from l2mesh.simulator.mesh import Mesh

HUB = ServerFinding("hub:7777", ("198.51.100.7", 7777), ("203.0.113.5", 40000), 0.0213, ("198.51.100.8", 7778))
SILENT = ServerFinding("stun.example:3478", ("2001:db8::7", 3478))
SYMMETRIC = NatBehaviour(
    Mapping.ADDRESS_AND_PORT_DEPENDENT,
    Filtering.ADDRESS_DEPENDENT,
    Allocation(AllocationKind.SEQUENTIAL, 1024, 65535, -2, 20007),
    (HUB, SILENT),
    (20011, 20009, 20007),
    hairpin=False,
    found_at=90.0,
)


def test_a_behaviour_is_told_in_words() -> None:
    assert msgspec.to_builtins(nat_document(SYMMETRIC, 100.0)) == {
        "mapping": "address-and-port-dependent",
        "filtering": "address-dependent",
        "allocation": "sequential",
        "port_low": 1024,
        "port_high": 65535,
        "port_step": -2,
        "hairpin": False,
        "servers": [
            {
                "name": "hub:7777",
                "endpoint": "198.51.100.7:7777",
                "observed": "203.0.113.5:40000",
                "rtt_ms": 21.3,
                "other": "198.51.100.8:7778",
            },
            {
                "name": "stun.example:3478",
                "endpoint": "[2001:db8::7]:3478",
                "observed": None,
                "rtt_ms": None,
                "other": None,
            },
        ],
        "age_s": 10.0,
    }


def test_what_is_not_known_is_null() -> None:
    said = nat_document(UNKNOWN_BEHAVIOUR, 100.0)
    assert (said.mapping, said.filtering, said.allocation) == ("unknown",) * 3
    assert (said.port_low, said.port_high, said.port_step, said.hairpin, said.age_s) == (None,) * 5


def test_every_class_has_its_words() -> None:
    assert set(nat_views.MAPPINGS) == set(Mapping)
    assert set(nat_views.FILTERINGS) == set(Filtering)


@pytest.mark.parametrize(
    ("behaviour", "line"),
    [
        (UNKNOWN_BEHAVIOUR, "unknown mapping, unknown filtering"),
        (NatBehaviour(Mapping.NONE, Filtering.ENDPOINT_INDEPENDENT), "none, endpoint-independent filtering"),
        (SYMMETRIC, "address-and-port-dependent mapping, address-dependent filtering, ports in steps of -2"),
        (
            NatBehaviour(
                Mapping.ADDRESS_DEPENDENT, allocation=Allocation(AllocationKind.BLOCK, 20000, 22047, last=20001)
            ),
            "address-dependent mapping, unknown filtering, ports 20000 to 22047",
        ),
    ],
)
def test_the_verb_has_a_line_for_it(behaviour: NatBehaviour, line: str) -> None:
    assert verb._nat(nat_document(behaviour, 100.0)) == line


def test_the_status_of_an_engine_has_it_by_ip_version(examples: Path) -> None:
    mesh = Mesh(seed=1)
    mesh.supernode("hub", addresses=2, ports=(7777, 7778))
    edge = mesh.edge("alice", mesh.world.site(nat=nat.CARRIER))
    mesh.world.run(5)
    config = load_edge(examples / "edge.toml")
    status = edge_status(edge.engine, config, {}, unroutable=0, uptime=5.0, now=edge.now)
    assert (status.nat.mapping, status.nat.allocation) == ("address-and-port-dependent", "block")
    assert status.nat_ipv6.mapping == "unknown"
