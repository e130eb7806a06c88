"""When the NAT is asked about, how much is sent, and what is told of it. (What is found behind which NAT:
tests/simulator/test_nat_discovery.py.)
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

import pytest

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.events import Event, NatFound
from l2mesh.core.nat import AllocationKind, Filtering, Mapping
from l2mesh.core.nat_discovery import ASK_AGAIN_S, SURVEY_EVERY_S, SURVEYS_APART_S, SURVEYS_BURST, NatDiscovery
from l2mesh.core.nat_questions import other_address
from l2mesh.core.reach import Reach, RelayPolicy
from l2mesh.core.stun_server import StunServer
from l2mesh.wire.address import Address, SideAddress, ip_version, socket_number
from l2mesh.wire.errors import BadPacket
from l2mesh.wire.stun import BindingAnswer, BindingRequest, emit_answer, emit_request, parse_stun

OWN, PORT = "192.168.1.2", 40000
OUTSIDE = "203.0.113.5"
ONE, TWO, THIRD = "198.51.100.7", "198.51.100.8", "192.0.2.66"
RTT = 0.02

Mapper = Callable[[int, Address], Address]


def endpoint_independent(number: int, to: Address) -> Address:
    return OUTSIDE, PORT + number


class Sequential:
    """A NAT that counts, one mapping for each socket and destination."""

    def __init__(self) -> None:
        self.last = 20000
        self._ports: dict[tuple[int, Address], int] = {}

    def __call__(self, number: int, to: Address) -> Address:
        if (number, to) not in self._ports:
            self.last += 1
            self._ports[number, to] = self.last
        return OUTSIDE, self._ports[number, to]

    def forget(self, closed: list[int]) -> None:
        self._ports = {key: port for key, port in self._ports.items() if key[0] not in closed}


class Bench:
    """An edge's discovery between servers that all answer at once, through a NAT without a filter."""

    def __init__(self, mapper: Mapper = endpoint_independent, policy: RelayPolicy = RelayPolicy.AUTO) -> None:
        self.local_hosts = [OWN]
        self.local_ports = {4: PORT}
        self.drops = Drops()
        self.closed: list[int] = []
        self.changes = 0
        self.told: list[Event] = []
        self.samples = 0
        self.now = 100.0
        self.mapper = mapper
        self.servers: dict[str, StunServer] = {}
        self.filters = False
        """Whether nothing comes in but from where something was sent to."""
        self.rewrite: Callable[[BindingAnswer], BindingAnswer] = lambda answer: answer
        self.sent: Counter[Address] = Counter()
        self.numbers: set[int] = set()
        self.replies: list[tuple[float, Address, bytes]] = []
        self._counter = itertools.count(1)
        self.nat = NatDiscovery(self, Reach(self, policy), self.now)

    def serve(self, *addresses: Address) -> None:
        """One server that listens on all of these, the first its main socket."""
        listening = [addresses[0], *(SideAddress(*one, i) for i, one in enumerate(addresses[1:], 1))]
        made = StunServer(Drops(), 0.0)
        made.set_addresses(listening, [])
        self.listening = {tuple(address): address for address in listening}
        self.servers |= {host: made for host, _ in addresses}

    # DiscoveryNode

    def send_plain(self, datagram: bytes, address: Address) -> None:
        plain, number = (address[0], address[1]), socket_number(address)
        self.sent[plain] += 1
        self.numbers.add(number)
        server, socket = self.servers.get(plain[0]), self.listening.get(plain)
        if server is None or socket is None:
            return
        seen = self.mapper(number, plain)
        source = SideAddress(*seen, socket_number(socket)) if socket_number(socket) else seen
        reply = server.answer(source, datagram, self.now)
        assert reply is not None
        by = next(one for one in self.listening.values() if socket_number(one) == socket_number(reply[1]))
        message = parse_stun(reply[0])
        raw = emit_answer(self.rewrite(message)) if isinstance(message, BindingAnswer) else reply[0]
        came_from = SideAddress(by[0], by[1], number) if number else (by[0], by[1])
        if self.filters and tuple(came_from) != plain:
            return
        self.replies.append((self.now + RTT, came_from, raw))

    def close_side_sockets(self, numbers: list[int]) -> None:
        self.closed += numbers
        if isinstance(self.mapper, Sequential):
            self.mapper.forget(numbers)

    def random_bytes(self, size: int) -> bytes:
        return next(self._counter).to_bytes(size, "big")

    def chance(self) -> float:
        return 0.5

    def nat_changed(self, now: float) -> None:
        self.changes += 1

    def tell(self, event: Event) -> None:
        self.told.append(event)

    def nat_sampled(self, now: float) -> None:
        self.samples += 1

    # Time

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            reply_at = min((at for at, _, _ in self.replies), default=float("inf"))
            self.now = min(max(self.now, min(reply_at, self.nat.next_at())), end)
            due = [one for one in self.replies if one[0] <= self.now]
            self.replies = [one for one in self.replies if one[0] > self.now]
            for _, source, datagram in due:
                self.nat.receive(source, datagram, self.now)
            if self.nat.next_at() <= self.now:
                self.nat.handle_timer(self.now)
            elif self.now == end and not due:
                return


