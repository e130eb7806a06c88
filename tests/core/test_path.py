"""One path: which of two is better, and what its probes tell of it."""

from __future__ import annotations

import pytest

from l2mesh.core.candidates import Origin
from l2mesh.core.path import (
    ANSWER_WITHIN_S,
    OUTSTANDING_MAX,
    PATIENCE_MAX_S,
    PATIENCE_MIN_S,
    PATIENCE_UNKNOWN_S,
    Path,
    PathClass,
    Sent,
    better_path,
)
from l2mesh.core.path_size import BASE_SIZE
from l2mesh.core.peer import Via
from l2mesh.wire.outer import DATA_OVERHEAD, RELAY_HEADER_SIZE, relay_header

RELAY: Via = (("5.0.0.1", 7777), relay_header(b"channel8"))
LAN: Via = (("192.168.1.2", 4000), b"")
IPV4: Via = (("5.0.0.2", 4000), b"")
IPV6: Via = (("2a02::2", 4000), b"")


def path(
    via: Via,
    rtt: float | None = None,
    *,
    path_class: PathClass = PathClass.RELAY,
    doubted_at: float | None = None,
    heard_at: float = 0.0,
) -> Path:
    made = Path(via, Origin.HOST, 0.0, path_class)
    made.rtt, made.doubted_at, made.heard_at = rtt, doubted_at, heard_at
    return made


def member(rtt: float | None = None) -> Path:
    return path(RELAY, rtt, path_class=PathClass.MEMBER_RELAY)


BETTER: list[tuple[Path, Path, bool]] = [
    (path(LAN), path(IPV6), True),
    (path(IPV6), path(IPV4), True),
    (path(IPV4), member(), True),
    (member(), path(RELAY), True),
    (path(IPV4), path(RELAY), True),
    (path(RELAY), path(IPV4), False),
    (path(RELAY), member(), False),
    (member(), path(IPV4), False),
    (path(IPV4), path(LAN), False),
    (path(IPV4, 0.500), path(RELAY, 0.010), True),
    (path(RELAY, 0.010), path(IPV4, 0.500), False),
    (member(0.300), path(RELAY, 0.010), True),
    # inside a class: clearly less round-trip time
    (path(IPV4, 0.074), path(IPV4, 0.100), True),
    (path(IPV4, 0.076), path(IPV4, 0.100), False),
    (path(IPV4, 0.100), path(IPV4, 0.100), False),
    (path(IPV4), path(IPV4, 0.100), False),
    (path(IPV4, 0.001), path(IPV4), False),
    (path(RELAY, 0.010), path(RELAY, 0.100), True),
    (path(RELAY, 0.090), path(RELAY, 0.100), False),
    # in doubt: where the peer is heard
    (path(IPV4, 0.100, heard_at=5.1), path(IPV4, 0.100, doubted_at=5.0, heard_at=4.9), True),
    (path(IPV4, heard_at=5.0), path(IPV4, 0.010, doubted_at=5.0, heard_at=4.9), True),
    (path(IPV4, 0.100, heard_at=4.8), path(IPV4, 0.100, doubted_at=5.0, heard_at=4.9), False),
    (path(IPV4, 0.100, heard_at=5.1), path(IPV4, 0.100, doubted_at=5.0, heard_at=5.1), False),
    (path(IPV4, 0.100, heard_at=5.1), path(IPV4, 0.100, heard_at=4.9), False),
    (path(IPV4, 0.010, doubted_at=5.0), path(IPV4, 0.100), False),
    # doubt is no reason to leave a class
    (path(RELAY, 0.010, heard_at=5.1), path(IPV4, 0.100, doubted_at=5.0), False),
    (path(IPV4, 0.010, heard_at=5.1), path(IPV6, 0.100, doubted_at=5.0), False),
]


@pytest.mark.parametrize(("candidate", "selected", "better"), BETTER)
def test_better_path(candidate: Path, selected: Path, better: bool) -> None:
    assert better_path(candidate, selected) == better


