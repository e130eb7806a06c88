"""Paths: choice, the schedule of checks, failure, the search for the size, bounds."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from l2mesh.core.candidates import Origin
from l2mesh.core.path import (
    BASE_SIZE,
    CHECK_AT_S,
    OUTSTANDING_MAX,
    PATHS_MAX,
    PROBE_ACTIVE_S,
    PROBE_IDLE_S,
    RECHECK_AFTER_S,
    SIZES,
    Path,
    PathClass,
    Paths,
    better_path,
)
from l2mesh.core.peer import Via
from l2mesh.wire.outer import DATA_OVERHEAD, relay_header

RELAY: Via = (("5.0.0.1", 7777), relay_header(b"channel8"))
LAN: Via = (("192.168.1.2", 4000), b"")
IPV4: Via = (("5.0.0.2", 4000), b"")
IPV6: Via = (("2a02::2", 4000), b"")


def path(via: Via, rtt: float | None = None) -> Path:
    made = Path(via, Origin.HOST, 0.0)
    made.rtt = rtt
    return made


BETTER: list[tuple[Path, Path, bool]] = [
    (path(LAN), path(IPV6), True),
    (path(IPV6), path(IPV4), True),
    (path(IPV4), path(RELAY), True),
    (path(RELAY), path(IPV4), False),
    (path(IPV4), path(LAN), False),
    (path(IPV4, 0.500), path(RELAY, 0.010), True),
    (path(RELAY, 0.010), path(IPV4, 0.500), False),
    (path(IPV4, 0.074), path(IPV4, 0.100), True),
    (path(IPV4, 0.076), path(IPV4, 0.100), False),
    (path(IPV4, 0.100), path(IPV4, 0.100), False),
    (path(IPV4), path(IPV4, 0.100), False),
    (path(IPV4, 0.001), path(IPV4), False),
]


@pytest.mark.parametrize(("candidate", "selected", "better"), BETTER)
def test_better_path(candidate: Path, selected: Path, better: bool) -> None:
    assert better_path(candidate, selected) == better


def test_no_two_paths_are_better_than_each_other() -> None:
    all_paths = [path(via, rtt) for via in (LAN, IPV4, IPV6, RELAY) for rtt in (None, 0.01, 0.1)]
    assert not [(a, b) for a in all_paths for b in all_paths if better_path(a, b) and better_path(b, a)]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("10.1.2.3", PathClass.SAME_LAN),
        ("172.31.0.1", PathClass.SAME_LAN),
        ("172.32.0.1", PathClass.IPV4),
        ("100.64.0.1", PathClass.IPV4),
        ("fd00::1", PathClass.SAME_LAN),
        ("2001:db8::1", PathClass.IPV6),
    ],
)
def test_class_of_an_address(host: str, expected: PathClass) -> None:
    assert path(((host, 1), b"")).path_class is expected
    assert path(((host, 1), relay_header(b"channel8"))).path_class is PathClass.RELAY


class Bench:
    """Paths with a clock, and answers by rule."""

    def __init__(self) -> None:
        self.paths = Paths()
        self.sent: list[tuple[float, Via, int]] = []
        self.answers: Callable[[Via, int], bool] = lambda via, size: True
        self.rtt = 0.02
        self._number = 0
        self._replies: list[tuple[float, Via, bytes]] = []

    def add(self, via: Via, now: float = 0.0) -> Path:
        made = self.paths.add_relay(via, now) if via[1] else self.paths.add_direct(via[0], Origin.HOST, now)
        assert made is not None
        return made

    def run(self, start: float, end: float) -> None:
        now = start
        while True:
            next_reply = self._replies[0][0] if self._replies else float("inf")
            now = max(now, min(self.paths.next_at(), next_reply))
            if now > end:
                return
            if next_reply <= now:
                _, via, transaction = self._replies.pop(0)
                assert self.paths.replied(via, transaction, now)
            for due, size in self.paths.due(now):
                self._number += 1
                transaction = self._number.to_bytes(8, "big")
                datagram = size + DATA_OVERHEAD + len(due.via[1])
                self.sent.append((now, due.via, datagram))
                self.paths.probed(due, transaction, datagram, now)
                if self.answers(due.via, datagram):
                    self._replies.append((now + self.rtt, due.via, transaction))
            self.paths.choose(now)

    def times(self, via: Via, size: int | None = None) -> list[float]:
        return [round(at, 6) for at, to, sent in self.sent if to == via and (size is None or sent == size)]


def test_an_unanswered_path_is_checked_on_schedule_and_then_left_alone() -> None:
    bench = Bench()
    bench.answers = lambda via, size: False
    bench.paths.check(bench.add(IPV4), 0.0)
    bench.run(0.0, 1000.0)
    assert bench.times(IPV4) == list(CHECK_AT_S)
    assert bench.paths.selected is None


def test_an_answered_path_is_selected_and_its_checks_end() -> None:
    bench = Bench()
    bench.paths.check(bench.add(IPV4), 0.0)
    bench.run(0.0, 0.03)
    assert bench.paths.selected is not None
    assert bench.paths.selected.rtt == pytest.approx(0.02)
    bench.run(0.03, 10.0)
    assert bench.times(IPV4)[:2] == [0.0, 0.02]


def test_checks_that_run_are_not_begun_again() -> None:
    bench = Bench()
    bench.answers = lambda via, size: False
    made = bench.add(IPV4)
    bench.paths.check(made, 0.0)
    bench.run(0.0, 0.2)
    bench.paths.check(made, 0.2)
    bench.run(0.2, 1000.0)
    assert bench.times(IPV4) == list(CHECK_AT_S)


def test_the_selected_path_is_probed_slowly_when_idle_and_faster_under_traffic() -> None:
    bench = Bench()
    bench.paths.check(bench.add(IPV4), 0.0)
    bench.run(0.0, 100.0)
    idle = [at for at in bench.times(IPV4) if at > 1]
    assert [b - a for a, b in itertools.pairwise(idle)] == pytest.approx([PROBE_IDLE_S + 0.02] * 4)
    bench.sent.clear()
    assert bench.paths.active(100.0)
    for tick in range(20):
        bench.paths.active(100.0 + tick)
        bench.run(100.0 + tick, 101.0 + tick)
    assert len(bench.sent) == 1 + 19 // PROBE_ACTIVE_S


def test_only_a_path_that_nobody_relies_on_is_not_probed() -> None:
    bench = Bench()
    for via in (RELAY, IPV4):
        bench.paths.check(bench.add(via), 0.0)
    bench.run(0.0, 200.0)
    assert bench.paths.selected is bench.paths.by_via[IPV4]
    assert max(bench.times(RELAY)) < 20


def test_a_path_that_stops_answering_fails_after_its_time_and_the_relay_takes_over() -> None:
    bench = Bench()
    for via in (RELAY, IPV4):
        bench.paths.check(bench.add(via), 0.0)
    bench.run(0.0, 30.0)
    bench.answers = lambda via, size: via is RELAY
    first_lost = bench.paths.next_at()
    bench.run(30.0, first_lost + 3.4)
    assert bench.paths.selected is bench.paths.by_via[IPV4]
    bench.run(first_lost + 3.4, first_lost + 4.6)
    assert bench.paths.selected is bench.paths.by_via[RELAY]
    assert bench.paths.by_via[IPV4].valid_at is None


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_some_lost_probes_fail_no_path(lost: int) -> None:
    bench = Bench()
    bench.paths.check(bench.add(IPV4), 0.0)
    bench.run(0.0, 30.0)
    left = [lost]

    def answers(via: Via, size: int) -> bool:
        left[0] -= 1
        return left[0] < 0

    bench.answers = answers
    bench.run(30.0, 100.0)
    assert bench.paths.selected is not None
    assert bench.paths.selected.valid_at is not None
    assert bench.paths.selected.unanswered == 0


def test_what_is_heard_holds_a_path_though_no_probe_is_answered() -> None:
    bench = Bench()
    bench.paths.check(bench.add(IPV4), 0.0)
    bench.run(0.0, 30.0)
    bench.answers = lambda via, size: False
    for now in range(30, 100):
        assert bench.paths.heard(IPV4, float(now))
        bench.run(float(now), now + 1.0)
    assert bench.paths.selected is not None


def test_while_relayed_all_are_tried_again_more_and_more_rarely() -> None:
    bench = Bench()
    bench.answers = lambda via, size: via is RELAY
    for via in (RELAY, IPV4):
        bench.paths.check(bench.add(via), 0.0)
    bench.run(0.0, 3000.0)
    rounds = [at for at in bench.times(IPV4) if at > 10]
    starts = [at for at, before in zip(rounds, [0.0, *rounds], strict=False) if at - before > 10]
    gaps = [b - a for a, b in itertools.pairwise(starts)]
    assert starts[0] == pytest.approx(RECHECK_AFTER_S[0], abs=0.1)
    assert gaps[:5] == pytest.approx(RECHECK_AFTER_S[1:], abs=0.1)
    assert gaps[5:] == pytest.approx([RECHECK_AFTER_S[-1]] * len(gaps[5:]), abs=0.1)


def test_suspicion_takes_the_validity_of_direct_paths_and_leaves_the_relays() -> None:
    bench = Bench()
    for via in (RELAY, IPV4):
        bench.paths.check(bench.add(via), 0.0)
    bench.run(0.0, 30.0)
    bench.paths.suspect(30.0)
    assert bench.paths.selected is None
    assert bench.paths.choose(30.0)
    assert bench.paths.selected is bench.paths.by_via[RELAY]
    bench.run(30.0, 31.0)
    assert bench.paths.selected is bench.paths.by_via[IPV4]


def test_a_reply_counts_only_on_the_path_its_probe_went() -> None:
    paths = Paths()
    one, other = paths.add_direct(IPV4[0], Origin.HOST, 0.0), paths.add_direct(LAN[0], Origin.HOST, 0.0)
    assert one
    assert other
    paths.probed(one, b"12345678", 44, 0.0)
    assert not paths.replied(LAN, b"12345678", 0.1)
    assert not paths.replied(IPV6, b"12345678", 0.1)
    assert not paths.replied(IPV4, b"87654321", 0.1)
    assert paths.replied(IPV4, b"12345678", 0.1)
    assert not paths.replied(IPV4, b"12345678", 0.2)


@pytest.mark.parametrize(
    ("via", "carried", "expected"),
    [
        (IPV4, 1472, 1472),
        (IPV4, 1471, 1452),
        (IPV4, 1400, 1392),
        (IPV4, 1272, 1272),
        (IPV4, 1271, BASE_SIZE),
        (IPV6, 1452, 1452),
        (IPV6, 1300, 1292),
        (RELAY, 1472, 1472),
        (RELAY, 1400, 1392),
    ],
)
def test_the_size_is_the_first_of_the_table_that_passes(via: Via, carried: int, expected: int) -> None:
    bench = Bench()
    bench.answers = lambda to, size: size <= carried
    made = bench.add(via)
    bench.paths.check(made, 0.0)
    bench.run(0.0, 60.0)
    assert bench.paths.selected is made
    assert made.size == expected
    assert made.room == expected - DATA_OVERHEAD - len(via[1])
    tried = [size for _, _, size in bench.sent if size > 100]
    assert (
        tried
        == [size for size in SIZES[6 if via is IPV6 else 4] for _ in range(3 if size > carried else 1)][
            : len(tried)
        ]
    )


def test_a_lost_probe_of_size_is_tried_three_times() -> None:
    bench = Bench()
    left = [2]

    def answers(via: Via, size: int) -> bool:
        left[0] -= size > 100
        return size < 100 or left[0] < 0

    bench.answers = answers
    made = bench.add(IPV4)
    bench.paths.check(made, 0.0)
    bench.run(0.0, 60.0)
    assert made.size == SIZES[4][0]


def test_probes_that_are_too_large_do_not_fail_the_path() -> None:
    bench = Bench()
    bench.answers = lambda via, size: size <= BASE_SIZE
    bench.paths.check(bench.add(IPV4), 0.0)
    changes = 0
    for now in range(120):
        bench.run(float(now), now + 1.0)
        changes += bench.paths.selected is None
    assert changes == 0


def test_the_table_of_paths_is_bounded_and_the_oldest_useless_one_goes() -> None:
    paths = Paths()
    relay = paths.add_relay(RELAY, 0.0)
    good = paths.add_direct(("5.9.9.9", 1), Origin.HOST, 0.0)
    assert good
    good.valid_at = 0.0
    for number in range(1000):
        assert paths.add_direct(("5.1.0.1", 1 + number), Origin.PEER_REFLEXIVE, float(number))
    assert len(paths.by_via) == PATHS_MAX
    assert paths.by_via[RELAY] is relay
    assert good.via in paths.by_via
    assert (("5.1.0.1", 1000), b"") in paths.by_via
    for other in paths.by_via.values():
        other.valid_at = 0.0
    assert paths.add_direct(("5.2.0.1", 1), Origin.PEER_REFLEXIVE, 2000.0) is None


def test_outstanding_probes_are_bounded() -> None:
    paths = Paths()
    made = paths.add_direct(IPV4[0], Origin.HOST, 0.0)
    assert made
    for number in range(100):
        paths.probed(made, number.to_bytes(8, "big"), 44, float(number))
    assert len(made.outstanding) == OUTSTANDING_MAX
    assert not paths.replied(IPV4, (0).to_bytes(8, "big"), 100.0)
    assert paths.replied(IPV4, (99).to_bytes(8, "big"), 100.0)


def test_a_removed_path_is_selected_no_more() -> None:
    bench = Bench()
    bench.paths.check(bench.add(RELAY), 0.0)
    bench.run(0.0, 1.0)
    bench.paths.remove(RELAY)
    assert bench.paths.selected is None
    assert not bench.paths.heard(RELAY, 1.0)
    bench.paths.remove(RELAY)
