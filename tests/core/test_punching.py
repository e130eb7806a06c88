"""Calls, rounds, openers and what sprays may go to: the rules, tried on edges that know each other."""

from __future__ import annotations

import pytest

from l2mesh.core.attempt import KEPT, Attempt, Result, peers_turn_s
from l2mesh.core.attempt_plan import Kind
from l2mesh.core.attempts import TRIES_MAX
from l2mesh.core.candidates import Origin, make_candidate
from l2mesh.core.edge import EdgeEngine
from l2mesh.core.peer import Peer
from l2mesh.core.punching import FORGIVE_AFTER_S, OPENERS_MAX, PLAIN_FIRST_S
from l2mesh.core.reach import RelayPolicy
from l2mesh.core.remote_edge import RemoteEdge
from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import Mesh
from l2mesh.simulator.nat import HOME, SYMMETRIC
from l2mesh.simulator.network import Fate
from l2mesh.wire.address import Address
from l2mesh.wire.control import UNKNOWN_NAT, Call, Candidate, NatReport, parse_control
from l2mesh.wire.plaintext import Kind as PlainKind

HOME_REPORT = NatReport(2, 3)
RANDOM_REPORT = NatReport(4, 3, 1024, 65535, last=3000)
COUNTING_REPORT = NatReport(4, 3, 1024, 65535, 1, 3000)


class Pair:
    """Edges a and b, relayed; and what a does to b from now on."""

    def __init__(self, *, relay: RelayPolicy = RelayPolicy.AUTO) -> None:
        mesh = self.mesh = Mesh(3, Link(delay=0.02))
        mesh.supernode("hub")
        for name in "ab":
            mesh.edge(name, mesh.world.site(nat=SYMMETRIC), relay=relay)
        mesh.world.run_until(mesh.all_up, within=5)
        mesh.world.run(8)
        self.node = mesh.edges["a"]
        self.engine: EdgeEngine = self.node.engine
        remote = mesh.remote("a", "b")
        assert remote is not None
        self.edge: RemoteEdge = remote
        self.openers: list[tuple[Address, int]] = []
        self.calls: list[Call] = []
        self.probed: list[Address] = []
        self._watch()

    @property
    def now(self) -> float:
        return self.mesh.world.now

    def _watch(self) -> None:
        engine, send = self.engine, self.engine.send
        send_opener = engine.send_opener

        def watched_opener(peer: Peer, address: Address, ttl: int, now: float, *, spray: bool = False) -> bool:
            self.openers.append((address, ttl))
            return send_opener(peer, address, ttl, now, spray=spray)

        def watched(peer, plaintexts, via, now):  # type: ignore[no-untyped-def]
            plaintexts = [bytes(plain) for plain in plaintexts]
            for plain in plaintexts if peer is self.edge else []:
                if plain[:1] == bytes((PlainKind.CONTROL,)):
                    message = parse_control(plain[1:])
                    if isinstance(message, Call):
                        self.calls.append(message)
                elif plain[:1] == bytes((PlainKind.PROBE,)) and not via[1]:
                    self.probed.append(via[0])
            return send(peer, plaintexts, via, now)

        engine.send_opener = watched_opener  # type: ignore[method-assign]
        engine.send = watched  # type: ignore[method-assign]

    def hear(
        self, *candidates: Candidate, nat: NatReport = UNKNOWN_NAT, number: int = 0, moved: bool = False
    ) -> None:
        """A call of b's comes in."""
        call = Call(candidates, answer=False, moved=moved, nat=nat, round=number)
        via = self.edge.via
        assert via is not None
        self.engine.care.called(self.edge, call, via, self.now)
        self.node.settle()

    def opened(self) -> list[tuple[Address, int]]:
        """Openers to where b is not."""
        site = self.mesh.edges["b"].host.network.site
        assert site is not None
        return [opener for opener in self.openers if opener[0][0] != site.address]

    def run(self, seconds: float) -> None:
        self.mesh.world.run(seconds)


@pytest.fixture
def pair() -> Pair:
    return Pair()


def outside(number: int) -> Candidate:
    return make_candidate((f"5.77.0.{number}", 4000), Origin.SERVER_REFLEXIVE)


# ---- openers


def test_who_is_called_opens_and_probes_at_once(pair: Pair) -> None:
    pair.hear(outside(1), number=2)
    assert (("5.77.0.1", 4000), 2) in pair.openers
    pair.run(0.001)
    assert ("5.77.0.1", 4000) in pair.probed


