"""However a demo ends, nothing of it stays: one signal ends it, later ones do not cut the cleaning short, and a
guard cleans up if the demo itself is killed.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NoReturn

from l2mesh.lab import sweep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
POLL_S: Final = 0.005
REPARENTED_SECONDS: Final = 5.0


@contextmanager
def one_signal_ends() -> Iterator[None]:
    """Inside, the first of SIGINT, SIGTERM, SIGHUP raises KeyboardInterrupt or SystemExit; the rest is ignored,
    also afterwards: the program is about to end.

    One that is ignored already (nohup) stays so.
    """
    before = {number: signal.getsignal(number) for number in ENDING}
    caught = [number for number in ENDING if before[number] is not signal.SIG_IGN]
    ended = False

    def end(number: int, _frame: FrameType | None) -> None:
        nonlocal ended
        ended = True
        for one in caught:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    for number in caught:
        signal.signal(number, end)
    try:
        yield
    finally:
        if not ended:
            for number in caught:
                signal.signal(number, before[number])


@contextmanager
def guarded() -> Iterator[None]:
    """Inside, a process of ours waits for our end, and sweeps what we could not: a SIGKILL leaves nothing either.

    Enter it before there are threads.
    """
    parent = os.getpid()
    ours, theirs = os.pipe()
    guard = os.fork()
    if guard == 0:
        os.close(theirs)
        _guard(parent, ours)
    os.close(ours)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(guard, signal.SIGKILL)
        os.waitpid(guard, 0)
        os.close(theirs)


def _guard(parent: int, pipe: int) -> NoReturn:
    try:
        os.setsid()
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        # Whoever reads what the demo prints is not to wait for us.
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        os.read(pipe, 1)  # until it is gone
        # Its lock may be let go a moment after its pipe; a process without a parent holds none.
        end = time.monotonic() + REPARENTED_SECONDS
        while os.getppid() == parent and time.monotonic() < end:
            time.sleep(POLL_S)
        sweep()
    finally:
        os._exit(0)
