"""Several relays to one peer: ranked by round-trip time, kept ready, and trusted for as long as they answer."""

from __future__ import annotations

from itertools import pairwise

import pytest

from l2mesh.core.candidates import Origin
from l2mesh.core.path import Path, PathClass
from l2mesh.core.paths import FRESH_S, PROBE_IDLE_JITTER_S, PROBE_IDLE_S, Paths
from l2mesh.core.peer import Via
from l2mesh.wire.outer import relay_header

NEAR: Via = (("5.0.0.1", 7777), relay_header(b"channel1"))
FAR: Via = (("5.0.0.2", 7777), relay_header(b"channel2"))
MEMBER: Via = (("5.0.0.3", 4000), relay_header(b"channel3"))
DIRECT: Via = (("5.0.0.4", 4000), b"")


class Bench:
    """Paths, and a peer that answers on each after its own round-trip time (`rtts`; None: it does not)."""

    def __init__(self, rtts: dict[Via, float | None]) -> None:
        self.paths = Paths()
        self.rtts = rtts
        self.now = 0.0
        self.asked: dict[Via, list[float]] = {via: [] for via in rtts}
        self._answers: list[tuple[float, Via, bytes]] = []
        for via in rtts:
            self.add(via)

    def add(self, via: Via) -> None:
        kind = PathClass.MEMBER_RELAY if via == MEMBER else PathClass.RELAY
        if via[1]:
            path = self.paths.add_relay(via, self.now, kind)
        else:
            path = self.paths.add_direct(via[0], Origin.HOST, self.now)
        assert path is not None
        self.paths.check(path, self.now)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            answer_at = min((at for at, _, _ in self._answers), default=float("inf"))
            at = max(self.now, min(self.paths.next_at(), answer_at))
            if at > end:
                self.now = end
                return
            self.now = at
            for answer in [one for one in self._answers if one[0] <= at]:
                self._answers.remove(answer)
                self.paths.replied(answer[1], answer[2], at)
            self._probe()
            self.paths.choose(at)

    def _probe(self) -> None:
        for probe in self.paths.due(self.now):
            via = probe.path.via
            transaction = len(self._answers).to_bytes(4, "big") + int(self.now * 1e6).to_bytes(8, "big")
            self.paths.probed(probe, transaction, self.now)
            if probe.counts:
                self.asked[via].append(self.now)
            rtt = self.rtts[via]
            if rtt is not None:
                self._answers.append((self.now + rtt, via, transaction))

    def at(self, via: Via) -> Path:
        return self.paths.by_via[via]

    @property
    def selected(self) -> Via | None:
        return self.paths.selected.via if self.paths.selected is not None else None


def test_the_relay_with_the_shorter_round_trip_is_selected() -> None:
    bench = Bench({FAR: 0.2, NEAR: 0.05})
    bench.run(5)
    assert bench.selected == NEAR


def test_a_member_that_relays_goes_before_a_supernode_and_after_a_direct_path() -> None:
    bench = Bench({NEAR: 0.05, MEMBER: 0.1, DIRECT: 0.2})
    bench.run(5)
    assert bench.selected == DIRECT
    bench.paths.fail(DIRECT, "a test", bench.now)
    bench.paths.choose(bench.now)
    assert bench.selected == MEMBER
    bench.paths.remove(MEMBER)
    bench.paths.choose(bench.now)
    assert bench.selected == NEAR


def test_while_relayed_the_other_relays_are_asked_now_and_then() -> None:
    bench = Bench({NEAR: 0.05, FAR: 0.2, MEMBER: 0.1})
    bench.run(300)
    for via in (NEAR, FAR):
        asked = [at for at in bench.asked[via] if at > 10]
        assert len(asked) >= 290 / (PROBE_IDLE_S + PROBE_IDLE_JITTER_S)
        assert max(later - earlier for earlier, later in pairwise(asked)) < FRESH_S
    bench.paths.fail(MEMBER, "a test", bench.now)
    assert bench.paths.choose(bench.now)
    assert bench.selected == NEAR


def test_while_direct_no_relay_is_asked() -> None:
    bench = Bench({NEAR: 0.05, MEMBER: 0.1, DIRECT: 0.2})
    bench.run(40)
    before = {via: len(asked) for via, asked in bench.asked.items()}
    bench.run(300)
    assert len(bench.asked[NEAR]) == before[NEAR]
    assert len(bench.asked[MEMBER]) == before[MEMBER]


def test_a_relay_that_stops_answering_while_another_is_used_is_not_taken_for_ready() -> None:
    bench = Bench({NEAR: 0.05, FAR: 0.2})
    bench.run(30)
    bench.rtts[FAR] = None
    bench.run(30)
    assert bench.at(FAR).valid_at is None
    assert bench.selected == NEAR
    bench.rtts[FAR] = 0.2
    bench.run(700)
    assert bench.at(FAR).valid_at is not None, "it is checked again as all paths are"


@pytest.mark.parametrize(("pause", "taken"), [(FRESH_S - 5, MEMBER), (FRESH_S + 60, NEAR)])
def test_a_member_s_relay_that_was_not_asked_for_long_is_not_relied_on(pause: float, taken: Via) -> None:
    bench = Bench({NEAR: 0.05, MEMBER: 0.1, DIRECT: 0.2})
    bench.run(pause)
    bench.paths.fail(DIRECT, "a test", bench.now)
    bench.paths.choose(bench.now)
    assert bench.selected == taken
    bench.rtts[DIRECT] = None
    bench.run(1)
    assert bench.selected == MEMBER, "it answers"


def test_suspicion_takes_a_member_s_relay_too_and_leaves_the_supernodes() -> None:
    bench = Bench({NEAR: 0.05, MEMBER: 0.1})
    bench.run(5)
    assert bench.selected == MEMBER
    bench.paths.suspect(bench.now)
    bench.paths.choose(bench.now)
    assert bench.selected == NEAR
    bench.run(1)
    assert bench.selected == MEMBER
