"""What an edge finds out about the NAT before it, behind every kind that the simulator knows."""

from __future__ import annotations

import pytest

from l2mesh.core.nat import PORTS_HIGH, PORTS_LOW, AllocationKind, Filtering, Mapping, NatBehaviour
from l2mesh.core.reach import RelayPolicy
from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import Mesh, frame, mac_of
from l2mesh.simulator.nat import AD, APD, CARRIER, EI, HOME, Allocation, Dependence, Firewall, Nat
from l2mesh.simulator.network import Fate

DELAY = 0.020
LINK = Link(delay=DELAY, jitter=0.002)
LOSSY = Link(delay=DELAY, jitter=0.002, loss=0.1)
PORTS = (7777, 7778)
BLOCK = (20000, 22047)
SURVEY_S = 15.0
"""Ten seconds until requests that nobody answers are given up, and some to spare."""

MAPPINGS = {
    EI: Mapping.ENDPOINT_INDEPENDENT,
    AD: Mapping.ADDRESS_DEPENDENT,
    APD: Mapping.ADDRESS_AND_PORT_DEPENDENT,
}
FILTERINGS = {
    EI: Filtering.ENDPOINT_INDEPENDENT,
    AD: Filtering.ADDRESS_DEPENDENT,
    APD: Filtering.ADDRESS_AND_PORT_DEPENDENT,
}


def behaviour_behind(mesh: Mesh, nat: Nat | None) -> NatBehaviour:
    edge = mesh.edge("a", mesh.world.site(nat=nat))
    mesh.world.run(SURVEY_S)
    return edge.engine.nat.behaviours[4]


def full_hub(mesh: Mesh) -> None:
    """Two addresses with two ports each."""
    mesh.supernode("hub", addresses=2, ports=PORTS)


# Every kind.


@pytest.mark.parametrize("link", [LINK, LOSSY], ids=["", "10 % loss"])
@pytest.mark.parametrize("filtering", Dependence, ids=lambda kind: f"filtering {kind.name}")
@pytest.mark.parametrize(
    ("allocation", "block"),
    [
        (Allocation.PRESERVING, (1024, 65535)),
        (Allocation.RANDOM, (1024, 65535)),
        (Allocation.RANDOM, BLOCK),
        (Allocation.SEQUENTIAL, (1024, 65535)),
    ],
    ids=["preserving", "random", "block", "sequential"],
)
@pytest.mark.parametrize("mapping", Dependence, ids=lambda kind: f"mapping {kind.name}")
def test_each_kind_is_found(
    mapping: Dependence, filtering: Dependence, allocation: Allocation, block: tuple[int, int], link: Link
) -> None:
    mesh = Mesh(3, link)
    full_hub(mesh)
    found = behaviour_behind(mesh, Nat(mapping, filtering, allocation, block))
    assert (found.mapping, found.filtering) == (MAPPINGS[mapping], FILTERINGS[filtering])
    given = found.allocation
    if mapping is EI:
        assert given.kind is AllocationKind.UNKNOWN  # it does not matter, so nobody looked
    elif allocation is Allocation.SEQUENTIAL:
        assert (given.kind, given.step) == (AllocationKind.SEQUENTIAL, 1)
    elif block == BLOCK:
        assert given.kind is AllocationKind.BLOCK
        assert given.high - given.low < 2048
        assert min(given.high, BLOCK[1]) - max(given.low, BLOCK[0]) > 1500  # it is mostly the right one
    else:
        assert (given.kind, given.low, given.high) == (AllocationKind.RANDOM, PORTS_LOW, PORTS_HIGH)


@pytest.mark.parametrize("seed", range(10))
def test_whatever_is_lost_no_wrong_class_is_found(seed: int) -> None:
    mesh = Mesh(seed, LOSSY)
    full_hub(mesh)
    found = behaviour_behind(mesh, Nat(AD, AD, Allocation.SEQUENTIAL))
    assert (found.mapping, found.filtering) == (Mapping.ADDRESS_DEPENDENT, Filtering.ADDRESS_DEPENDENT)
    assert (found.allocation.kind, found.allocation.step) == (AllocationKind.SEQUENTIAL, 1)


