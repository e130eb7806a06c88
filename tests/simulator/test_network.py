"""Datagrams under way: what links, faults, moves and names do to them."""

from __future__ import annotations

import errno
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import pytest

from l2mesh.simulator.clock import Clock
from l2mesh.simulator.link import Link
from l2mesh.simulator.nat import FULL_CONE, HOME, Nat
from l2mesh.simulator.network import Fate, Internet

if TYPE_CHECKING:
    from collections.abc import Callable

    from l2mesh.simulator.engine import Address, Burst
    from l2mesh.simulator.place import Host, Place, Socket


class Party:
    """A host with a socket on port 5000, and all it got: (seconds since the start, source, run, size)."""

    def __init__(self, internet: Internet, host: Host) -> None:
        self.internet = internet
        self.host = host
        self.got: list[tuple[float, Address, bytes, int]] = []
        self.calls = 0
        self.socket = host.bind({4: 5000, 6: 5000}, self._receive)
        self._start = internet.clock.now

    def _receive(self, bursts: list[Burst]) -> None:
        self.calls += 1
        after = round(self.internet.clock.now - self._start, 6)
        self.got += [(after, source, bytes(data), size) for source, data, size in bursts]

    @property
    def data(self) -> list[bytes]:
        return [data for _, _, data, _ in self.got]

    def send(self, to: Party | str, data: bytes, size: int = 2000) -> None:
        address = to if isinstance(to, str) else to.host.addresses[0]
        self.internet.send(self.socket, [((address, 5000), data, size)])


class Plain:
    """Hosts a and b on the open internet."""

    def __init__(self, link: Link | None = None, seed: int = 1) -> None:
        self.clock = Clock()
        self.internet = Internet(self.clock, Random(seed), link or Link(delay=0.01))
        self.a = self.party("a", ["5.1.0.1", "2a02:1::1"])
        self.b = self.party("b", ["5.1.0.2", "2a02:1::2"])

    def party(self, name: str, addresses: list[str]) -> Party:
        return Party(self.internet, self.internet.host(name, addresses))

    def run(self, seconds: float = 1.0) -> None:
        self.clock.run_until(self.clock.now + seconds)

    def fates(self) -> dict[Fate, int]:
        return {fate: number for fate, number in self.internet.counts.items() if number}


def test_a_datagram_arrives_after_the_delay_with_its_source() -> None:
    net = Plain(Link(delay=0.025))
    net.a.send(net.b, b"hello")
    net.a.send("2a02:1::2", b"six")
    net.run()
    assert net.b.got == [(0.025, ("5.1.0.1", 5000), b"hello", 5), (0.025, ("2a02:1::1", 5000), b"six", 3)]


def test_a_train_arrives_as_a_burst_and_all_of_one_instant_in_one_call() -> None:
    net = Plain()
    other = net.party("other", ["5.1.0.3"])
    net.a.send(net.b, b"aabbc", 2)
    other.send(net.b, b"dd")
    net.run()
    assert [(data, size) for _, _, data, size in net.b.got] == [(b"aabbc", 2), (b"dd", 2)]
    assert net.b.calls == 1
    assert net.fates() == {Fate.DELIVERED: 4}


def test_a_sent_buffer_may_be_overwritten_at_once() -> None:
    net = Plain()
    buffer = bytearray(b"mine")
    net.internet.send(net.a.socket, [(("5.1.0.2", 5000), memoryview(buffer), 4)])
    buffer[:] = b"gone"
    net.run()
    assert net.b.data == [b"mine"]


def test_losses_copies_and_stragglers_come_as_often_as_asked() -> None:
    net = Plain(Link(delay=0.01, loss=0.2, duplicate=0.1, reorder=0.1, held=0.05))
    for number in range(200):
        net.a.send(net.b, b"".join((number * 10 + index).to_bytes(2) for index in range(10)), 2)
    net.run()
    came = [data[start : start + 2] for data in net.b.data for start in range(0, len(data), 2)]
    fates = net.fates()
    assert fates[Fate.DELIVERED] == len(came)
    assert 0.15 * 2200 < fates[Fate.LOST] < 0.25 * 2200
    assert 2000 < sum(fates.values()) < 2400
    assert max(Counter(came).values()) == 2
    assert came != sorted(came)
    late = [after for after, *_ in net.b.got if after > 0.0101]
    assert 0.05 * 2000 < len(late) < 0.15 * 2000
    assert max(late) <= 0.06


