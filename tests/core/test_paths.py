"""The paths to one peer: the schedule of checks, choice, doubt, failure, hints, bounds. In virtual time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

import pytest

from l2mesh.core.candidates import Origin
from l2mesh.core.path import DEAF_FOR_S, Path, PathClass
from l2mesh.core.path_size import BASE_SIZE, SIZES, TRIES
from l2mesh.core.path_trust import FAIL_AFTER_S
from l2mesh.core.paths import (
    CHANGES_KEPT,
    CHECK_AT_S,
    FRESH_S,
    PATHS_MAX,
    PROBE_ACTIVE_S,
    PROBE_IDLE_JITTER_S,
    PROBE_IDLE_S,
    RECHECK_AFTER_REST_S,
    RECHECK_AFTER_S,
    TRIGGER_AFTER_S,
    TRIGGERS_IN_A_ROW,
    Paths,
    Probe,
)
from l2mesh.core.peer import Via
from l2mesh.core.silence import NEVER, SILENCE_S
from l2mesh.wire.outer import DATA_OVERHEAD, relay_header
from l2mesh.wire.probe import PROBE_SIZE_MIN

RELAY: Via = (("5.0.0.1", 7777), relay_header(b"channel8"))
OTHER_RELAY: Via = (("5.0.0.9", 7777), relay_header(b"channel9"))
LAN: Via = (("192.168.1.2", 4000), b"")
IPV4: Via = (("5.0.0.2", 4000), b"")
MOVED: Via = (("5.0.0.2", 4999), b"")
IPV6: Via = (("2a02::2", 4000), b"")
SMALL = PROBE_SIZE_MIN + DATA_OVERHEAD
RTT = 0.02


class Bench:
    """Paths with a clock, answers by rule, and frames when a test says so."""

    def __init__(self, *vias: Via) -> None:
        self.paths = Paths()
        self.now = 0.0
        self.sent: list[tuple[float, Via, int]] = []
        self.answers: Callable[[Via, int], bool] = lambda via, size: True
        self.rtt = RTT
        self.sent_bytes = 0
        self.selections: list[tuple[float, Via | None]] = []
        self.doubts: list[tuple[float, Via | None]] = []
        self._random = Random(1)
        self._replies: list[tuple[float, int, Via, bytes]] = []
        for via in vias:
            self.paths.check(self.add(via), 0.0)

    def add(self, via: Via) -> Path:
        paths = self.paths
        made = paths.add_relay(via, self.now) if via[1] else paths.add_direct(via[0], Origin.HOST, self.now)
        assert made is not None
        return made

    def at(self, via: Via) -> Path:
        return self.paths.by_via[via]

    @property
    def selected(self) -> Via | None:
        return self.paths.selected.via if self.paths.selected else None

    @property
    def beside(self) -> Via | None:
        return self.paths.beside.via if self.paths.beside else None

    def ways(self) -> tuple[Via | None, Via | None]:
        """The selected path and the one beside it."""
        return self.selected, self.beside

    def run(self, until: float) -> None:
        while True:
            at = max(self.now, min(self.paths.next_at(), self._replies[0][0] if self._replies else NEVER))
            if at > until:
                self.now = until
                return
            self.now = at
            if self._replies and self._replies[0][0] <= at:
                _, _, via, transaction = heappop(self._replies)
                self.hear(via)
                self.paths.replied(via, transaction, at)
            else:
                self._turn()
            self.choose()

    def _turn(self) -> None:
        for probe in self.paths.due(self.now, self.sent_bytes):
            transaction = self._random.randbytes(8)
            via = probe.path.via
            self.sent.append((self.now, via, probe.datagram))
            self.paths.probed(probe, transaction, self.now)
            if self.answers(via, probe.datagram):
                heappush(self._replies, (self.now + self.rtt, len(self.sent), via, transaction))

    def choose(self) -> None:
        if self.paths.choose(self.now):
            self.selections.append((self.now, self.selected))
        if self.beside != (self.doubts[-1][1] if self.doubts else None):
            self.doubts.append((self.now, self.beside))

    def hear(self, via: Via) -> None:
        """A genuine datagram comes."""
        if self.paths.heard(via, self.now):
            return
        path = self.paths.by_via.get(via)
        known = path is not None
        self.paths.heard_aside(path or self.add(via), self.now, is_new=not known)

    def send(self, size: int = 100) -> None:
        """Frames go out."""
        self.sent_bytes += size
        self.paths.active(self.now)

    def talk(self, until: float, every: float = 0.05, size: int = 100, *, hears: Via | None = None) -> None:
        """Frames go out all the time, and the answers, if any, come on one path."""
        while self.now < until:
            self.send(size)
            self.run(min(until, self.now + every))
            if hears is not None:
                self.hear(hears)

    def times(self, via: Via, size: int | None = None) -> list[float]:
        return [round(at, 6) for at, to, sent in self.sent if to == via and (size is None or sent == size)]


def only(*vias: Via) -> Callable[[Via, int], bool]:
    return lambda via, size: via in vias


# Checks.


def test_an_unanswered_path_is_checked_on_schedule_and_then_left_alone() -> None:
    bench = Bench(IPV4)
    bench.answers = only()
    bench.run(1000.0)
    assert bench.times(IPV4) == list(CHECK_AT_S)
    assert bench.selected is None


def test_an_answered_path_is_selected_and_its_checks_end() -> None:
    bench = Bench(IPV4)
    bench.run(0.03)
    assert bench.selected == IPV4
    assert bench.at(IPV4).rtt == pytest.approx(RTT)
    bench.run(10.0)
    assert bench.times(IPV4, SMALL) == [0.0]


def test_checks_that_run_are_not_begun_again() -> None:
    bench = Bench(IPV4)
    bench.answers = only()
    bench.run(0.2)
    bench.paths.check(bench.at(IPV4), 0.2)
    bench.run(1000.0)
    assert bench.times(IPV4) == list(CHECK_AT_S)


def test_while_relayed_all_are_tried_again_more_and_more_rarely() -> None:
    bench = Bench(RELAY, IPV4)
    bench.answers = only(RELAY)
    bench.run(3000.0)
    rounds = [at for at in bench.times(IPV4) if at > 10]
    starts = [at for at, before in zip(rounds, [0.0, *rounds], strict=False) if at - before > 10]
    gaps = [b - a for a, b in itertools.pairwise(starts)]
    assert starts[0] == pytest.approx(RECHECK_AFTER_S[0], abs=0.1)
    assert gaps[:5] == pytest.approx(RECHECK_AFTER_S[1:], abs=0.1)
    assert gaps[5:] == pytest.approx([RECHECK_AFTER_S[-1]] * len(gaps[5:]), abs=0.1)


def test_the_first_frames_after_a_rest_make_a_relayed_pair_try_again() -> None:
    bench = Bench(RELAY, IPV4)
    bench.answers = only(RELAY)
    bench.talk(30.0, every=1.0, hears=RELAY)
    bench.run(400.0)
    before = len(bench.times(IPV4))
    bench.send()
    bench.run(401.0)
    assert len(bench.times(IPV4)) - before == len([at for at in CHECK_AT_S if at < 1])
    before = len(bench.times(IPV4))
    bench.run(401.0 + RECHECK_AFTER_REST_S - 2)
    bench.send()  # not so often, however often there is a rest
    checked = len(bench.times(IPV4))
    assert checked - before == len([at for at in CHECK_AT_S if at >= 1])
    bench.run(bench.now + 0.5)
    assert len(bench.times(IPV4)) == checked


# Choice.


def test_suspicion_takes_the_validity_of_direct_paths_and_leaves_the_relays() -> None:
    bench = Bench(RELAY, IPV4)
    bench.run(30.0)
    bench.paths.suspect(30.0)
    bench.choose()
    assert bench.selected == RELAY
    bench.run(31.0)
    assert bench.selected == IPV4
    assert [change.reason for change in bench.paths.changes][-2:] == [
        "addresses or routes changed",
        "it is of a better class",
    ]


def test_the_classes_in_their_order() -> None:
    bench = Bench()
    order = [LAN, IPV6, IPV4, OTHER_RELAY, RELAY]
    for via in reversed(order):
        path = bench.add(via)
        if via == OTHER_RELAY:
            path.path_class = PathClass.MEMBER_RELAY
        bench.paths.check(path, bench.now)
        bench.run(bench.now + 1)
        assert bench.selected == via
    for via in order:
        assert bench.selected == via
        bench.paths.fail(via, "a test", bench.now)
        bench.choose()
        if not via[1]:
            bench.answers = lambda to, size, via=via: order.index(to) > order.index(via)  # type: ignore[misc]
    assert bench.selected is None


def test_of_two_relays_the_nearer_is_used_and_the_other_takes_over() -> None:
    bench = Bench(RELAY)
    bench.rtt = 0.1
    bench.run(1.0)
    bench.rtt = 0.02
    bench.paths.check(bench.add(OTHER_RELAY), 1.0)
    bench.run(2.0)
    assert bench.selected == OTHER_RELAY
    bench.paths.fail(OTHER_RELAY, "its supernode is lost", 2.0)
    bench.choose()
    assert bench.selected == RELAY
    assert bench.paths.changes[-1].reason == "its supernode is lost"


def test_the_old_path_is_left_only_when_the_new_one_carried_a_round_trip() -> None:
    bench = Bench(RELAY)
    bench.run(10.0)
    bench.answers = only(RELAY)
    bench.paths.check(bench.add(IPV4), 10.0)
    bench.run(20.0)
    assert bench.selected == RELAY
    assert bench.selections == [(RTT, RELAY)]


def test_a_direct_path_that_was_not_used_for_long_is_not_used_on_doubt() -> None:
    bench = Bench(RELAY, IPV4, LAN)
    bench.run(FRESH_S + 1)
    assert bench.selected == LAN
    bench.paths.fail(LAN, "a test", bench.now)
    bench.answers = only(RELAY)
    bench.choose()
    assert bench.selected == RELAY


def test_a_reply_counts_only_on_the_path_its_probe_went() -> None:
    paths = Paths()
    one, other = paths.add_direct(IPV4[0], Origin.HOST, 0.0), paths.add_direct(LAN[0], Origin.HOST, 0.0)
    assert one
    assert other
    paths.probed(Probe(one, PROBE_SIZE_MIN, True), b"12345678", 0.0)
    assert not paths.replied(LAN, b"12345678", 0.1)
    assert not paths.replied(IPV6, b"12345678", 0.1)
    assert not paths.replied(IPV4, b"87654321", 0.1)
    assert paths.replied(IPV4, b"12345678", 0.1)
    assert not paths.replied(IPV4, b"12345678", 0.2)


def test_changes_are_kept_with_their_reasons_and_are_bounded() -> None:
    bench = Bench(RELAY, IPV4)
    for start in range(0, 500, 10):
        bench.run(start + 5.0)
        bench.paths.suspect(bench.now)
        bench.choose()
    bench.run(bench.now + 5)
    changes = bench.paths.changes
    assert len(changes) == CHANGES_KEPT
    assert (changes[-1].old, changes[-1].new) == ("relay 5.0.0.1:7777", "direct 5.0.0.2:4000")
    assert all(one.at < other.at for one, other in itertools.pairwise(changes))
    assert bench.at(IPV4).selected_since == changes[-1].at
    assert bench.at(RELAY).selected_since is None


# Keeping.


def test_the_selected_path_is_probed_slowly_when_idle_and_faster_under_traffic() -> None:
    bench = Bench(IPV4)
    bench.run(400.0)
    idle = [at for at in bench.times(IPV4) if at > 1]
    gaps = [b - a - RTT for a, b in itertools.pairwise(idle)]
    assert all(PROBE_IDLE_S <= gap <= PROBE_IDLE_S + PROBE_IDLE_JITTER_S for gap in gaps), gaps
    assert max(gaps) - min(gaps) > 1, "jitter"
    bench.sent.clear()
    bench.talk(420.0, hears=IPV4)
    active = [b - a for a, b in itertools.pairwise(bench.times(IPV4))]
    assert active[1:] == pytest.approx([PROBE_ACTIVE_S + RTT] * len(active[1:]), abs=0.01)
    assert len(active) >= 5


def test_only_a_path_that_nobody_relies_on_is_not_probed() -> None:
    bench = Bench(RELAY, IPV4)
    bench.run(200.0)
    assert bench.selected == IPV4
    assert max(bench.times(RELAY)) < 20


def test_frames_without_an_answer_are_followed_by_one_probe() -> None:
    bench = Bench(IPV4)
    bench.run(30.0)
    bench.sent.clear()
    for _ in range(10):
        bench.send()
    bench.run(31.5)
    assert bench.times(IPV4) == [pytest.approx(30.0 + SILENCE_S, abs=0.01)]


def test_frames_that_expect_no_answer_are_not() -> None:
    bench = Bench(IPV4)
    bench.run(30.0)
    bench.sent.clear()
    bench.paths.active(30.0, answer=False)
    bench.run(30.9)
    assert bench.times(IPV4) == []


def test_frames_with_answers_are_not() -> None:
    bench = Bench(IPV4)
    bench.talk(60.0, hears=IPV4)
    assert len(bench.sent) < 60 / PROBE_ACTIVE_S + 5


# Doubt and failure.


@pytest.mark.parametrize(("keep_held", "begins_at"), [(True, 1.5), (False, 1.0)])
def test_a_call_that_met_ours_does_not_end_the_wait_for_the_peers_opener(
    keep_held: bool, begins_at: float
) -> None:
    bench = Bench(RELAY)
    bench.run(1.0)
    bench.answers = only()
    bench.paths.hold(bench.add(IPV4), 1.5, 1.0)
    bench.paths.check_all(1.0, keep_held=keep_held)
    bench.run(1.9)
    assert bench.times(IPV4) == pytest.approx([begins_at + at for at in CHECK_AT_S if begins_at + at < 1.9])


def test_an_answer_by_the_relay_to_what_followed_the_call_ends_the_wait() -> None:
    """The peer has the call then, and its opener is on its way."""
    bench = Bench(RELAY)
    bench.run(1.0)
    bench.paths.check(bench.at(RELAY), 1.0)
    bench.run(1.01)
    bench.paths.hold(bench.add(IPV4), 1.5, 1.01)
    bench.run(1.2)
    assert bench.times(IPV4) == [], "that question left before"
    bench.paths.check(bench.at(RELAY), 1.2)
    bench.run(1.3)
    assert bench.times(IPV4)[0] == pytest.approx(1.2 + RTT)


def test_a_path_that_dies_under_traffic_has_the_relay_beside_it_before_tcp_tries_twice() -> None:
    bench = Bench(RELAY, IPV4)
    bench.talk(30.0, hears=IPV4)
    bench.answers = only(RELAY)
    bench.talk(40.0)
    (doubted_at, beside), (failed_at, nothing) = bench.doubts
    assert (beside, nothing) == (RELAY, None)
    assert 30.3 < doubted_at < 30.6
    assert FAIL_AFTER_S < failed_at - 30 < 4.5
    assert bench.selected == RELAY
    assert bench.at(IPV4).valid_at is None
    assert bench.paths.changes[-1].reason.startswith("no answer to ")


def test_beside_a_direct_path_in_doubt_goes_the_relay_not_a_second_one_that_may_have_died_with_it() -> None:
    bench = Bench(RELAY, IPV4, MOVED)
    bench.talk(10.0, hears=IPV4)
    assert bench.selected == IPV4
    assert bench.at(MOVED).valid_at is not None
    bench.answers = only(RELAY)
    bench.talk(11.0)
    assert bench.ways() == (IPV4, RELAY)


def test_without_a_relay_a_second_direct_path_goes_beside_the_first() -> None:
    bench = Bench(IPV4, MOVED)
    bench.talk(10.0, hears=IPV4)
    bench.answers = only()
    bench.talk(11.0)
    assert bench.ways() == (IPV4, MOVED)


def test_an_idle_path_that_dies_fails_soon_after_the_probe_that_finds_it_out() -> None:
    bench = Bench(RELAY, IPV4)
    bench.run(30.0)
    bench.answers = only(RELAY)
    lost_at = bench.paths.next_at()
    bench.run(lost_at + 0.15)
    assert bench.beside is None
    bench.run(lost_at + 0.35)
    assert bench.ways() == (IPV4, RELAY)
    bench.run(lost_at + FAIL_AFTER_S - 0.1)
    assert bench.selected == IPV4
    bench.run(lost_at + FAIL_AFTER_S + 1.1)
    assert bench.ways() == (RELAY, None)


@pytest.mark.parametrize("lost", [1, 2, 3, 4])
def test_some_lost_probes_fail_no_path(lost: int) -> None:
    bench = Bench(RELAY, IPV4)
    bench.run(30.0)
    left = [lost]

    def answers(via: Via, size: int) -> bool:
        left[0] -= 1
        return left[0] < 0

    bench.answers = answers
    bench.run(100.0)
    assert bench.selections[-1][1] == IPV4
    assert bench.at(IPV4).unanswered == 0
    assert bench.beside is None
    assert len(bench.doubts) == (2 if lost > 1 else 0)


def test_the_relay_may_be_in_doubt_and_another_relay_beside_it() -> None:
    bench = Bench(RELAY, OTHER_RELAY)
    bench.talk(30.0, hears=RELAY)
    assert bench.selected == RELAY
    bench.answers = only(OTHER_RELAY)
    bench.talk(30.6)
    assert bench.ways() == (RELAY, OTHER_RELAY)
    bench.talk(36.0)
    assert bench.selected == OTHER_RELAY


def test_what_is_heard_says_little_of_the_other_direction() -> None:
    """Doubt comes later, and it takes ten probes to fail the path."""
    bench = Bench(RELAY, IPV4)
    bench.talk(30.0, hears=IPV4)
    bench.answers = only(RELAY)
    asked_at = bench.paths.next_at()
    while bench.selected == IPV4:
        bench.talk(bench.now + 0.05, hears=IPV4)
    doubted_at = bench.doubts[0][0]
    probes = {at for at in bench.times(IPV4) if at >= asked_at - 0.1}
    assert len([at for at in probes if at < doubted_at]) == 4
    assert 6 < bench.now - asked_at < 7.6
    assert bench.selected == RELAY


def test_a_long_round_trip_is_no_doubt() -> None:
    bench = Bench(RELAY, IPV4)
    bench.rtt = 0.9
    bench.run(10.0)
    bench.doubts.clear()
    bench.talk(60.0, every=0.2)
    assert bench.selected == IPV4
    assert bench.doubts == []


@pytest.mark.parametrize("loss", [0.05, 0.2])
def test_a_lossy_path_is_kept(loss: float) -> None:
    """`loss` each way, in an hour half idle and half not."""
    bench = Bench(RELAY, IPV4)
    random = Random(3)
    bench.answers = lambda via, size: via is RELAY or random.random() < (1 - loss) ** 2
    bench.run(10.0)
    for start in range(10, 3600, 60):
        bench.run(start + 30.0)
        bench.talk(start + 60.0, every=0.1, size=1000, hears=IPV4 if random.random() > loss else None)
        assert bench.at(IPV4).size >= BASE_SIZE
    assert [via for _, via in bench.selections if via is RELAY][1:] == []
    assert bench.at(IPV4).size in SIZES[4][:3]


# Errors.


def test_a_path_that_our_own_host_refuses_is_left_at_once_and_not_tried_again_soon() -> None:
    bench = Bench(RELAY, IPV4)
    bench.run(30.0)
    bench.sent.clear()
    bench.paths.refuse(IPV4, "network unreachable", 30.0)
    bench.choose()
    assert bench.selected == RELAY
    assert bench.paths.changes[-1].reason == "network unreachable"
    bench.answers = only(RELAY)
    bench.run(30.0 + RECHECK_AFTER_S[0] - 1)
    assert bench.times(IPV4) == []
    bench.paths.check_all(bench.now)
    bench.run(bench.now + 1)
    assert bench.times(IPV4)


def test_an_icmp_error_raises_doubt_at_once_and_silence_fails_the_path_within_a_second() -> None:
    bench = Bench(RELAY, IPV4)
    bench.run(30.0)
    bench.answers = only(RELAY)
    bench.paths.accuse(IPV4, "host unreachable", 30.0)
    bench.choose()
    assert bench.ways() == (IPV4, RELAY)
    bench.run(31.3)
    assert bench.selected == RELAY
    assert "host unreachable" in bench.paths.changes[-1].reason
    assert 0.9 <= bench.selections[-1][0] - 30 <= 1.1


def test_icmp_errors_that_are_forged_change_nothing() -> None:
    bench = Bench(RELAY, IPV4)
    bench.run(30.0)
    bench.sent.clear()
    for tick in range(1000):
        bench.paths.accuse(IPV4, "host unreachable", bench.now)
        bench.choose()
        bench.talk(30 + (tick + 1) / 10, hears=IPV4)
    assert bench.selections[-1][1] == IPV4
    beside = sum(b - a for (a, via), (b, _) in itertools.pairwise(bench.doubts) if via is not None)
    assert beside <= 100 / DEAF_FOR_S * (RTT + 0.001) + 0.1
    assert len(bench.sent) <= 100 / PROBE_ACTIVE_S + 100 / DEAF_FOR_S + 2


def test_errors_of_paths_that_are_not_selected_are_only_noted() -> None:
    bench = Bench(RELAY, IPV4)
    bench.run(30.0)
    bench.paths.accuse(RELAY, "host unreachable", 30.0)
    bench.paths.accuse(LAN, "host unreachable", 30.0)
    bench.choose()
    assert bench.ways() == (IPV4, None)
    assert bench.at(RELAY).last_error == "host unreachable"


# Hints.


def test_a_peer_that_comes_from_another_port_is_followed_within_a_round_trip() -> None:
    bench = Bench(RELAY, IPV4)
    bench.talk(30.0, hears=IPV4)
    bench.answers = only(RELAY, MOVED)
    bench.run(30.01)
    bench.hear(MOVED)
    bench.choose()
    assert bench.ways() == (IPV4, RELAY)
    bench.run(30.01 + 1.1 * RTT)
    assert bench.ways() == (MOVED, None)
    assert bench.paths.changes[-1].reason == "the peer went there"


def test_a_datagram_that_was_sent_on_from_elsewhere_moves_nobody() -> None:
    """Who is on the way may do so; nothing answers there."""
    bench = Bench(RELAY, IPV4)
    bench.talk(30.0, hears=IPV4)
    bench.answers = only(RELAY, IPV4)
    bench.sent.clear()
    for number in range(50):
        bench.hear((("6.6.6.6", 1000 + number), b""))
        bench.talk(30 + number / 10, hears=IPV4)
    assert bench.selected == IPV4
    for number in range(50):
        assert len(bench.times((("6.6.6.6", 1000 + number), b""))) <= 1, "one probe for one datagram"


def test_a_datagram_on_a_path_that_is_not_valid_triggers_a_probe_but_not_many() -> None:
    bench = Bench(RELAY, IPV4)
    bench.answers = only(RELAY)
    bench.run(20.0)
    bench.sent.clear()
    for tick in range(1000):
        bench.run(20 + tick / 1000)
        bench.hear(IPV4)
    assert len(bench.times(IPV4)) <= 1 / TRIGGER_AFTER_S + 1
    bench.answers = only(RELAY, IPV4)
    bench.run(bench.now + TRIGGER_AFTER_S)
    bench.hear(IPV4)
    bench.run(bench.now + 1.1 * RTT)
    assert bench.selected == IPV4


def heard_only() -> Bench:
    """At MOVED the peer is heard, and answers nothing."""
    bench = Bench(RELAY)
    bench.answers = only(RELAY)
    bench.run(20.0)
    assert bench.paths.add_direct(MOVED[0], Origin.PEER_REFLEXIVE, bench.now)
    return bench


def test_where_the_peer_was_only_heard_no_round_of_checks_begins() -> None:
    bench = heard_only()
    bench.hear(MOVED)
    bench.run(20.1)
    bench.paths.check_all(bench.now)
    bench.run(120.0)
    assert bench.times(MOVED) == [20.0], "what was heard triggered it"
    bench.hear(MOVED)
    bench.run(121.0)
    assert bench.times(MOVED)[1:] == [120.0]


def test_checks_of_a_path_just_found_go_on_when_a_call_comes() -> None:
    bench = heard_only()
    bench.paths.check(bench.at(MOVED), bench.now)
    bench.run(20.1)
    bench.paths.check_all(bench.now)
    bench.run(40.0)
    assert bench.times(MOVED) == pytest.approx([20.0 + at for at in CHECK_AT_S])


def test_where_the_peer_is_only_heard_and_never_answers_it_is_asked_ever_less() -> None:
    bench = heard_only()
    for tick in range(10_000):
        bench.run(20 + tick / 1000)
        bench.hear(MOVED)
    asked = bench.times(MOVED)
    assert len([at for at in asked if at < 21]) in (TRIGGERS_IN_A_ROW, TRIGGERS_IN_A_ROW + 1)
    assert len(asked) <= TRIGGERS_IN_A_ROW + 10
    bench.answers = only(RELAY, MOVED)
    bench.run(32.0)
    bench.hear(MOVED)
    bench.run(32.1)
    assert bench.selected == MOVED


def test_what_proves_or_names_a_path_where_the_peer_was_only_heard_gives_it_its_checks() -> None:
    named, proven = heard_only(), heard_only()
    assert named.paths.add_direct(MOVED[0], Origin.SERVER_REFLEXIVE, named.now) is named.at(MOVED)
    proven.paths.established(proven.at(MOVED), proven.now)
    proven.paths.fail(MOVED, "for a test", proven.now)
    for bench in (named, proven):
        bench.paths.check_all(bench.now)
        bench.run(40.0)
        assert len(bench.times(MOVED)) >= len(CHECK_AT_S)


def test_frames_by_relay_make_us_ask_whether_the_direct_path_lives() -> None:
    bench = Bench(RELAY, IPV4)
    bench.run(30.0)
    bench.answers = only(RELAY)
    bench.sent.clear()
    bench.hear(RELAY)
    bench.run(30.05)
    assert len(bench.times(IPV4)) == 1
    bench.run(30.5)
    assert bench.beside == RELAY
    bench.run(34.6)
    assert bench.selected == RELAY


def test_and_if_it_does_that_is_all() -> None:
    bench = Bench(RELAY, IPV4)
    bench.run(30.0)
    bench.sent.clear()
    for tick in range(100):
        bench.run(30 + tick / 10)
        bench.hear(RELAY)
    assert bench.selected == IPV4
    assert len(bench.times(IPV4)) <= 11


# Size.


@pytest.mark.parametrize(
    ("via", "carried", "expected"),
    [(IPV4, 1472, 1472), (IPV4, 1400, 1392), (IPV4, 1271, BASE_SIZE), (IPV6, 1452, 1452), (RELAY, 1400, 1392)],
)
def test_a_path_finds_its_size_and_says_how_much_plaintext_that_is(via: Via, carried: int, expected: int) -> None:
    bench = Bench(via)
    bench.answers = lambda to, size: size <= carried
    bench.run(20.0)
    assert bench.selected == via
    path = bench.at(via)
    assert path.size == expected
    assert path.room == expected - DATA_OVERHEAD - len(via[1])
    tried = [size for _, _, size in bench.sent if size > BASE_SIZE]
    sizes = SIZES[6 if via is IPV6 else 4]
    assert tried[:TRIES] == [sizes[0]] * (1 if carried >= sizes[0] else TRIES)


def test_probes_that_are_too_large_do_not_fail_the_path() -> None:
    bench = Bench(IPV4)
    bench.answers = lambda via, size: size <= BASE_SIZE
    bench.talk(120.0, size=5000, hears=IPV4)
    assert len(bench.selections) == 1
    assert bench.doubts == []


@pytest.mark.parametrize("carried", [1252, 1300, 1100, 552])
@pytest.mark.parametrize("hears", [None, IPV4])
def test_a_black_hole_under_traffic_is_left_within_3_s(carried: int, hears: Via | None) -> None:
    """TCP's retransmissions are at 0.2, 0.6, 1.4 and 3 s."""
    bench = Bench(RELAY, IPV4)
    bench.talk(30.0, size=5000, hears=IPV4)
    assert bench.at(IPV4).size == 1472
    bench.answers = lambda via, size: size <= carried
    began = bench.now
    while bench.at(IPV4).size > carried:
        bench.talk(bench.now + 0.05, size=5000, hears=hears)
    assert bench.now - began < (3.0 if hears is None else PROBE_ACTIVE_S + 2.5)
    bench.talk(began + 60, size=5000, hears=IPV4)
    assert bench.at(IPV4).size == max([size for size in (*SIZES[4], BASE_SIZE, 1100, 552) if size <= carried])
    assert bench.selections[-1][1] == IPV4