def test_who_calls_opens_at_once_and_probes_when_the_peer_must_have_opened(pair: Pair) -> None:
    pair.hear(outside(1))
    pair.run(9)
    pair.openers.clear()
    pair.probed.clear()
    pair.engine.punching.changed(pair.edge, pair.now)
    pair.node.settle()
    pair.run(0.001)
    assert (("5.77.0.1", 4000), 2) in pair.openers
    assert [call.round for call in pair.calls][-1] == 0
    assert ("5.77.0.1", 4000) not in pair.probed
    turn_s = peers_turn_s(pair.edge)
    assert 0.05 < turn_s < 0.12
    pair.run(turn_s)
    assert ("5.77.0.1", 4000) in pair.probed


def test_calls_that_meet_end_nobodys_wait_for_the_others_opener(pair: Pair) -> None:
    """The peer's call may have left before it knew where we are."""
    pair.hear(outside(1))
    pair.run(9)
    pair.probed.clear()
    pair.engine.punching.changed(pair.edge, pair.now)
    pair.node.settle()
    pair.run(0.001)
    pair.hear(outside(1), outside(2), number=0)
    pair.run(0.07)
    assert not {("5.77.0.1", 4000), ("5.77.0.2", 4000)} & set(pair.probed)
    pair.run(0.03)
    assert {("5.77.0.1", 4000), ("5.77.0.2", 4000)} <= set(pair.probed)


def test_no_opener_goes_to_a_lan_to_ipv6_or_to_our_own_router(pair: Pair) -> None:
    [own, *_] = pair.engine.observed_addresses()
    pair.hear(
        make_candidate(("192.168.7.7", 4000), Origin.HOST),
        make_candidate(("2a02:7::7", 4000), Origin.HOST),
        make_candidate((own[0], 4000), Origin.SERVER_REFLEXIVE),
        outside(1),
    )
    assert pair.opened() == [(("5.77.0.1", 4000), 2)]


def test_two_nats_are_opened_further(pair: Pair) -> None:
    pair.engine.set_two_nats(hint=True)
    pair.hear(outside(1))
    assert pair.opened() == [(("5.77.0.1", 4000), 3)]


def test_a_host_in_a_carriers_network_has_two_nats_maybe(pair: Pair) -> None:
    pair.engine.local_hosts = ["100.64.3.4"]
    pair.hear(outside(1))
    assert pair.opened() == [(("5.77.0.1", 4000), 3)]


def test_who_has_no_nat_opens_nothing() -> None:
    mesh = Mesh(1)
    mesh.supernode("hub")
    mesh.edge("a", mesh.world.site(nat=None, firewall=None))
    mesh.edge("b", mesh.world.site(nat=HOME))
    address = mesh.edges["a"].host.addresses[0]
    openers: list[object] = []

    def tap(at: float, came: Address, to: Address, data: bytes, fate: Fate) -> None:
        if came[0] == address and fate is Fate.TTL_EXPIRED:
            openers.append(to)

    mesh.world.internet.taps.append(tap)
    mesh.world.run_until(mesh.all_direct, within=3)
    mesh.world.run(5)
    assert not openers


def test_openers_of_a_round_are_bounded(pair: Pair) -> None:
    for number in range(60):
        pair.edge.paths.add_direct((f"5.78.0.{number}", 1), Origin.PEER_REFLEXIVE, pair.now)
    pair.hear(number=2)
    assert 0 < len(pair.openers) <= OPENERS_MAX


# ---- calls and rounds


def test_the_higher_round_is_taken_over_and_something_new_is_round_zero(pair: Pair) -> None:
    punch = pair.edge.punch
    pair.hear(number=6)
    assert punch.round == 6
    begun_at = punch.begun_at
    pair.run(0.2)
    pair.hear(number=6)
    assert punch.begun_at == begun_at, "the calls met"
    pair.hear(number=0)
    assert (punch.round, punch.begun_at) == (0, pair.now)
    pair.hear(number=4)
    pair.hear(number=4, moved=True)
    assert punch.begun_at == pair.now


def test_calls_without_end_do_not_make_us_check_without_end(pair: Pair) -> None:
    pair.hear(outside(1))
    pair.probed.clear()
    for turn in range(200):
        pair.hear(outside(1), number=2 * turn)
        pair.run(0.01)
    assert pair.probed.count(("5.77.0.1", 4000)) < 30