def test_jitter_spreads_arrivals() -> None:
    net = Plain(Link(delay=0.01, jitter=0.02))
    for _ in range(100):
        net.a.send(net.b, b"x")
    net.run()
    instants = [after for after, *_ in net.b.got]
    assert min(instants) >= 0.01
    assert max(instants) <= 0.03
    assert len(set(instants)) > 90


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_is_a_function_of_its_seed(seed: int) -> None:
    def traffic(seed: int) -> list[tuple[float, Address, bytes, int]]:
        net = Plain(Link(jitter=0.02, loss=0.2, duplicate=0.1, reorder=0.1), seed)
        for number in range(100):
            net.a.send(net.b, bytes([number]) * 50, 10)
        net.run()
        return net.b.got

    assert traffic(seed) == traffic(seed)
    assert traffic(seed) != traffic(seed + 1)


@pytest.mark.parametrize(("address", "header"), [("5.1.0.2", 28), ("2a02:1::2", 48)])
def test_a_datagram_larger_than_the_mtu_vanishes(address: str, header: int) -> None:
    net = Plain(Link(mtu=1400))
    largest = 1400 - header
    net.a.send(address, bytes(largest))
    net.a.send(address, bytes(largest + 1))
    net.a.send(address, bytes(2 * (largest + 1) + 7), largest + 1)
    net.run()
    assert [(len(data), size) for _, _, data, size in net.b.got] == [(largest + 7, largest)]
    assert net.fates() == {Fate.DELIVERED: 2, Fate.TOO_BIG: 3}


def test_a_link_of_its_own_for_a_pair_a_direction_or_a_place() -> None:
    net = Plain(Link(delay=0.01))
    c = net.party("c", ["5.1.0.3"])
    net.internet.set_link(net.a.host, net.b.host, Link(delay=0.1))
    net.internet.set_link(net.b.host, net.a.host, Link(delay=0.2), both=False)
    net.internet.set_link(c.host, None, Link(delay=0.3))
    net.a.send(net.b, b"ab")
    net.b.send(net.a, b"ba")
    net.a.send(c, b"ac")
    net.run()
    assert [(net.b.got[0][0]), net.a.got[0][0], c.got[0][0]] == [0.1, 0.2, 0.3]


def test_two_in_one_site_use_its_lan_and_not_the_link_of_the_site() -> None:
    net = Plain()
    site = net.internet.site("site", address="5.1.0.9", nat=HOME, lan=Link(delay=0.001))
    x, y = (Party(net.internet, net.internet.host(name, [f"10.0.0.{name}"], site)) for name in "12")
    net.internet.set_link(x.host, net.b.host, Link(delay=0.5))
    x.send(y, b"near")
    y.send(net.b, b"far")
    net.run()
    assert y.got == [(0.001, ("10.0.0.1", 5000), b"near", 4)]
    assert net.b.got == [(0.5, ("5.1.0.9", 5000), b"far", 3)]
    with pytest.raises(ValueError, match="no link"):
        net.internet.set_link(site, x.host, Link())


def test_datagrams_to_nobody_have_a_fate() -> None:
    net = Plain()
    four = net.party("four", ["5.1.0.4"])
    net.a.send("5.1.0.77", b"no such host")
    net.internet.send(net.a.socket, [(("5.1.0.2", 1), b"no such port", 12)])
    four.send("2a02:1::2", b"no IPv6 here")
    net.run()
    assert net.fates() == {Fate.NO_ROUTE: 1, Fate.NOT_SENT: 1, Fate.NO_SOCKET: 1}


def test_a_tap_sees_every_datagram_once_with_its_fate() -> None:
    net = Plain(Link(loss=0.5))
    seen: list[tuple[Address, Address, bytes, Fate]] = []
    net.internet.taps.append(lambda at, *datagram: seen.append(datagram))
    net.a.send(net.b, bytes(range(40)), 2)
    net.run()
    assert sorted(data for _, _, data, _ in seen) == [bytes([n, n + 1]) for n in range(0, 40, 2)]
    assert Counter(fate for *_, fate in seen) == net.fates()
    assert {(source, to) for source, to, *_ in seen} == {(("5.1.0.1", 5000), ("5.1.0.2", 5000))}


