"""Why a peer is reached as it is, and what would help: every case in a sentence that names what to do."""

from __future__ import annotations

import pytest

from l2mesh.app.management.advice import Facts, advice, reason
from l2mesh.app.management.nat_views import words_of
from l2mesh.core.attempt_plan import Kind
from l2mesh.core.mapping_values import MappingState, MappingStatus
from l2mesh.core.path import PathClass
from l2mesh.core.reach import RelayPolicy
from l2mesh.wire.control import UNKNOWN_NAT, NatReport

EI, AD, APD = 2, 3, 4
OPEN, STRICT = 1, 3
HOME = NatReport(EI, STRICT)
CONE = NatReport(EI, OPEN)
RANDOM = NatReport(APD, STRICT, 1024, 65535)
BLOCK = NatReport(APD, STRICT, 20000, 22047)
SEQUENTIAL = NatReport(APD, STRICT, 1024, 65535, 1, 20007)
NO_ROUTER = MappingStatus(MappingState.NONE, reason="PCP: no answer")
RELAY, MEMBER, LAN = PathClass.RELAY, PathClass.MEMBER_RELAY, PathClass.SAME_LAN

CASES: list[tuple[str, Facts, str, list[str]]] = [
    ("on a LAN", Facts("bob", LAN), "direct, over a private address", []),
    ("direct", Facts("bob", PathClass.IPV4, ours=HOME, theirs=RANDOM), "direct, over IPv4", []),
    (
        "refused",
        Facts("bob", None, refused="the certificate has expired"),
        "no session: the cert",
        ["log of both"],
    ),
    ("no supernode", Facts("bob", None, supernode_reached=False), "no supernode is reached", ["l2mesh status"]),
    (
        "no relay allowed",
        Facts("bob", None, policy=RelayPolicy.NEVER, ours=RANDOM, theirs=RANDOM, port=4000),
        "forbids to use a relay",
        ["UDP port 4000", "IPv6 here and at bob"],
    ),
    (
        "always relayed",
        Facts("bob", RELAY, policy=RelayPolicy.ALWAYS),
        'relay = "always"',
        ['relay = "auto"'],
    ),
    ("it tells nothing", Facts("bob", RELAY, they_offer=frozenset()), "bob tells no address", ["two ports"]),
    (
        "hopeless",
        Facts("bob", RELAY, ours=RANDOM, theirs=RANDOM, port=4000, mapping=NO_ROUTER),
        "neither end can know",
        ["forward UDP port 4000", "allow PCP", "router of bob", "IPv6"],
    ),
    (
        "two NATs in a row",
        Facts("bob", MEMBER, ours=RANDOM, theirs=SEQUENTIAL, mapping=MappingStatus(double_nat=True)),
        "relayed by a member",
        ["bridge", "IPv6"],
    ),
    (
        "a firewall between",
        Facts("bob", RELAY, ours=HOME, theirs=CONE, port=4000, mapping=NO_ROUTER),
        "though these NATs can be passed",
        ["allow UDP between the two hosts", "our port is 4000"],
    ),
    (
        "unknown class",
        Facts("bob", RELAY, ours=HOME, theirs=UNKNOWN_NAT),
        "what NATs there are is not known",
        ["[transport] stun"],
    ),
    (
        "switched off",
        Facts("bob", RELAY, ours=HOME, theirs=RANDOM, birthday=False),
        "the file forbids it",
        ["birthday = true"],
    ),
    ("not yet", Facts("bob", RELAY, ours=HOME, theirs=RANDOM), "many ports here or there and searching", []),
    ("no luck", Facts("bob", RELAY, ours=BLOCK, theirs=BLOCK, tried=[Kind.BLOCKS]), "had no luck so far", []),
    (
        "predicted",
        Facts("bob", RELAY, ours=SEQUENTIAL, theirs=HOME, birthday=False),
        "guessing the next ports",
        [],
    ),
    (
        "other IP versions",
        Facts("bob", RELAY, we_offer=frozenset({4}), they_offer=frozenset({6})),
        "only IPv4, and the other only IPv6",
        ["get IPv6 here:"],
    ),
    (
        "IPv6 that is blocked",
        Facts("bob", RELAY, ours=RANDOM, theirs=RANDOM, we_offer=frozenset({4, 6}), they_offer=frozenset({4, 6})),
        "neither end can know",
        ["allow UDP over IPv6"],
    ),
    ("no UDP", Facts("bob", RELAY, ours=HOME, theirs=HOME, udp_answered=False), "no probe", ["allow UDP out"]),
]


@pytest.mark.parametrize(("facts", "why", "helps"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_why_and_what_would_help(facts: Facts, why: str, helps: list[str]) -> None:
    assert why in reason(facts)
    told = " / ".join(advice(facts))
    for part in helps:
        assert part in told
    if facts.path is not None and facts.path < MEMBER:
        assert not told
    else:
        assert told


def test_a_mapping_that_works_needs_no_forwarding() -> None:
    facts = Facts("bob", RELAY, ours=RANDOM, theirs=RANDOM, mapping=MappingStatus(MappingState.OPEN))
    assert "forward" not in " ".join(advice(facts))


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (UNKNOWN_NAT, "an unknown NAT"),
        (NatReport(99, 99), "an unknown NAT"),
        (NatReport(1, OPEN), "no NAT"),
        (HOME, "endpoint-independent mapping, address-and-port-dependent filtering"),
        (
            BLOCK,
            "address-and-port-dependent mapping, any port from 20000 to 22047, address-and-port-dependent filt",
        ),
        (SEQUENTIAL, "ports in steps of 1"),
        (NatReport(APD, 0, 1024, 65535), "address-and-port-dependent mapping, any port"),
    ],
)
def test_a_nat_in_words(report: NatReport, words: str) -> None:
    assert words in words_of(report)