# Fewer servers tell less, and nothing wrong.

KNOWN_BY_TWO_ADDRESSES = {
    EI: Mapping.ENDPOINT_INDEPENDENT,
    AD: Mapping.DESTINATION_DEPENDENT,
    APD: Mapping.DESTINATION_DEPENDENT,
}
KNOWN_BY_TWO_PORTS = {EI: Mapping.UNKNOWN, AD: Mapping.UNKNOWN, APD: Mapping.ADDRESS_AND_PORT_DEPENDENT}
FILTERS_BY_TWO_PORTS = {
    EI: Filtering.UNKNOWN,
    AD: Filtering.UNKNOWN,
    APD: Filtering.ADDRESS_AND_PORT_DEPENDENT,
}
FILTERS_BY_TWO_ADDRESSES = {
    EI: Filtering.ENDPOINT_INDEPENDENT,
    AD: Filtering.UNKNOWN,
    APD: Filtering.UNKNOWN,
}
NOTHING = dict.fromkeys(Dependence, Filtering.UNKNOWN)


@pytest.mark.parametrize("kind", Dependence, ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    ("supernodes", "addresses", "ports", "mappings", "filterings"),
    [
        pytest.param(1, 1, 1, dict.fromkeys(Dependence, Mapping.UNKNOWN), NOTHING, id="one port"),
        pytest.param(1, 1, 2, KNOWN_BY_TWO_PORTS, FILTERS_BY_TWO_PORTS, id="two ports"),
        pytest.param(1, 2, 1, KNOWN_BY_TWO_ADDRESSES, FILTERS_BY_TWO_ADDRESSES, id="two addresses"),
        pytest.param(2, 1, 1, KNOWN_BY_TWO_ADDRESSES, NOTHING, id="two supernodes"),
        pytest.param(2, 1, 2, MAPPINGS, FILTERS_BY_TWO_PORTS, id="two supernodes of two ports"),
    ],
)
def test_few_servers_say_little_and_nothing_wrong(
    supernodes: int,
    addresses: int,
    ports: int,
    mappings: dict[Dependence, Mapping],
    filterings: dict[Dependence, Filtering],
    kind: Dependence,
) -> None:
    mesh = Mesh(2, LINK)
    for i in range(supernodes):
        mesh.supernode(f"hub{i}", addresses=addresses, ports=PORTS[:ports])
    found = behaviour_behind(mesh, Nat(kind, kind))
    assert (found.mapping, found.filtering) == (mappings[kind], filterings[kind])


# Other places.


@pytest.mark.parametrize("filtering", Dependence, ids=lambda kind: kind.name)
@pytest.mark.parametrize("version", [4, 6])
def test_a_firewall_is_found_where_there_is_no_nat(version: int, filtering: Dependence) -> None:
    mesh = Mesh(2, LINK)
    mesh.supernode("hub", versions=(4, 6), addresses=2, ports=PORTS)
    site = mesh.world.site(nat=None, firewall=Firewall(filtering))
    edge = mesh.edge("a", site, versions=(version,))
    mesh.world.run(SURVEY_S)
    found = edge.engine.nat.behaviours[version]
    assert (found.mapping, found.filtering) == (Mapping.NONE, FILTERINGS[filtering])
    assert edge.engine.nat_report() == found.report()


@pytest.mark.parametrize(("outer", "kind"), [(Nat(APD, EI), APD), (HOME, EI)])
def test_of_two_nats_in_a_row_the_stricter_is_seen(outer: Nat, kind: Dependence) -> None:
    mesh = Mesh(2, LINK)
    full_hub(mesh)
    carrier = mesh.world.site(nat=outer)
    edge = mesh.edge("a", mesh.world.site(nat=HOME, at=carrier))
    mesh.world.run(SURVEY_S)
    found = edge.engine.nat.behaviours[4]
    assert (found.mapping, found.filtering) == (MAPPINGS[kind], Filtering.ADDRESS_AND_PORT_DEPENDENT)