@pytest.mark.parametrize("of", [lambda host: host, lambda host: host.network.site])
def test_a_block_lasts_until_it_is_undone_and_spares_others(of: Callable[[Host], Place]) -> None:
    net = Plain()
    site = net.internet.site("site")
    x = Party(net.internet, net.internet.host("x", ["5.1.0.9"], site))
    net.internet.block(of(x.host), net.b.host)
    for party in (net.a, net.b):
        x.send(party, b"out")
        party.send(x, b"in")
    net.run()
    assert (len(net.a.got), len(net.b.got), len(x.got)) == (1, 0, 1)
    net.internet.unblock(net.b.host, of(x.host))
    x.send(net.b, b"again")
    net.run()
    assert net.b.data == [b"again"]


def test_a_blocked_site_is_alone_but_whole() -> None:
    net = Plain()
    site = net.internet.site("site")
    x, y = (Party(net.internet, net.internet.host(name, [f"5.1.0.{name}"], site)) for name in "89")
    net.internet.block(site)
    x.send(y, b"inside")
    x.send(net.a, b"out")
    net.a.send(x, b"in")
    net.run()
    assert (x.data, y.data, net.a.data) == ([], [b"inside"], [])
    net.internet.heal()
    net.a.send(x, b"in")
    net.run()
    assert x.data == [b"in"]


def test_a_partition_cuts_groups_apart() -> None:
    net = Plain()
    c, d = net.party("c", ["5.1.0.3"]), net.party("d", ["5.1.0.4"])
    parties = [net.a, net.b, c, d]
    net.internet.partition([net.a.host, net.b.host], [c.host], [d.host])
    for one in parties:
        for other in parties:
            if one is not other:
                one.send(other, one.host.name.encode())
    net.run()
    assert [party.data for party in parties] == [[b"b"], [b"a"], [], []]


def test_what_is_under_way_to_an_old_address_is_lost_and_new_ones_work() -> None:
    net = Plain()
    told: list[list[str]] = []
    net.b.host.on_move.append(lambda: told.append(net.b.host.addresses))
    net.a.send(net.b, b"too late")
    net.internet.move(net.b.host, ["5.1.0.200"])
    net.a.send(net.b, b"new")
    net.b.send(net.a, b"from new")
    net.run()
    assert told == [["5.1.0.200"]]
    assert net.b.data == [b"new"]
    assert net.a.got[0][1] == ("5.1.0.200", 5000)


def test_a_renumbered_nat_has_forgotten_everything() -> None:
    net = Plain()
    site = net.internet.site("site", address="5.1.0.9", nat=HOME)
    x = Party(net.internet, net.internet.host("x", ["10.0.0.2"], site))
    x.send(net.a, b"1")
    net.run()
    site.renumber("5.1.0.10")
    net.a.send("5.1.0.9", b"old")
    net.a.send("5.1.0.10", b"new")
    net.run()
    x.send(net.a, b"2")
    net.run()
    net.a.send("5.1.0.10", b"answer")
    net.run()
    assert x.data == [b"answer"]
    assert [source for _, source, _, _ in net.a.got] == [("5.1.0.9", 5000), ("5.1.0.10", 5000)]


def test_a_router_that_was_off_has_forgotten_everything_and_may_have_another_address() -> None:
    net = Plain()
    site = net.internet.site("site", address="5.1.0.9", nat=HOME)
    x = Party(net.internet, net.internet.host("x", ["10.0.0.2"], site))
    for address in (None, "5.1.0.10"):
        x.send(net.a, b"out")
        net.run()
        site.reboot(address)
        net.a.send("5.1.0.9", b"in")
        net.run()
    x.send(net.a, b"out")
    net.run()
    assert x.data == []
    assert [source for _, source, _, _ in net.a.got] == [("5.1.0.9", 5000), ("5.1.0.9", 5000), ("5.1.0.10", 5000)]