def test_no_two_paths_are_better_than_each_other() -> None:
    every = [
        path(via, rtt, doubted_at=doubted_at, heard_at=heard_at)
        for via in (LAN, IPV4, IPV6, RELAY)
        for rtt in (None, 0.01, 0.1)
        for doubted_at in (None, 5.0)
        for heard_at in (4.0, 6.0)
    ]
    assert not [(a, b) for a in every for b in every if better_path(a, b) and better_path(b, a)]


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
    for relayed in (PathClass.RELAY, PathClass.MEMBER_RELAY):
        made = path(((host, 1), relay_header(b"channel8")), path_class=relayed)
        assert made.path_class is relayed


def test_room_is_what_the_headers_leave() -> None:
    assert path(IPV4).room == BASE_SIZE - DATA_OVERHEAD
    assert path(RELAY).room == BASE_SIZE - DATA_OVERHEAD - RELAY_HEADER_SIZE


@pytest.mark.parametrize(
    ("rtts", "patience"),
    [
        ((), PATIENCE_UNKNOWN_S),
        ((0.001,), PATIENCE_MIN_S),
        ((0.2,), 0.3),
        ((0.2, 0.2, 0.9), 1.35),  # a queue grew: at once
        ((0.9, 0.2), 1.21875),  # and it may again
        ((4.0,), PATIENCE_MAX_S),
    ],
)
def test_an_answer_is_waited_for_as_long_as_it_may_take(rtts: tuple[float, ...], patience: float) -> None:
    made, now = path(IPV4), 0.0
    for number, rtt in enumerate(rtts):
        made.sent(bytes((number,)), Sent(now, 44, True))
        assert made.answered(bytes((number,)), now + rtt)
        now += 5
    assert made.patience == pytest.approx(patience)


def test_an_answer_counts_once() -> None:
    made = path(IPV4)
    made.sent(b"one", Sent(1.0, 44, True))
    assert not made.answered(b"other", 1.1)
    assert made.answered(b"one", 1.1)
    assert not made.answered(b"one", 1.2)
    assert (made.valid_at, made.valid_since, made.answers) == (1.1, 1.1, 1)
    assert made.rtt == pytest.approx(0.1)


def test_only_probes_that_count_are_missed() -> None:
    made = path(IPV4)
    made.sent(b"one", Sent(1.0, 1472, False))
    assert (made.unanswered, made.probes_sent, made.first_probe_at) == (0, 1, 1.0)
    for number in range(3):
        made.sent(bytes((number,)), Sent(2.0 + number, 44, True))
    assert (made.unanswered, made.asked_at) == (3, 2.0)
    assert made.answered(b"one", 4.5)  # the path works, whatever came back
    assert made.unanswered == 0


def test_outstanding_probes_are_bounded() -> None:
    made = path(IPV4)
    for number in range(100):
        made.sent(number.to_bytes(8, "big"), Sent(1.0, 44, True))
    assert len(made.outstanding) == OUTSTANDING_MAX
    assert not made.answered((0).to_bytes(8, "big"), 1.1)
    assert made.answered((99).to_bytes(8, "big"), 1.1)


def test_an_answer_that_takes_too_long_is_none() -> None:
    made = path(IPV4)
    made.sent(b"one", Sent(1.0, 44, True))
    made.sent(b"two", Sent(1.1 + ANSWER_WITHIN_S, 44, True))
    assert not made.answered(b"one", 1.2 + ANSWER_WITHIN_S)


def test_loss_is_estimated_while_it_is_selected() -> None:
    made = path(IPV4)
    estimates = {}
    for selected_since in (None, 0.0):
        made.selected_since = selected_since
        for number in range(400):
            made.sent(b"probe", Sent(3.0 * number, 44, True))
            if number % 4:
                assert made.answered(b"probe", 3.0 * number + 0.1)
            made.outstanding.pop(b"probe", None) if number % 4 else made._give_up(3.0 * number + 100)
        estimates[selected_since] = made.loss
    assert estimates[None] == 0
    assert estimates[0.0] == pytest.approx(0.25, abs=0.1)


def test_failing_forgets_what_was_asked_and_keeps_why() -> None:
    made = path(IPV4)
    made.sent(b"one", Sent(1.0, 44, True))
    made.works(1.0)
    made.fails("host unreachable")
    assert (made.valid_at, made.valid_since, made.last_error) == (None, None, "host unreachable")
    assert not made.answered(b"one", 1.1)
