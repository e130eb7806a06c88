"""Waiting for something to become true: never sleep and hope."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

POLL_SECONDS = 0.005


def wait_until(predicate: Callable[[], T], deadline_s: float, what: str, poll_s: float = POLL_SECONDS) -> T:
    """The first truthy value of `predicate`. TimeoutError("... `what` ...") after `deadline_s` seconds."""
    end = time.monotonic() + deadline_s
    while True:
        late = time.monotonic() >= end  # read first: a predicate that is slow still gets its last word
        value = predicate()
        if value:
            return value
        if late:
            raise TimeoutError(f"not within {deadline_s:g} s: {what} (last seen: {value!r})")
        time.sleep(poll_s)