@pytest.mark.parametrize("hairpin", [False, True])
def test_a_nat_that_hairpins_is_found(hairpin: bool) -> None:
    mesh = Mesh(2, LINK)
    mesh.supernode("hub")
    found = behaviour_behind(mesh, Nat(hairpin=hairpin))
    assert found.hairpin is (True if hairpin else None)  # one address cannot show that it was ours for everybody
    mesh = Mesh(2, LINK)
    full_hub(mesh)
    assert behaviour_behind(mesh, Nat(hairpin=hairpin)).hairpin is hairpin


def test_a_router_that_takes_in_what_is_nobodys_is_an_ordinary_one() -> None:
    mesh = Mesh(2, LINK)
    full_hub(mesh)
    found = behaviour_behind(mesh, Nat(accepts_input=True))
    assert (found.mapping, found.filtering) == (
        Mapping.ENDPOINT_INDEPENDENT,
        Filtering.ADDRESS_AND_PORT_DEPENDENT,
    )


def test_where_no_udp_passes_nothing_is_known_and_that_is_said() -> None:
    mesh = Mesh(2, LINK)
    full_hub(mesh)
    site = mesh.world.site()
    mesh.world.internet.block(site)
    edge = mesh.edge("a", site)
    mesh.world.run(SURVEY_S)
    found = edge.engine.nat.behaviours[4]
    assert (found.mapping, found.filtering, found.answered) == (Mapping.UNKNOWN, Filtering.UNKNOWN, False)
    assert [server.reflexive for server in found.servers] == [None]
    mesh.world.internet.heal()
    mesh.world.internet.unblock(site)
    mesh.world.run(70)
    assert edge.engine.nat.behaviours[4].mapping is Mapping.ENDPOINT_INDEPENDENT


# What it is for, and what it costs.


def test_nothing_waits_for_it() -> None:
    """A first frame takes as long as where nobody looks at the NAT."""

    def first_frame(relay: RelayPolicy) -> float:
        mesh = Mesh(2, Link(delay=DELAY))
        full_hub(mesh)
        mesh.edge("a", mesh.world.site(nat=CARRIER), relay=relay)
        mesh.world.run(SURVEY_S)
        b = mesh.edge("b", mesh.world.site(nat=CARRIER), relay=relay)
        first = frame(mac_of("a"), mac_of("b"), b"first")
        b.send_frames([first])
        return mesh.world.run_until(lambda: first in mesh.edges["a"].frames, within=2)

    assert first_frame(RelayPolicy.AUTO) == pytest.approx(first_frame(RelayPolicy.ALWAYS))


def test_the_class_is_known_within_a_few_round_trips_and_told_to_the_supernodes() -> None:
    mesh = Mesh(2, Link(delay=DELAY))
    hub = mesh.supernode("hub", addresses=2, ports=PORTS)
    edge = mesh.edge("a", mesh.world.site(nat=CARRIER))

    def known() -> bool:
        return edge.engine.nat_report().high != 0

    mesh.world.run_until(known, within=6.5 * DELAY, what="the block")
    mesh.world.run(2)
    (network,) = hub.engine.networks.values()
    (registration,) = network.registry.members.values()
    assert registration.nat == edge.engine.nat.lasting_report()
    assert registration.nat.filtering == Filtering.ADDRESS_AND_PORT_DEPENDENT


def test_a_changed_class_is_told_at_once() -> None:
    mesh = Mesh(2, LINK)
    hub = mesh.supernode("hub", addresses=2, ports=PORTS)
    edge = mesh.edge("a", mesh.world.site(nat=HOME))
    mesh.world.run(SURVEY_S)
    (network,) = hub.engine.networks.values()

    def told() -> int:
        return next(iter(network.registry.members.values())).nat.mapping

    assert told() == Mapping.ENDPOINT_INDEPENDENT
    mesh.world.move(edge, mesh.world.site(nat=CARRIER))
    mesh.world.run_until(lambda: told() == Mapping.ADDRESS_AND_PORT_DEPENDENT, within=3.0, every=0.01)


