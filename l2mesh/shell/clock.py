"""The two clocks of a running program."""

from __future__ import annotations

import time


def now() -> float:
    """Seconds since boot, suspend included: after a night's sleep every lease and key looks as old as it
    is.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wall_offset() -> float:
    """Seconds to add to now() for Unix time. Ask again from time to time: NTP moves it, and so does the
    user.
    """
    return time.time() - now()