FULL = ((ONE, 7777), (ONE, 7778), (TWO, 7777), (TWO, 7778))


def full(mapper: Mapper = endpoint_independent, policy: RelayPolicy = RelayPolicy.AUTO) -> Bench:
    bench = Bench(mapper, policy)
    bench.serve(*FULL)
    bench.nat.set_servers("hub", [(ONE, 7777)], bench.now)
    return bench


def test_a_survey_begins_when_there_is_somebody_to_ask() -> None:
    bench = full()
    bench.run(2)
    behaviour = bench.nat.behaviours[4]
    assert (behaviour.mapping, behaviour.filtering) == (
        Mapping.ENDPOINT_INDEPENDENT,
        Filtering.ENDPOINT_INDEPENDENT,
    )
    assert behaviour.reflexive_addresses() == [(OUTSIDE, PORT)]
    (server,) = behaviour.servers
    assert (server.name, server.other) == ("hub", (TWO, 7778))
    assert server.rtt == pytest.approx(RTT)
    assert bench.nat.report() == behaviour.report()
    assert 1 <= bench.changes <= 2


def test_a_class_is_told_once_when_the_survey_knows_it_and_again_when_it_is_another_one() -> None:
    bench = full()
    bench.run(0.05)
    assert not bench.told, "the survey is under way"
    bench.run(2 * SURVEY_EVERY_S)
    bench.mapper = Sequential()
    bench.nat.moved(bench.now)
    bench.run(2 * SURVEY_EVERY_S)
    classes = [(one.version, one.nat.mapping) for one in bench.told if isinstance(one, NatFound)]
    assert classes == [(4, Mapping.ENDPOINT_INDEPENDENT), (4, Mapping.ADDRESS_AND_PORT_DEPENDENT)]


def test_that_nobody_answers_is_no_class() -> None:
    bench = Bench()
    bench.listening = {}
    bench.nat.set_servers("hub", [(ONE, 7777)], bench.now)
    bench.run(2 * ASK_AGAIN_S)
    assert not bench.told


def test_it_waits_for_a_socket() -> None:
    bench = Bench()
    bench.local_ports, bench.local_hosts = {}, []
    bench.serve(*FULL)
    bench.nat.set_servers("hub", [(ONE, 7777)], bench.now)
    bench.run(20)
    assert not bench.sent
    bench.local_ports, bench.local_hosts = {4: PORT}, [OWN]
    bench.nat.moved(bench.now)
    bench.run(1)
    assert bench.nat.report().mapping == Mapping.ENDPOINT_INDEPENDENT


def test_where_the_relay_is_always_used_nobody_is_asked() -> None:
    bench = full(policy=RelayPolicy.ALWAYS)
    bench.run(2 * SURVEY_EVERY_S)
    assert not bench.sent
    assert bench.nat.next_at() == float("inf")


def test_an_address_of_our_own_is_no_nat() -> None:
    bench = full(lambda number, to: (OWN, PORT + number))
    bench.run(2)
    assert bench.nat.behaviours[4].mapping is Mapping.NONE
    assert bench.nat.behaviours[4].hairpin is None


def test_side_sockets_are_closed_when_the_survey_is_over() -> None:
    bench = full(Sequential())
    bench.run(12)
    used = bench.numbers - {0}
    assert len(used) == 9
    assert used <= set(bench.closed)
    assert not any(0 < number <= 256 for number in used)  # those of a birthday search


def test_a_survey_is_little_traffic_and_rare() -> None:
    bench = full(Sequential())
    bench.run(SURVEY_EVERY_S * 0.9)
    once = sum(bench.sent.values())
    assert once <= 40
    bench.run(SURVEY_EVERY_S * 0.2)
    assert once < sum(bench.sent.values()) <= 2 * once


