from __future__ import annotations

import time

from l2mesh.shell import clock


def test_now_plus_the_offset_is_wall_time() -> None:
    assert abs(clock.now() + clock.wall_offset() - time.time()) < 0.5


def test_now_never_goes_back() -> None:
    instants = [clock.now() for _ in range(100)]
    assert instants == sorted(instants)