def test_small_frames_need_no_large_probes() -> None:
    bench = Bench(IPV4)
    bench.talk(60.0, every=1.0, size=50, hears=IPV4)
    assert [size for at, _, size in bench.sent if at > 5 and size > 100] == []


def test_a_size_that_our_own_link_refuses_goes_down_at_once() -> None:
    bench = Bench(IPV4)
    bench.run(30.0)
    bench.answers = lambda via, size: size <= 1400
    bench.paths.too_large(IPV4, 30.0, local=True)
    bench.choose()
    assert bench.at(IPV4).size == BASE_SIZE
    bench.run(40.0)
    assert bench.at(IPV4).size == 1392


@pytest.mark.parametrize("carried", [1472, 1300])
def test_a_packet_too_big_that_may_be_forged_is_looked_into(carried: int) -> None:
    bench = Bench(IPV4)
    bench.run(30.0)
    bench.answers = lambda via, size: size <= carried
    bench.sent.clear()
    for tick in range(50):
        bench.run(30 + tick / 10)
        bench.paths.too_large(IPV4, bench.now, local=False)
    if carried == 1472:
        assert len(bench.sent) <= 6
        assert bench.at(IPV4).size == 1472
    else:
        bench.run(40.0)
        assert bench.at(IPV4).size == 1272