def test_when_nobody_answers_it_is_tried_again_after_a_minute() -> None:
    bench = Bench()
    bench.listening = {}
    bench.nat.set_servers("hub", [(ONE, 7777)], bench.now)
    bench.run(ASK_AGAIN_S * 0.9)
    assert bench.sent == {(ONE, 7777): 7}
    behaviour = bench.nat.behaviours[4]
    assert (behaviour.answered, behaviour.mapping) == (False, Mapping.UNKNOWN)
    assert len(behaviour.servers) == 1
    assert behaviour.found_at is not None
    bench.serve(*FULL)
    bench.run(ASK_AGAIN_S * 0.3)
    assert bench.nat.behaviours[4].answered


def test_servers_that_are_found_later_are_asked_too() -> None:
    bench = Bench()
    bench.serve((ONE, 7777), (TWO, 7777))
    bench.nat.set_servers("one", [(ONE, 7777)], bench.now)
    bench.run(0.01)
    bench.nat.set_servers("two", [(TWO, 7777)], bench.now)
    bench.run(2)
    assert [server.name for server in bench.nat.behaviours[4].servers] == ["one", "two"]
    assert bench.nat.report().mapping == Mapping.ENDPOINT_INDEPENDENT


def test_the_same_addresses_in_another_order_are_no_news() -> None:
    bench = full()
    bench.nat.set_servers("hub", [(ONE, 7777), (TWO, 7777)], bench.now)
    bench.run(10)
    before = sum(bench.sent.values())
    bench.nat.set_servers("hub", [(TWO, 7777), (ONE, 7777)], bench.now)
    bench.run(10)
    assert sum(bench.sent.values()) == before


def test_a_move_brings_another_survey_and_the_old_class_holds_until_then() -> None:
    bench = full()
    bench.run(10)
    bench.mapper = Sequential()
    bench.nat.moved(bench.now)
    assert bench.nat.report().mapping == Mapping.ENDPOINT_INDEPENDENT
    assert bench.nat.more_addresses([]) == []  # but where we were seen we are not any more
    bench.run(1)
    assert bench.nat.report().mapping == Mapping.ADDRESS_AND_PORT_DEPENDENT


def test_after_a_move_to_where_nobody_answers_nothing_is_known() -> None:
    bench = full()
    bench.run(10)
    bench.servers.clear()
    bench.nat.moved(bench.now)
    bench.run(12)
    assert bench.nat.behaviours[4].mapping is Mapping.UNKNOWN
    assert bench.nat.behaviours[4].filtering is Filtering.UNKNOWN


def test_a_survey_that_finds_less_takes_nothing_away() -> None:
    bench = full()
    bench.run(10)
    bench.servers.clear()
    bench.run(2 * SURVEY_EVERY_S)
    assert bench.nat.behaviours[4].mapping is Mapping.ENDPOINT_INDEPENDENT
    assert not bench.nat.behaviours[4].answered


def test_however_often_we_move_surveys_are_apart() -> None:
    bench = full()
    for _ in range(100):
        bench.nat.moved(bench.now)
        bench.run(0.1)
    assert sum(bench.sent.values()) <= 40 * (10 / SURVEYS_APART_S + SURVEYS_BURST)


# Telling others.


def test_changes_are_told_and_the_last_port_alone_is_none() -> None:
    bench = full(Sequential())
    bench.run(10)
    told = bench.changes
    assert told <= 3
    last = bench.nat.report().last
    bench.run(SURVEY_EVERY_S * 1.1)
    assert bench.nat.report().last != last
    assert bench.changes == told


def test_a_sample_on_demand_is_the_newest_port() -> None:
    mapper = Sequential()
    bench = full(mapper)
    bench.run(10)
    assert bench.nat.behaviours[4].allocation.kind is AllocationKind.SEQUENTIAL
    for count in range(1, 20):  # the numbers of the sockets go around
        assert bench.nat.sample(bench.now)
        assert bench.nat.sample(bench.now)  # one is under way
        bench.run(0.2)
        assert (bench.samples, bench.nat.report().last) == (count, mapper.last)


def test_there_is_no_sample_of_a_nat_that_does_not_count() -> None:
    bench = full()
    bench.run(10)
    assert not bench.nat.sample(bench.now)


