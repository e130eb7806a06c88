"""tools/nat-matrix: what it expects of pairs, its arithmetic and its tables. That it runs: tests/net."""

from __future__ import annotations

import struct
from itertools import combinations_with_replacement

import pytest
from traversal import changes, report
from traversal.expected import Technique, expected, expected_of, misjudged
from traversal.frames import INTERVAL_S, Direction
from traversal.kinds import ALL, KINDS, PLACES, Kind
from traversal.matrix import all_pairs, chosen, pair_named, tasks
from traversal.pair import Result, Side
from traversal.stream import Progress, acknowledgement, largest_gap_s, slow_s

PLAIN, PREDICTION, BIRTHDAY, BLOCKS, NONE = Technique

EASY = ("routed", "cone", "hairpin", "restricted_cone")
HOMES = ("firewall", "home", "home_accept", "carrier", "fast_expiry", "same_port")
RANDOM = ("symmetric", "address_dependent", "ipv6_open", "ipv6_firewall")
IN_A_BLOCK = ("block_512", "block_1024", "block_2048")


def kind(name: str) -> Kind:
    found = ALL[name]
    assert isinstance(found, Kind)
    return found


# What is expected: connectivity.md, word by word.


@pytest.mark.parametrize("name", EASY)
def test_who_lets_in_whom_he_does_not_know_meets_everybody(name: str) -> None:
    others = [other for other in KINDS if not other.blocked]
    assert {expected(kind(name), other) for other in others} == {PLAIN}


@pytest.mark.parametrize(
    ("ones", "others", "technique"),
    [
        (HOMES, HOMES, PLAIN),
        (HOMES, ("sequential",), PREDICTION),
        (("sequential",), ("sequential",), PREDICTION),
        (HOMES, RANDOM, BIRTHDAY),
        (HOMES, IN_A_BLOCK, BIRTHDAY),
        (IN_A_BLOCK, IN_A_BLOCK, BLOCKS),
        (IN_A_BLOCK, RANDOM, NONE),
        (("symmetric", "address_dependent"), RANDOM, NONE),
        (("sequential",), RANDOM, NONE),
        (("ipv6_open", "ipv6_firewall"), ("ipv6_open", "ipv6_firewall"), PLAIN),
        (("blocked",), [one.name for one in KINDS], NONE),
    ],
)
def test_what_a_pair_is_promised(ones: tuple[str, ...], others: tuple[str, ...], technique: Technique) -> None:
    assert {expected(kind(one), kind(other)) for one in ones for other in others} == {technique}


def test_the_order_of_a_pair_is_nothing() -> None:
    for one, other in combinations_with_replacement(KINDS, 2):
        assert expected(one, other) is expected(other, one)


def test_two_behind_one_router_meet_on_its_lan_or_by_hairpin() -> None:
    relayed = {place.name for place in PLACES if expected_of(pair_named(place.name)) is NONE}
    assert relayed == {"isolated", "one_carrier"}


def test_a_wrong_class_is_told_and_an_unknown_one_is_not() -> None:
    truth = {"mapping": "endpoint-independent", "filtering": "address-and-port-dependent"}
    assert misjudged(kind("home"), truth) == []
    assert misjudged(kind("home"), {**truth, "filtering": "unknown"}) == []
    assert misjudged(kind("symmetric"), truth) == ["mapping taken for endpoint-independent"]
    assert misjudged(kind("firewall"), {**truth, "mapping": "none"}) == []
    assert misjudged(kind("same_port"), {**truth, "mapping": "address-and-port-dependent"}) == []


# Which pairs.


def test_the_matrix_is_the_half_with_the_diagonal_and_the_places() -> None:
    assert len(all_pairs(KINDS)) == len(KINDS) * (len(KINDS) + 1) // 2 + len(PLACES)