def test_a_path_that_failed_begins_with_the_base_again() -> None:
    bench = Bench(RELAY, IPV4)
    bench.run(30.0)
    bench.answers = lambda via, size: size <= 1300
    bench.paths.suspect(30.0)
    bench.run(30.1)
    assert bench.selected == IPV4
    assert bench.at(IPV4).size == BASE_SIZE
    bench.run(40.0)
    assert bench.at(IPV4).size == 1272


# Bounds.


def test_the_table_of_paths_is_bounded_and_the_oldest_useless_one_goes() -> None:
    paths = Paths()
    relay = paths.add_relay(RELAY, 0.0)
    good = paths.add_direct(("5.9.9.9", 1), Origin.HOST, 0.0)
    assert good
    good.works(0.0)
    for number in range(1000):
        assert paths.add_direct(("5.1.0.1", 1 + number), Origin.PEER_REFLEXIVE, float(number))
    assert len(paths.by_via) == PATHS_MAX
    assert paths.by_via[RELAY] is relay
    assert good.via in paths.by_via
    assert (("5.1.0.1", 1000), b"") in paths.by_via
    for other in paths.by_via.values():
        other.works(0.0)
    assert paths.add_direct(("5.2.0.1", 1), Origin.PEER_REFLEXIVE, 2000.0) is None


def test_a_removed_path_is_selected_no_more() -> None:
    bench = Bench(RELAY)
    bench.run(1.0)
    bench.paths.remove(RELAY)
    assert bench.paths.selected is None
    assert not bench.paths.heard(RELAY, 1.0)
    bench.paths.remove(RELAY)