def test_of_a_destination_dependent_mapping_one_address_of_each_host_is_enough() -> None:
    bench = full(Sequential())
    bench.nat.set_servers("two", [(TWO, 7777)], bench.now)
    bench.run(10)
    assert len(bench.nat.behaviours[4].reflexive_addresses()) == 2
    assert bench.nat.more_addresses([]) == bench.nat.behaviours[4].reflexive_addresses()[:1]
    assert bench.nat.more_addresses([(OUTSIDE, 20001)]) == []


def test_addresses_that_nobody_may_send_to_are_not_passed_on() -> None:
    bench = full(lambda number, to: ("224.0.0.5", 5))
    bench.run(10)
    assert bench.nat.more_addresses([]) == []
    assert bench.nat.report().mapping == Mapping.UNKNOWN


# Servers that lie.


@pytest.mark.parametrize("other", [("224.0.0.1", 7778), ("127.0.0.1", 53), (OWN, PORT), ("0.0.0.0", 1), (TWO, 0)])
def test_what_may_not_be_sent_to_is_not_asked(other: Address) -> None:
    bench = full()
    bench.rewrite = lambda answer: BindingAnswer(answer.transaction, answer.mapped, answer.origin, other)
    bench.run(SURVEY_EVERY_S * 0.9)
    hosts = {host for host, _ in bench.sent}
    assert hosts <= {ONE, OUTSIDE}


def test_somebody_that_a_server_points_to_gets_few_datagrams() -> None:
    bench = full()
    bench.filters = True
    bench.rewrite = lambda answer: BindingAnswer(answer.transaction, answer.mapped, answer.origin, (THIRD, 53))
    bench.run(SURVEY_EVERY_S * 0.9)
    assert sum(count for (host, _), count in bench.sent.items() if host == THIRD) <= 14
    assert bench.nat.behaviours[4].filtering is Filtering.UNKNOWN  # for it does not answer plainly either


@pytest.mark.parametrize(
    ("server", "origin", "other", "found"),
    [
        ((ONE, 1), (ONE, 1), (TWO, 2), (TWO, 2)),
        ((ONE, 1), None, (TWO, 2), (TWO, 2)),
        ((ONE, 1), (ONE, 1), None, None),
        ((ONE, 1), (ONE, 1), (ONE, 1), None),
        ((ONE, 1), (ONE, 1), ("2001:db8::1", 2), None),
        ((ONE, 1), ("10.0.0.5", 1), ("10.0.0.5", 2), (ONE, 2)),  # behind a static NAT, its other port
        ((ONE, 1), ("10.0.0.5", 1), ("10.0.0.6", 2), None),
        (("10.0.0.5", 1), ("10.0.0.5", 1), ("10.0.0.6", 2), ("10.0.0.6", 2)),  # of our own LAN
    ],
)
def test_where_else_a_server_is(
    server: Address, origin: Address | None, other: Address | None, found: Address | None
) -> None:
    assert other_address(server, BindingAnswer(bytes(12), (OUTSIDE, 1), origin, other)) == found


# Strangers.


def test_what_nobody_asked_for_is_counted_and_changes_nothing() -> None:
    bench = full()
    bench.run(10)
    before = bench.nat.behaviours[4]
    bench.nat.receive((ONE, 7777), emit_answer(BindingAnswer(bytes(12), ("1.2.3.4", 5))), bench.now)
    bench.nat.receive((THIRD, 5), emit_request(BindingRequest(bytes(12))), bench.now)
    with pytest.raises(BadPacket):
        bench.nat.receive((THIRD, 5), b"\0\1\2", bench.now)
    assert bench.drops.as_dict() == {DropReason.UNASKED: 1, DropReason.UNKNOWN_TYPE: 1}
    assert bench.nat.behaviours[4] == before


def test_ipv6_is_looked_at_by_itself_and_reported_when_ipv4_is_silent() -> None:
    bench = Bench(lambda number, to: ("2001:db8:1::2", PORT + number))
    bench.local_hosts, bench.local_ports = [OWN, "2001:db8:1::2"], {4: PORT, 6: PORT}
    six = "2001:db8:7::1"
    bench.serve((six, 7777))
    bench.nat.set_servers("hub", [(ONE, 7777), (six, 7777)], bench.now)
    bench.run(12)
    assert (bench.nat.behaviours[6].mapping, bench.nat.behaviours[4].mapping) == (Mapping.NONE, Mapping.UNKNOWN)
    assert bench.nat.report().mapping == Mapping.NONE
    assert {ip_version(host) for host, _ in bench.sent} == {4, 6}