def test_an_odd_round_from_a_peer_that_we_can_do_nothing_with_changes_nothing(pair: Pair) -> None:
    before = pair.edge.punch.round
    pair.hear(number=5)
    pair.run(1)
    assert pair.edge.punch.round == before
    assert not pair.edge.punch.attempts or pair.edge.punch.attempts[-1].kind is Kind.PLAIN


def test_plain_checks_are_remembered_and_how_they_ended(pair: Pair) -> None:
    pair.hear(outside(1), number=2)
    pair.run(PLAIN_FIRST_S)
    last = pair.edge.punch.attempts[-1]
    assert (last.kind, last.round, last.result) == (Kind.PLAIN, 2, Result.UNDER_WAY)
    pair.run(10)
    assert last.result is Result.NO_ANSWER
    assert last.openers >= 1
    assert last.probes >= 8


def test_of_attempts_the_last_ones_are_kept(pair: Pair) -> None:
    for turn in range(2 * KEPT):
        pair.hear(number=2 * turn)
        pair.run(2)
    assert len(pair.edge.punch.attempts) == KEPT
    assert [attempt.round for attempt in pair.edge.punch.attempts][-1] == 2 * (2 * KEPT - 1)


def test_mapped_addresses_become_candidates_and_peers_are_told(pair: Pair) -> None:
    mapped: Address = ("5.5.5.5", 7000)
    pair.engine.set_mapped([mapped, ("224.0.0.1", 7000)], pair.now)
    pair.node.settle()
    pair.run(0.01)
    assert make_candidate(mapped, Origin.MAPPED) in pair.calls[-1].candidates
    assert len([one for one in pair.calls[-1].candidates if one.origin == Origin.MAPPED]) == 1
    told = len(pair.calls)
    pair.engine.set_mapped([mapped], pair.now)
    pair.run(0.01)
    assert len(pair.calls) == told
    other = pair.mesh.remote("b", "a")
    assert other is not None
    pair.run(1)
    assert (mapped, b"") in other.paths.by_via


def test_with_relay_always_nobody_is_called() -> None:
    pair = Pair(relay=RelayPolicy.ALWAYS)
    pair.hear(outside(1), nat=HOME_REPORT, number=2)
    pair.hear(outside(1), nat=HOME_REPORT, number=3)
    pair.run(100)
    assert not pair.calls
    assert not pair.openers
    assert not pair.probed


# ---- what sprays may go to


TARGETS: list[tuple[str, bool]] = [
    ("5.77.0.9", True),
    ("198.18.5.5", True),
    ("10.1.2.3", False),
    ("172.20.0.1", False),
    ("192.168.1.1", False),
    ("127.0.0.1", False),
    ("169.254.3.3", False),
    ("224.0.0.1", False),
    ("239.1.1.1", False),
    ("255.255.255.255", False),
    ("0.0.0.0", False),
    ("2a02:7::7", False),
    ("198.51.100.9", False),
]


@pytest.mark.parametrize(("host", "allowed"), TARGETS)
def test_sprays_go_to_outside_ipv4_addresses_only(pair: Pair, host: str, allowed: bool) -> None:
    """The last of the table lies on the overlay."""
    pair.engine.set_overlay(["198.51.100.0/24"])
    [link] = pair.engine.rendezvous.links
    pair.edge.punch.observed = {link: (host, 4000)}
    assert pair.engine.punching.attempts.target_of(pair.edge) == ((host, 4000) if allowed else None)


def test_sprays_do_not_go_to_where_we_are_ourselves(pair: Pair) -> None:
    [link] = pair.engine.rendezvous.links
    target_of = pair.engine.punching.attempts.target_of
    [own, *_] = pair.engine.observed_addresses()
    for host in (own[0], *pair.engine.local_hosts):
        pair.edge.punch.observed = {link: (host, 4000)}
        assert target_of(pair.edge) is None
    pair.edge.punch.observed = {}
    pair.edge.candidates = (outside(1),)
    assert target_of(pair.edge) is None, "only a supernode's word counts"


def test_the_port_is_the_one_that_the_peer_tells_itself(pair: Pair) -> None:
    [link] = pair.engine.rendezvous.links
    pair.edge.punch.observed = {link: ("5.77.0.1", 1)}
    pair.edge.candidates = (outside(2), outside(1))
    assert pair.engine.punching.attempts.target_of(pair.edge) == ("5.77.0.1", 4000)


