"""NATs by RFC 4787: the tables by themselves, then two of them face to face."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from l2mesh.simulator.clock import Clock
from l2mesh.simulator.link import Link
from l2mesh.simulator.nat import (
    AD,
    APD,
    CARRIER,
    EI,
    FULL_CONE,
    HOME,
    LINUX,
    STREAM_AFTER,
    SYMMETRIC,
    Allocation,
    Dependence,
    Firewall,
    Nat,
    NatTable,
)
from l2mesh.simulator.network import Internet

if TYPE_CHECKING:
    from l2mesh.simulator.engine import Address, Burst
    from l2mesh.simulator.place import Host, Site

OUTSIDE = "5.1.0.9"
INSIDE = ("10.0.0.2", 5000)
SERVER, SERVER_OTHER_PORT, OTHER = ("5.1.0.1", 80), ("5.1.0.1", 81), ("5.1.0.2", 80)


def table(nat: Nat) -> NatTable:
    return NatTable(nat, OUTSIDE, Random(1))


@pytest.mark.parametrize(
    ("mapping", "same_by_port", "same_by_address"),
    [(EI, True, True), (AD, True, False), (APD, False, False)],
)
def test_mapping_depends_on(mapping: Dependence, same_by_port: bool, same_by_address: bool) -> None:
    nat = table(Nat(mapping=mapping, allocation=Allocation.RANDOM))
    first = nat.outbound(INSIDE, SERVER, 0.0)
    assert first is not None
    assert first[0] == OUTSIDE
    assert nat.outbound(INSIDE, SERVER, 1.0) == first
    assert (nat.outbound(INSIDE, SERVER_OTHER_PORT, 1.0) == first) is same_by_port
    assert (nat.outbound(INSIDE, OTHER, 1.0) == first) is same_by_address


@pytest.mark.parametrize(
    ("filtering", "other_port_passes", "other_address_passes"),
    [(EI, True, True), (AD, True, False), (APD, False, False)],
)
def test_filtering_lets_in(filtering: Dependence, other_port_passes: bool, other_address_passes: bool) -> None:
    nat = table(Nat(filtering=filtering))
    assert nat.outbound(INSIDE, SERVER, 0.0) == (OUTSIDE, 5000)
    assert nat.inbound(SERVER, 5000, 1.0) == INSIDE
    assert nat.inbound(SERVER, 5001, 1.0) is None
    assert (nat.inbound(SERVER_OTHER_PORT, 5000, 1.0) == INSIDE) is other_port_passes
    assert (nat.inbound(OTHER, 5000, 1.0) == INSIDE) is other_address_passes


def ports(nat: NatTable, inside: list[Address]) -> list[int]:
    return [outside[1] for endpoint in inside if (outside := nat.outbound(endpoint, SERVER, 0.0))]


HOSTS = [(f"10.0.0.{number}", 5000) for number in range(2, 12)]


def test_a_preserved_port_goes_to_the_first_and_a_random_one_to_the_next() -> None:
    first, *others = ports(table(Nat()), HOSTS)
    assert first == 5000
    assert len(set(others) - {5000}) == len(HOSTS) - 1


def test_sequential_ports_can_be_predicted() -> None:
    nat = Nat(allocation=Allocation.SEQUENTIAL, block=(20000, 20255))
    assert ports(table(nat), HOSTS) == list(range(20000, 20010))


@pytest.mark.parametrize("allocation", Allocation)
def test_a_block_is_used_up_to_the_last_port_and_not_beyond(allocation: Allocation) -> None:
    nat = table(Nat(allocation=allocation, block=(20000, 20007), timeout=30))
    assert sorted(ports(nat, HOSTS)) == list(range(20000, 20008))
    assert nat.outbound(HOSTS[-1], SERVER, 29.0) is None
    assert nat.outbound(HOSTS[-1], SERVER, 31.0) is not None
    assert len(nat.live_mappings(31.0)) == 1


def test_a_block_must_be_one() -> None:
    with pytest.raises(ValueError, match="block"):
        Nat(block=(2000, 1000))


def test_packets_from_inside_keep_a_mapping_alive_and_those_from_outside_need_not() -> None:
    nat = table(Nat(timeout=30))
    nat.outbound(INSIDE, SERVER, 0.0)
    nat.outbound(INSIDE, SERVER, 25.0)
    assert nat.inbound(SERVER, 5000, 50.0) == INSIDE
    assert nat.inbound(SERVER, 5000, 55.0) is None
    generous = table(Nat(timeout=30, refreshed_by_inbound=True))
    generous.outbound(INSIDE, SERVER, 0.0)
    assert generous.inbound(SERVER, 5000, 25.0) == INSIDE
    assert generous.inbound(SERVER, 5000, 50.0) == INSIDE


def test_a_permit_expires_by_itself_while_others_keep_the_mapping() -> None:
    nat = table(Nat(timeout=30))
    nat.outbound(INSIDE, SERVER, 0.0)
    nat.outbound(INSIDE, OTHER, 20.0)
    assert nat.inbound(SERVER, 5000, 40.0) is None
    assert nat.inbound(OTHER, 5000, 40.0) == INSIDE


def test_a_flushed_nat_lets_nothing_in() -> None:
    nat = table(HOME)
    nat.outbound(INSIDE, SERVER, 0.0)
    nat.flush()
    assert nat.inbound(SERVER, 5000, 1.0) is None


# ---- Linux


def test_a_linux_flow_lives_30_s_until_it_was_two_way_for_2_s_and_then_120() -> None:
    nat = table(LINUX)
    nat.outbound(INSIDE, SERVER, 0.0)
    assert nat.inbound(SERVER, 5000, 1.0) == INSIDE
    assert nat.inbound(SERVER, 5000, 30.9) == INSIDE, "a packet from outside refreshes too"
    assert nat.inbound(SERVER, 5000, 150.8) == INSIDE
    assert nat.inbound(SERVER, 5000, 271.0) is None
    assert nat.outbound(INSIDE, SERVER, 271.0) == (OUTSIDE, 5000)
    assert nat.inbound(SERVER, 5000, 301.1) is None, "a new flow, and a short one again"


def test_a_linux_flow_that_was_never_answered_stays_short() -> None:
    nat = table(LINUX)
    for second in range(20):
        nat.outbound(INSIDE, SERVER, second + STREAM_AFTER)
    assert nat.inbound(SERVER, 5000, 21.0 + 30.1) is None


def test_linux_looks_like_ei_while_the_port_is_nobody_elses() -> None:
    nat = table(LINUX)
    for remote in (SERVER, SERVER_OTHER_PORT, OTHER):
        assert nat.outbound(INSIDE, remote, 0.0) == (OUTSIDE, 5000)
    assert nat.inbound(SERVER, 5000, 1.0) == INSIDE
    assert nat.inbound((SERVER[0], 82), 5000, 1.0) is None


def test_two_hosts_with_one_port_behind_linux_look_like_apd() -> None:
    nat = table(LINUX)
    neighbour = ("10.0.0.3", 5000)
    assert nat.outbound(neighbour, SERVER, 0.0) == (OUTSIDE, 5000)
    moved = nat.outbound(INSIDE, SERVER, 0.0)
    assert moved is not None
    assert moved != (OUTSIDE, 5000)
    assert nat.outbound(INSIDE, OTHER, 0.0) == (OUTSIDE, 5000)
    assert nat.inbound(SERVER, 5000, 1.0) == neighbour
    assert nat.inbound(SERVER, moved[1], 1.0) == INSIDE
    assert nat.inbound(OTHER, 5000, 1.0) == INSIDE


def test_a_block_of_linux_serves_more_flows_than_it_has_ports() -> None:
    nat = table(Nat(mapping=APD, allocation=Allocation.RANDOM, block=(20000, 20003), overloads=True))
    remotes = [("5.1.0.1", port) for port in range(100)]
    ports = [outside[1] for remote in remotes if (outside := nat.outbound(INSIDE, remote, 0.0))]
    assert len(ports) == len(remotes)
    assert set(ports) == {20000, 20001, 20002, 20003}
    for remote, port in zip(remotes, ports, strict=True):
        assert nat.inbound(remote, port, 1.0) == INSIDE
    with pytest.raises(ValueError, match="overloaded"):
        Nat(overloads=True)


RACY = Nat(accepts_input=True)


def test_the_race_at_a_linux_router_is_one_flows() -> None:
    nat = table(Nat(mapping=APD, overloads=True, accepts_input=True))
    nat.outbound(INSIDE, SERVER, 0.0)
    assert nat.inbound(OTHER, 5000, 1.0) is None
    assert nat.outbound(INSIDE, OTHER, 2.0) != (OUTSIDE, 5000)
    assert nat.outbound(INSIDE, SERVER_OTHER_PORT, 2.0) == (OUTSIDE, 5000)


def test_a_router_that_takes_a_stranger_in_sends_us_by_another_port_to_that_one_alone() -> None:
    nat = table(RACY)
    assert nat.outbound(INSIDE, SERVER, 0.0) == (OUTSIDE, 5000)
    assert nat.inbound(OTHER, 5000, 1.0) is None
    detour = nat.outbound(INSIDE, OTHER, 2.0)
    assert detour is not None
    assert detour != (OUTSIDE, 5000)
    assert nat.inbound(OTHER, 5000, 3.0) is None
    assert nat.inbound(OTHER, detour[1], 3.0) == INSIDE
    assert nat.outbound(INSIDE, SERVER, 4.0) == (OUTSIDE, 5000)
    assert nat.outbound(INSIDE, (OTHER[0], 81), 4.0) == (OUTSIDE, 5000)


def test_who_sends_first_to_the_stranger_keeps_the_port() -> None:
    nat = table(RACY)
    nat.outbound(INSIDE, SERVER, 0.0)
    assert nat.outbound(INSIDE, OTHER, 1.0) == (OUTSIDE, 5000)
    assert nat.inbound(OTHER, 5000, 2.0) == INSIDE
    assert nat.outbound(INSIDE, OTHER, 2.0) == (OUTSIDE, 5000)


def test_the_port_is_ours_again_when_the_stranger_was_silent_long_enough() -> None:
    nat = table(RACY)
    nat.outbound(INSIDE, SERVER, 0.0)
    nat.inbound(OTHER, 5000, 1.0)
    nat.outbound(INSIDE, SERVER, 25.0)
    assert nat.outbound(INSIDE, OTHER, 31.5) == (OUTSIDE, 5000)


def test_a_router_that_drops_strangers_has_no_such_race() -> None:
    nat = table(HOME)
    nat.outbound(INSIDE, SERVER, 0.0)
    assert nat.inbound(OTHER, 5000, 1.0) is None
    assert nat.outbound(INSIDE, OTHER, 2.0) == (OUTSIDE, 5000)


def test_after_a_flush_a_stranger_who_comes_first_takes_only_its_own_tuple() -> None:
    nat = table(RACY)
    nat.outbound(INSIDE, OTHER, 0.0)
    nat.flush()
    nat.inbound(OTHER, 5000, 1.0)
    assert nat.outbound(INSIDE, OTHER, 2.0) != (OUTSIDE, 5000)
    assert nat.outbound(INSIDE, SERVER, 2.0) == (OUTSIDE, 5000)


def describe(nat: Nat) -> str:
    return f"{nat.mapping.name}M,{nat.filtering.name}F"


class Caller:
    """A host that learns its outside endpoint from a server, and answers any probe where it came from."""

    def __init__(self, internet: Internet, host: Host, server: Address) -> None:
        self.internet = internet
        self.server = server
        self.reflexive: Address = ("", 0)
        self.heard: list[Address] = []
        self.socket = host.bind({4: 5000, 6: 5000}, self.receive)

    def receive(self, bursts: list[Burst]) -> None:
        for source, data, _ in bursts:
            if source == self.server:
                host, _, port = bytes(data).decode().rpartition(" ")
                self.reflexive = (host, int(port))
            else:
                if source not in self.heard:
                    self.send(source, b"answer")
                self.heard.append(source)

    def send(self, to: Address, data: bytes) -> None:
        self.internet.send(self.socket, [(to, data, len(data))])


class Town:
    """A server that tells endpoints, and callers who ring each other at once."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.internet = Internet(self.clock, Random(7), Link(delay=0.01))
        self.server = ("5.1.0.1", 80)
        self.socket = self.internet.host("server", ["5.1.0.1", "2a02:1::1"]).bind({4: 80, 6: 80}, self._tell)
        self.hosts = 0

    def _tell(self, bursts: list[Burst]) -> None:
        for source, _, _ in bursts:
            self.internet.send(self.socket, [(source, f"{source[0]} {source[1]}".encode(), 100)])

    def site(self, nat: Nat, at: Site | None = None, address: str | None = None) -> Site:
        self.hosts += 1
        return self.internet.site("site", address=address or f"5.1.0.{self.hosts + 10}", nat=nat, at=at)

    def caller(self, site: Site) -> Caller:
        self.hosts += 1
        host = self.internet.host("caller", [f"192.168.1.{self.hosts}"], site)
        return Caller(self.internet, host, self.server)

    def can_talk(self, a: Caller, b: Caller) -> bool:
        for one in (a, b):
            one.send(self.server, b"who am I?")
        self.clock.run_until(self.clock.now + 1)
        for _ in range(3):
            a.send(b.reflexive, b"probe")
            b.send(a.reflexive, b"probe")
            self.clock.run_until(self.clock.now + 0.1)
        return bool(a.heard and b.heard)


