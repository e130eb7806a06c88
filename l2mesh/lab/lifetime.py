"""Signals while a lab is up: Ctrl-C, SIGTERM and SIGHUP clean it up, and no second one cuts that short."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)  # Ctrl-C is an exception already


def _exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def catch_signals() -> list[int]:
    """SIGTERM and SIGHUP raise SystemExit, unless the program handles them itself. For `restore_signals`."""
    if threading.current_thread() is not threading.main_thread():
        return []
    caught = [number for number in ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in caught:
        signal.signal(number, _exit)
    return [*caught]


def restore_signals(caught: list[int]) -> None:
    for number in caught:
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Signals that would end us wait until the block is over."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *ENDING})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