def test_pairs_are_named() -> None:
    assert [pair.name for pair in chosen(["home", "symmetric"])] == [
        "home:home",
        "home:symmetric",
        "symmetric:symmetric",
    ]
    assert [pair.name for pair in chosen(["sequential:home", "lan"])] == ["sequential:home", "lan"]
    for name in ("nobody", "home:nobody", "home:lan", "lan:lan", "home:"):
        with pytest.raises(KeyError):
            chosen([name])


def test_chance_has_many_runs_and_the_rest_one() -> None:
    assert [task.run for task in tasks(chosen(["home", "symmetric"]), 3)] == [1, 1, 2, 3, 1]


# What was found.


def result(name: str, run: int = 1, direct_s: float | None = None) -> Result:
    return Result(name, run, technique=expected_of(pair_named(name)).name, direct_s=direct_s, first_frame_s=0.01)


def test_a_plain_pair_falls_short_when_it_is_late_or_relayed() -> None:
    assert report.shortfalls([result("home:home", direct_s=0.9)]) == []
    assert report.shortfalls([result("home:home", direct_s=1.1)]) == ["run 1: direct after 1.10 s"]
    assert report.shortfalls([result("home:home")]) == ["run 1: direct after never"]


def test_no_first_frame_and_an_outage_are_shortfalls_of_any_pair() -> None:
    silent = result("symmetric:symmetric")
    silent.first_frame_s = None
    assert silent.shortfalls() == ["first frame after never"]
    assert silent.path == "nothing"
    lossy = result("symmetric:symmetric")
    lossy.b = Side(outage_s=2.0)
    assert lossy.shortfalls() == ["frames lost for 2.00 s"]


def test_chance_is_counted_over_the_runs() -> None:
    runs = [result("home:symmetric", run, direct_s=4.0) for run in range(1, 10)]
    assert report.shortfalls([*runs, result("home:symmetric", 10)]) == []
    (sentence,) = report.shortfalls([*runs[:8], result("home:symmetric", 9, 9.0), result("home:symmetric", 10)])
    assert sentence.startswith("8 of 10 direct within 8 s by birthday: 4.00 s, ")
    assert report.cell([*runs, result("home:symmetric", 10)]) == "9/10 4.00 s"
    assert report.cell([result("home:symmetric", run) for run in (1, 2)]) == "relay"


def test_more_than_was_promised_is_no_shortfall() -> None:
    assert report.shortfalls([result("symmetric:symmetric", direct_s=3.0)]) == []


def test_the_tables() -> None:
    found = [result("home:home", direct_s=0.123), result("home:symmetric"), result("symmetric:symmetric")]
    found.append(result("lan", direct_s=0.01))
    results = report.by_pair(found)
    assert report.text(results).splitlines() == [
        "           home           symmetric",
        "home       direct 0.12 s",
        "symmetric  relay          relay",
        "",
        "two hosts behind one router  direct 0.01 s",
    ]
    lines = report.markdown(results).splitlines()
    assert lines[:3] == [
        "| after the session | home | symmetric |",
        "| --- | --- | --- |",
        "| home | direct 0.12 s |  |",
    ]
    assert "* `symmetric`: APDM, any port" in lines
    assert lines[-1] == "| two hosts behind one router | direct 0.01 s |"


def test_places_alone_make_one_table() -> None:
    assert report.text(report.by_pair([result("lan", direct_s=0.01)])).count("\n") == 0


# Frames.


def test_frames_are_lost_from_the_first_that_came_on() -> None:
    direction = Direction(sent_at=[i * INTERVAL_S for i in range(200)])
    direction.arrived_at = {i: i * INTERVAL_S + 0.001 for i in range(10, 200) if not 50 <= i < 60}
    until = 200 * INTERVAL_S
    assert direction.first_at == pytest.approx(10 * INTERVAL_S + 0.001)
    assert direction.lost(until) == 10
    assert direction.outage_s(until) == pytest.approx(10 * INTERVAL_S)