def test_a_socket_of_one_address_is_apart_from_those_of_others() -> None:
    net = Plain()
    host = net.internet.host("two", ["5.1.0.8", "5.1.0.9"])
    got: dict[int, list[bytes]] = {0: [], 1: []}

    def listen(nth: int) -> Socket:
        return host.bind({4: 5000}, lambda bursts: got[nth].extend(bytes(data) for _, data, _ in bursts), nth=nth)

    first, second = listen(0), listen(1)
    net.a.send("5.1.0.8", b"first")
    net.a.send("5.1.0.9", b"second")
    net.run()
    assert got == {0: [b"first"], 1: [b"second"]}
    net.internet.send(second, [(("5.1.0.1", 5000), b"back", 4)])
    net.run()
    assert net.a.got[0][1] == ("5.1.0.9", 5000)
    with pytest.raises(ValueError, match="port in use"):
        listen(1)
    with pytest.raises(ValueError, match="port in use"):
        host.bind({4: 5000}, lambda bursts: None)
    net.internet.move(host, ["5.1.0.80", "5.1.0.90"])
    assert (first.sources, second.sources) == ({4: ("5.1.0.80", 5000)}, {4: ("5.1.0.90", 5000)})


# ---- hops


class Homes:
    """A host behind a home's router, or behind a carrier's outside it, and one behind another router."""

    def __init__(self, *, carrier: bool, far: Nat = HOME) -> None:
        self.net = net = Plain()
        outer = net.internet.site("carrier", address="5.1.0.9", nat=HOME) if carrier else None
        address = "100.64.0.1" if carrier else "5.1.0.9"
        self.near = net.internet.site("near", address=address, nat=HOME, at=outer)
        self.routers = [self.near, *([outer] if outer else [])]
        self.far = net.internet.site("far", address="5.1.0.10", nat=far)
        self.x = Party(net.internet, net.internet.host("x", ["10.0.0.2"], self.near))
        self.y = Party(net.internet, net.internet.host("y", ["10.0.0.2"], self.far))
        self.y.send("5.1.0.9", b"opens y's router")
        net.run()

    def send(self, ttl: int, to: str = "5.1.0.10") -> dict[Fate, int]:
        """What became of a datagram from x."""
        before = self.net.fates()
        self.net.internet.send(self.x.socket, [((to, 5000), b"x", 1)], ttl)
        self.net.run()
        return {fate: n for fate, number in self.net.fates().items() if (n := number - before.get(fate, 0))}

    def mapped(self) -> list[bool]:
        tables = [router.nat for router in self.routers]
        return [bool(table and table.live_mappings(self.net.clock.now)) for table in tables]


def test_an_opener_of_ttl_2_maps_at_its_own_router_and_dies_before_the_other() -> None:
    homes = Homes(carrier=False)
    assert homes.send(1) == {Fate.TTL_EXPIRED: 1}
    assert homes.mapped() == [False]
    assert homes.send(2) == {Fate.TTL_EXPIRED: 1}
    assert homes.mapped() == [True]
    assert homes.y.data == []
    homes.y.send("5.1.0.9", b"in")
    homes.net.run()
    assert homes.x.data == [b"in"]


def test_an_opener_of_ttl_3_maps_at_a_carriers_router_too() -> None:
    homes = Homes(carrier=True)
    assert homes.send(2) == {Fate.TTL_EXPIRED: 1}
    assert homes.mapped() == [True, False]
    assert homes.send(3) == {Fate.TTL_EXPIRED: 1}
    assert homes.mapped() == [True, True]


@pytest.mark.parametrize(("carrier", "least"), [(False, 4), (True, 5)])
def test_a_hop_is_each_router_and_the_core(carrier: bool, least: int) -> None:
    homes = Homes(carrier=carrier)
    assert homes.send(least - 1) == {Fate.TTL_EXPIRED: 1}
    assert homes.send(least) == {Fate.DELIVERED: 1}


def test_what_dies_in_a_router_that_accepts_input_was_noted_there() -> None:
    homes = Homes(carrier=False, far=Nat(accepts_input=True))
    homes.far.flush()
    assert homes.send(2) == {Fate.TTL_EXPIRED: 1}
    homes.y.send("5.1.0.9", b"y")
    homes.net.run()
    assert homes.x.got[-1][1] == ("5.1.0.10", 5000)
    homes.far.flush()
    assert homes.send(3) == {Fate.FILTERED: 1}
    homes.y.send("5.1.0.9", b"y")
    homes.net.run()
    assert [data for *_, data, _ in homes.x.got] == [b"y"], (
        "it left by another port, which x's router does not know"
    )


