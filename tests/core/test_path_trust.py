"""What missing answers tell of a path: tables."""

from __future__ import annotations

import pytest

from l2mesh.core.candidates import Origin
from l2mesh.core.path import Path
from l2mesh.core.path_trust import (
    ASK_ACCUSED_S,
    ASK_AGAIN_S,
    DOUBT_AFTER_PROBES,
    DOUBT_THOUGH_HEARD_PROBES,
    FAIL_ACCUSED_AFTER_PROBES,
    FAIL_ACCUSED_AFTER_S,
    FAIL_AFTER_PROBES,
    FAIL_AFTER_S,
    FAIL_THOUGH_HEARD_PROBES,
    ask_again_after,
    failure,
    is_doubtful,
)

ASKED_AT = 100.0


def path(unanswered: int, *, rtt: float = 0.02, heard_at: float = 99.0, accused: bool = False) -> Path:
    made = Path((("5.0.0.2", 4000), b""), Origin.HOST, 0.0)
    made.rtt = made.last_rtt = rtt
    made.unanswered, made.asked_at, made.heard_at, made.accused = unanswered, ASKED_AT, heard_at, accused
    made.last_error = "host unreachable"
    return made


@pytest.mark.parametrize(
    ("rtt", "accused", "expected"),
    [
        (0.02, False, [0.1, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]),
        (0.2, False, [0.3, 0.3, 0.6, 1.0, 1.0]),
        (1.0, False, [1.5, 1.5, 1.5]),
        (0.02, True, [ASK_ACCUSED_S] * 5),
        (1.0, True, [1.5] * 5),
    ],
)
def test_it_is_asked_again_ever_less_often(rtt: float, accused: bool, expected: list[float]) -> None:
    waits = [ask_again_after(path(1 + n, rtt=rtt, accused=accused)) for n in range(len(expected))]
    assert waits == pytest.approx(expected)


def test_but_never_rarely() -> None:
    assert ask_again_after(path(1000)) == ASK_AGAIN_S


@pytest.mark.parametrize(
    ("unanswered", "after", "heard_at", "rtt", "expected"),
    [
        (DOUBT_AFTER_PROBES, 0.2, 99.0, 0.02, True),
        (DOUBT_AFTER_PROBES, 0.09, 99.0, 0.02, False),
        (DOUBT_AFTER_PROBES, 0.2, 99.0, 0.5, False),
        (DOUBT_AFTER_PROBES - 1, 9.0, 99.0, 0.02, False),
        (DOUBT_AFTER_PROBES, 0.2, 100.1, 0.02, False),
        (DOUBT_THOUGH_HEARD_PROBES, 0.4, 100.1, 0.02, True),
    ],
)
def test_doubt(unanswered: int, after: float, heard_at: float, rtt: float, expected: bool) -> None:
    assert is_doubtful(path(unanswered, heard_at=heard_at, rtt=rtt), ASKED_AT + after) == expected


@pytest.mark.parametrize(
    ("missed", "after", "heard_at", "accused", "rtt", "fails"),
    [
        (FAIL_AFTER_PROBES, FAIL_AFTER_S, 99.0, False, 0.02, True),
        (FAIL_AFTER_PROBES, FAIL_AFTER_S - 0.1, 99.0, False, 0.02, False),
        (FAIL_AFTER_PROBES - 1, 100.0, 99.0, False, 0.02, False),
        (FAIL_AFTER_PROBES, FAIL_AFTER_S, 100.5, False, 0.02, False),
        (FAIL_AFTER_PROBES, FAIL_AFTER_S + 0.5, 100.5, False, 0.02, True),
        (FAIL_THOUGH_HEARD_PROBES, 7.0, 106.9, False, 0.02, True),
        (FAIL_THOUGH_HEARD_PROBES - 1, 7.0, 106.9, False, 0.02, False),
        (FAIL_ACCUSED_AFTER_PROBES, FAIL_ACCUSED_AFTER_S, 99.0, True, 0.02, True),
        (FAIL_ACCUSED_AFTER_PROBES, FAIL_ACCUSED_AFTER_S, 99.0, False, 0.02, False),
        (FAIL_ACCUSED_AFTER_PROBES - 1, FAIL_ACCUSED_AFTER_S, 99.0, True, 0.02, False),
        (FAIL_ACCUSED_AFTER_PROBES, FAIL_ACCUSED_AFTER_S, 100.5, True, 0.02, False),
        (FAIL_ACCUSED_AFTER_PROBES, FAIL_ACCUSED_AFTER_S, 99.0, True, 1.0, False),
        (FAIL_ACCUSED_AFTER_PROBES, 1.6, 99.0, True, 1.0, True),
    ],
)
def test_failure(missed: int, after: float, heard_at: float, accused: bool, rtt: float, fails: bool) -> None:
    """`missed`: probes that had their time; one more is on its way."""
    reason = failure(path(missed + 1, heard_at=heard_at, accused=accused, rtt=rtt), ASKED_AT + after)
    assert bool(reason) == fails
    assert ("host unreachable" in reason) == (fails and accused)