def independent(filtering: Dependence) -> Nat:
    return Nat(filtering=filtering)


def some_nat(mapping: Dependence, filtering: Dependence) -> Nat:
    return Nat(mapping=mapping, filtering=filtering, allocation=Allocation.RANDOM)


EVERY_NAT = [some_nat(mapping, filtering) for mapping in Dependence for filtering in Dependence]


def defeats(a: Nat, b: Nat) -> bool:
    """As measured on Linux (connectivity.md): `a` leaves by a port that `b` would have had to send to."""
    return a.mapping is not EI and b.filtering is APD


@pytest.mark.parametrize("b", EVERY_NAT, ids=describe)
@pytest.mark.parametrize("a", EVERY_NAT, ids=describe)
def test_two_behind_nats_talk_after_sending_at_once(a: Nat, b: Nat) -> None:
    town = Town()
    talk = town.can_talk(town.caller(town.site(a)), town.caller(town.site(b)))
    assert talk is not (defeats(a, b) or defeats(b, a))


@pytest.mark.parametrize(
    ("a", "b", "talk"),
    [
        (HOME, HOME, True),
        (HOME, FULL_CONE, True),
        (HOME, SYMMETRIC, False),
        (HOME, CARRIER, False),
        (FULL_CONE, SYMMETRIC, True),
        (FULL_CONE, CARRIER, True),
        (SYMMETRIC, SYMMETRIC, False),
        (independent(AD), SYMMETRIC, True),
    ],
)
def test_the_nats_that_have_a_name(a: Nat, b: Nat, talk: bool) -> None:
    town = Town()
    assert town.can_talk(town.caller(town.site(a)), town.caller(town.site(b))) is talk