def test_the_last_frames_may_be_on_their_way() -> None:
    direction = Direction(sent_at=[i * INTERVAL_S for i in range(100)])
    direction.arrived_at = {i: i * INTERVAL_S + 0.001 for i in range(90)}
    assert direction.lost(100 * INTERVAL_S) == 0
    assert direction.lost(200 * INTERVAL_S) == 10


def test_a_direction_in_which_nothing_came() -> None:
    direction = Direction(sent_at=[0.0, 0.02])
    assert (direction.first_at, direction.lost(9.0), direction.outage_s(9.0)) == (None, 0, 0.0)


# The TCP stream.


def segment(source: int, destination: int, number: int) -> bytes:
    ip = bytes([0x45, *bytes(8), 6, *bytes(10)])
    return bytes(12) + b"\x08\x00" + ip + struct.pack("!HHIIHHHH", source, destination, 1, number, 0x5010, 0, 0, 0)


def test_acknowledgements_are_read_from_frames() -> None:
    assert acknowledgement(segment(5201, 40000, 77), 5201) == (40000, 77)
    assert acknowledgement(segment(40000, 5201, 77), 5201) is None
    assert acknowledgement(segment(5201, 40000, 77)[:40], 5201) is None
    assert acknowledgement(b"", 5201) is None


def test_a_stream_gets_on_when_more_is_acknowledged() -> None:
    progress = Progress()
    begin = (1 << 32) - 1000
    for at, number in ((1.0, 0), (1.1, 500), (1.2, 500), (1.3, 400), (1.4, 1500), (1.5, 1600)):
        progress.take(40000, (begin + number) % (1 << 32), at)
    progress.take(40001, 5, 1.0)
    assert progress.advances() == [(1.1, 500), (1.4, 1000), (1.5, 100)]
    assert progress.bytes_since(1.4) == 1100


def test_the_largest_gap() -> None:
    instants = [1.0, 1.1, 1.2, 2.0, 2.1]
    assert largest_gap_s(instants, 1.15, 2.1) == pytest.approx(0.8)
    assert largest_gap_s(instants, 0.0, 0.9) == pytest.approx(1.0)  # the first one comes late
    assert largest_gap_s(instants, 2.05, 5.0) == pytest.approx(2.9)  # and none after the last
    assert largest_gap_s([], 1.0, 4.0) == pytest.approx(3.0)


def test_a_stream_that_limps_is_not_well() -> None:
    well = [(i * 0.01, 1000) for i in range(1, 1000)]
    assert slow_s(well, 2.0, 8.0, 100_000) == 0
    limping = [(at, 1 if 2.0 < at < 4.1 else size) for at, size in well]
    assert slow_s(limping, 2.0, 8.0, 100_000) == pytest.approx(2.0)
    assert slow_s(limping[:300], 2.0, 8.0, 100_000) == pytest.approx(6.0)


def test_gaps_have_a_table() -> None:
    gap = changes.Gap("block", "no UDP", 8.0, 0.01, 6.5, 7.0, False, True, ["relay", "relay"])
    limp = changes.Gap("black_hole", "a hole", 5.0, 0.01, 0.3, 7.0, True, True, ["direct", "direct"])
    dead = changes.Gap("block", "no UDP", 8.0, 0.01, 25.0, 25.0, False, False, [None, None])
    assert [one.ok for one in (gap, limp, dead)] == [True, False, False]
    rows = report.gap_rows([gap, limp, dead])
    assert [row[1:] for row in rows[1:]] == [
        ["6500", "7000", "8000", "yes"],
        ["300", "7000", "5000", "slow"],
        ["25000", "25000", "8000", "DIED"],
    ]


def test_stories_are_named() -> None:
    assert changes.chosen(()) == list(changes.STORIES)
    assert [story.name for story in changes.chosen(["block"])] == ["block"]
    with pytest.raises(KeyError):
        changes.chosen(["flood"])