def test_a_router_that_is_switched_off_and_on_is_looked_at_again() -> None:
    mesh = Mesh(2, LINK)
    full_hub(mesh)
    site = mesh.world.site(nat=HOME)
    edge = mesh.edge("a", site)
    mesh.world.run(SURVEY_S)
    before = edge.engine.nat.behaviours[4].found_at
    mesh.world.reboot(site, renumber=True)
    mesh.world.run(SURVEY_S)
    found = edge.engine.nat.behaviours[4]
    assert found.found_at != before
    assert [host for host, _ in found.reflexive_addresses()] == [site.address]


def test_a_sample_tells_the_port_that_comes_next() -> None:
    mesh = Mesh(2, LINK)
    full_hub(mesh)
    site = mesh.world.site(nat=Nat(APD, APD, Allocation.SEQUENTIAL))
    edge = mesh.edge("a", site)
    mesh.world.run(60)
    before = edge.engine.nat_report().last
    assert edge.engine.nat.sample(edge.now)
    edge.settle()
    mesh.world.run(3 * DELAY)
    report = edge.engine.nat_report()
    assert report.last == before + 1
    assert site.nat is not None
    outside = site.nat.outbound((edge.host.addresses[0], edge.ports[4]), ("198.51.100.200", 9), edge.now)
    assert outside == (site.address, report.last + report.step)


def test_the_same_nat_looked_at_again_is_no_news() -> None:
    mesh = Mesh(2, LOSSY)
    hub = mesh.supernode("hub", addresses=2, ports=PORTS)
    edge = mesh.edge("a", mesh.world.site(nat=CARRIER))
    mesh.world.run(SURVEY_S)
    told = edge.engine.nat_report()
    (network,) = hub.engine.networks.values()
    version = network.registry.version
    mesh.world.run(3600)
    again = edge.engine.nat_report()
    assert again.last != told.last
    assert (again.low, again.high, again.filtering) == (told.low, told.high, told.filtering)
    assert network.registry.version == version
    assert edge.engine.nat.behaviours[4].servers[0].rtt is not None


def test_side_sockets_are_closed_again() -> None:
    mesh = Mesh(2, LINK)
    full_hub(mesh)
    edge = mesh.edge("a", mesh.world.site(nat=CARRIER))
    mesh.world.run(0.1)
    assert len(edge.side_ports) > 0
    mesh.world.run(SURVEY_S)
    assert len(edge.side_ports) == 0


def test_an_edge_that_stays_asks_little() -> None:
    mesh = Mesh(2, LINK)
    full_hub(mesh)
    stun = [0, 0]

    def tap(at: float, source: object, target: object, datagram: bytes, fate: Fate) -> None:
        if datagram[0] < 4:
            stun[0] += 1
            stun[1] += len(datagram)

    mesh.world.internet.taps.append(tap)
    mesh.edge("a", mesh.world.site(nat=CARRIER))
    mesh.world.run(SURVEY_S)
    assert stun[0] <= 120
    assert stun[1] <= 12_000
    before = stun[0]
    mesh.world.run(3600)
    assert stun[0] - before <= 7 * before


def test_who_is_always_relayed_asks_nobody() -> None:
    mesh = Mesh(2, LINK)
    full_hub(mesh)
    edge = mesh.edge("a", mesh.world.site(), relay=RelayPolicy.ALWAYS)
    mesh.world.run(SURVEY_S)
    assert edge.engine.nat.behaviours[4].servers == ()


def test_what_a_named_stun_server_sees_becomes_a_candidate() -> None:
    mesh = Mesh(2, LINK)
    hub = mesh.supernode("hub")
    site = mesh.world.site(nat=HOME)
    edge = mesh.edge("a", site)
    mesh.world.internet.block(hub.host)
    public = mesh.supernode("stun.example", addresses=2, ports=PORTS)
    edge.engine.set_stun_addresses("stun.example:7777", public.main_addresses(), edge.now)
    edge.settle()
    mesh.world.run(SURVEY_S)
    assert edge.engine.observed_addresses() == [(site.address, edge.ports[4])]
    assert edge.engine.nat_report().mapping == Mapping.ENDPOINT_INDEPENDENT
    found = edge.engine.nat.behaviours[4].servers
    assert [(server.name, server.reflexive is None) for server in found] == [
        ("hub", True),
        ("stun.example:7777", False),
    ]