@pytest.mark.parametrize("hairpin", [True, False])
def test_two_behind_one_nat_reach_each_others_outside_only_by_hairpin(hairpin: bool) -> None:
    town = Town()
    site = town.site(Nat(hairpin=hairpin))
    assert town.can_talk(town.caller(site), town.caller(site)) is hairpin


@pytest.mark.parametrize("hairpin", [True, False])
def test_two_homes_behind_one_carrier_nat_meet_at_the_carrier(hairpin: bool) -> None:
    town = Town()
    carrier = town.site(Nat(hairpin=hairpin))
    homes = [town.site(HOME, carrier, f"100.64.0.{number}") for number in (1, 2)]
    a, b = (town.caller(home) for home in homes)
    assert town.can_talk(a, b) is hairpin
    assert a.reflexive[0] == carrier.address


def test_a_home_behind_a_carrier_nat_talks_to_one_elsewhere() -> None:
    town = Town()
    home = town.site(HOME, town.site(independent(APD)), "100.64.0.1")
    assert town.can_talk(town.caller(home), town.caller(town.site(HOME)))


def test_a_firewall_before_public_ipv6_opens_from_inside_only() -> None:
    town = Town()
    site = town.internet.site("site", firewall=Firewall())
    caller = Caller(town.internet, town.internet.host("caller", ["2a02:1:1::1"], site), ("2a02:1::1", 80))
    town.internet.send(town.socket, [(("2a02:1:1::1", 5000), b"unasked", 7)])
    town.clock.run_until(town.clock.now + 1)
    assert caller.reflexive == ("", 0)
    caller.send(("2a02:1::1", 80), b"who am I?")
    town.clock.run_until(town.clock.now + 1)
    assert caller.reflexive == ("2a02:1:1::1", 5000)
