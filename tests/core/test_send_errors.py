"""What errors of datagrams that did not get there are taken for."""

from __future__ import annotations

from errno import (
    EACCES,
    EADDRNOTAVAIL,
    ECONNREFUSED,
    EHOSTUNREACH,
    EINVAL,
    EMSGSIZE,
    ENETDOWN,
    ENETUNREACH,
    ENOBUFS,
    EPERM,
)

import pytest

from l2mesh.core.send_errors import Effect, classify


@pytest.mark.parametrize(
    ("errno", "local", "expected"),
    [
        (ENETUNREACH, True, Effect.GONE),
        (EHOSTUNREACH, True, Effect.GONE),
        (ENETDOWN, True, Effect.GONE),
        (EADDRNOTAVAIL, True, Effect.GONE),
        (EPERM, True, Effect.DOUBT),
        (EACCES, True, Effect.DOUBT),
        (EMSGSIZE, True, Effect.TOO_LARGE),
        (ENOBUFS, True, None),
        (EINVAL, True, None),
        (ENETUNREACH, False, Effect.DOUBT),
        (EHOSTUNREACH, False, Effect.DOUBT),
        (ECONNREFUSED, False, Effect.DOUBT),
        (EMSGSIZE, False, Effect.TOO_LARGE),
        (99_999, False, None),
    ],
)
def test_only_our_own_host_is_believed_at_once(errno: int, local: bool, expected: Effect | None) -> None:
    error = classify(errno, local)
    assert (error and error.effect) == expected
    assert error is None or (error.local == local and error.reason)