# ---- attempts by class


def ready(pair: Pair, ours: NatReport, theirs: NatReport) -> None:
    """Such classes, and an address for sprays."""
    [link] = pair.engine.rendezvous.links
    pair.edge.punch.observed = {link: ("5.77.0.1", 4000)}
    pair.edge.punch.nat = theirs
    pair.engine.nat_report = lambda: ours  # type: ignore[method-assign]
    pair.engine.sample_nat = lambda now: False  # type: ignore[method-assign]


def test_an_attempt_waits_for_the_peer_and_goes_without_it_only_so_far(pair: Pair) -> None:
    ready(pair, HOME_REPORT, RANDOM_REPORT)
    pair.engine.punching.nat_changed([pair.edge], pair.now)
    pair.node.settle()
    pair.run(5)
    odd = [call for call in pair.calls if call.round % 2]
    assert 5 <= len(odd) <= 8
    assert {call.nat for call in odd} == {HOME_REPORT}
    [attempt] = [one for one in pair.edge.punch.attempts if one.kind is Kind.BIRTHDAY]
    assert (attempt.result, attempt.probes) == (Result.NOT_TAKEN_UP, 0)
    assert not pair.edge.punch.tries


def test_a_call_to_an_attempt_is_answered_with_one(pair: Pair) -> None:
    ready(pair, HOME_REPORT, RANDOM_REPORT)
    pair.hear(nat=RANDOM_REPORT, number=7)
    assert [call.round for call in pair.calls if call.round % 2] == [7]
    pair.run(3)
    attempt = pair.edge.punch.attempts[-1]
    assert (attempt.kind, attempt.round) == (Kind.BIRTHDAY, 7)
    assert 100 < attempt.probes < 500
    pair.hear(nat=RANDOM_REPORT, number=7)
    assert [call.round for call in pair.calls if call.round % 2] == [7, 7], "it did not hear us"


def test_who_knows_its_class_only_from_a_call_joins_in(pair: Pair) -> None:
    ready(pair, HOME_REPORT, UNKNOWN_NAT)
    pair.hear(nat=COUNTING_REPORT, number=1)
    pair.run(2)
    probed = {address[1] for address in pair.probed if address[0] == "5.77.0.1"}
    assert probed == set(range(3001, 3009))
    assert pair.edge.punch.attempts[-1].probes == 32


def test_what_a_peer_says_of_itself_gives_it_new_attempts_once_in_a_while_only(pair: Pair) -> None:
    ready(pair, HOME_REPORT, RANDOM_REPORT)
    begun = 0
    for turn in range(20):
        nat = RANDOM_REPORT if turn % 2 else NatReport(4, 2, 1024, 65535, last=4)
        pair.hear(nat=nat, number=2 * turn + 1)
        begun += pair.edge.punch.running is not None
        pair.run(30)
    assert begun <= 3
    pair.run(FORGIVE_AFTER_S)
    pair.hear(nat=HOME_REPORT, number=0)
    assert not pair.edge.punch.tries


@pytest.mark.parametrize("kind", [Kind.BIRTHDAY, Kind.BLOCKS, Kind.PREDICTION])
def test_who_has_met_before_gets_one_more_attempt_now_and_then_however_often_it_calls(
    pair: Pair, kind: Kind
) -> None:
    punch, attempts = pair.edge.punch, pair.engine.punching.attempts
    start = pair.now
    for has_met, expected in ((False, []), (True, [0, 54, 162, 378, 810, 1350, 1890, 2430, 2970, 3510])):
        punch.has_met = has_met
        renewed: list[int] = []
        for second in range(3600):
            punch.tries = {kind: TRIES_MAX[kind]}
            attempts.renew(pair.edge, start + second)
            if punch.tries[kind] < TRIES_MAX[kind]:
                assert punch.tries[kind] == TRIES_MAX[kind] - 1
                renewed.append(second)
        assert renewed == expected


def test_an_attempt_that_ended_stays_as_it_ended() -> None:
    attempt = Attempt(Kind.BLOCKS, 3, 10.0)
    attempt.end(Result.NO_ANSWER, 12.0)
    attempt.end(Result.DIRECT, 13.0)
    assert (attempt.result, attempt.ended_at) == (Result.NO_ANSWER, 12.0)