def test_on_a_lan_nothing_is_a_hop() -> None:
    homes = Homes(carrier=False)
    z = Party(homes.net.internet, homes.net.internet.host("z", ["10.0.0.3"], homes.near))
    assert homes.send(1, "10.0.0.3") == {Fate.DELIVERED: 1}
    assert z.data == [b"x"]


def test_hairpinning_is_one_hop() -> None:
    net = Plain()
    site = net.internet.site("site", address="5.1.0.9", nat=FULL_CONE)
    x, y = (Party(net.internet, net.internet.host(name, [f"10.0.0.{name}"], site)) for name in "12")
    y.send(net.a, b"maps 5000")
    net.internet.send(x.socket, [(("5.1.0.9", 5000), b"x", 1)], 2)
    net.run()
    assert y.data == [b"x"]


# ---- errors


class Failing(Party):
    """A party that is told what came to nothing."""

    def __init__(self, internet: Internet, host: Host) -> None:
        super().__init__(internet, host)
        self.failed: list[tuple[float, Address, int, bool]] = []
        host.close(self.socket)
        self.socket = host.bind({4: 5000, 6: 5000}, self._receive, self._fail)

    def _fail(self, address: Address, number: int, local: bool) -> None:
        self.failed.append((round(self.internet.clock.now - self._start, 6), address, number, local))


def test_a_host_that_cannot_send_is_told_at_once_by_itself() -> None:
    net = Plain()
    four = Failing(net.internet, net.internet.host("four", ["5.1.0.4"]))
    four.send("2a02:1::2", b"no IPv6 here")
    four.host.no_route_to.add("5.1.0.2")
    four.send(net.b, b"no route")
    net.internet.move(four.host, [])
    four.send(net.a, b"unplugged")
    net.run()
    assert four.failed == [
        (0.0, (host, 5000), errno.ENETUNREACH, True) for host in ("2a02:1::2", "5.1.0.2", "5.1.0.1")
    ]
    assert net.fates() == {Fate.NOT_SENT: 3}


def test_icmp_tells_the_sender_through_its_nat_where_it_is_switched_on() -> None:
    net = Plain()
    site = net.internet.site("site", address="5.1.0.9", nat=HOME)
    x = Failing(net.internet, net.internet.host("x", ["10.0.0.2"], site))

    def send_all() -> None:
        net.internet.send(x.socket, [(("5.1.0.2", 1), b"no such port", 12)])
        x.send("5.1.0.77", b"no such host")
        net.internet.send(x.socket, [(("5.1.0.2", 5000), b"short of breath", 15)], 2)
        net.run()

    send_all()
    assert x.failed == []
    net.internet.icmp = True
    send_all()
    assert sorted(x.failed) == [
        (1.01, ("5.1.0.2", 5000), errno.EHOSTUNREACH, False),
        (1.01, ("5.1.0.77", 5000), errno.EHOSTUNREACH, False),
        (1.02, ("5.1.0.2", 1), errno.ECONNREFUSED, False),
    ]


def test_a_host_moves_from_one_site_to_another() -> None:
    net = Plain()
    sites = [net.internet.site("s", address=address, nat=HOME) for address in ("5.1.0.8", "5.1.0.9")]
    x = Party(net.internet, net.internet.host("x", ["192.168.1.2"], sites[0]))
    x.send(net.a, b"1")
    net.internet.move(x.host, ["192.168.1.2"], sites[1])
    x.send(net.a, b"2")
    net.run()
    assert [source for _, source, _, _ in net.a.got] == [("5.1.0.8", 5000), ("5.1.0.9", 5000)]


def test_addresses_and_ports_are_taken_once() -> None:
    net = Plain()
    with pytest.raises(ValueError, match=r"5\.1\.0\.1 is taken, by a"):
        net.internet.host("c", ["5.1.0.1"])
    with pytest.raises(ValueError, match="port in use"):
        net.a.host.bind({4: 5000}, lambda bursts: None)
    net.a.host.close(net.a.socket)
    net.a.host.bind({4: 5000}, lambda bursts: None)


def test_links_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="probability"):
        Link(loss=20)
    with pytest.raises(ValueError, match="backwards"):
        Link(delay=-1)
    with pytest.raises(ValueError, match="needs an address"):
        Plain().internet.site("site", nat=HOME)
