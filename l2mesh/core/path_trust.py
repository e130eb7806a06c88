"""What missing answers tell of a path: pure functions of what is known of it.

asked again     after 1.5 round-trip times, again after as long, then after twice that ... at least each second
in doubt        two probes had no answer and nothing was heard meanwhile, or four whatever was heard
failed          nothing heard for 3.5 s since the first of at least four probes without an answer; or for 1 s,
                where an ICMP error came as well; or ten had no answer, whatever was heard
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from l2mesh.core.path import Path

DOUBT_AFTER_PROBES: Final = 2
DOUBT_THOUGH_HEARD_PROBES: Final = 4
ASK_AGAIN_S: Final = 1.0
"""The longest between two questions without an answer, where the round-trip time allows it."""
ASK_ACCUSED_S: Final = 0.2
FAIL_AFTER_S: Final = 3.5
"""In doubt for so long: 6.5 s after the last answer under traffic, at the latest."""
FAIL_AFTER_PROBES: Final = 4
"""With a fifth of all datagrams lost each way, seven probes are sent in this time, and nothing is heard one time
in a thousand."""
FAIL_ACCUSED_AFTER_S: Final = 0.9
FAIL_ACCUSED_AFTER_PROBES: Final = 5
FAIL_THOUGH_HEARD_PROBES: Final = 10
"""What is heard says that one direction works. This many probes are lost by chance (a third of the round trips)
one time in 27 000."""


def ask_again_after(path: Path) -> float:
    """Seconds from a question without an answer to the next."""
    patience = path.patience
    if path.accused:
        return max(patience, ASK_ACCUSED_S)
    doubled: float = patience * 2 ** max(0, path.unanswered - DOUBT_AFTER_PROBES)
    return min(doubled, max(patience, ASK_AGAIN_S))


def is_doubtful(path: Path, now: float) -> bool:
    """Whether another path should be used beside it; asked when the last probe had its time."""
    heard = path.heard_at > path.asked_at
    probes = DOUBT_THOUGH_HEARD_PROBES if heard else DOUBT_AFTER_PROBES
    return path.unanswered >= probes and now - path.asked_at >= path.patience


def failure(path: Path, now: float) -> str:
    """Why a path is to be given up; empty: it is not."""
    missed = path.unanswered - 1  # the last one is still awaited
    if missed < FAIL_AFTER_PROBES or not _has_failed(path, missed, now):
        return ""
    why = f" ({path.last_error})" if path.accused else ""
    return f"no answer to {missed} probes in {now - path.asked_at:.1f} s{why}"


def _has_failed(path: Path, missed: int, now: float) -> bool:
    silent = now - max(path.asked_at, path.heard_at)
    if path.accused and missed >= FAIL_ACCUSED_AFTER_PROBES and silent >= max(FAIL_ACCUSED_AFTER_S, path.patience):
        return True
    if missed >= FAIL_THOUGH_HEARD_PROBES:
        return now - path.asked_at >= FAIL_AFTER_S
    return silent >= FAIL_AFTER_S
