from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any

from l2mesh.shell.resolver import LONGEST_PAUSE, resolve

if TYPE_CHECKING:
    import pytest

Found = list[tuple[Any, ...]]


def test_a_literal_of_either_version_resolves_to_itself() -> None:
    assert asyncio.run(resolve("127.0.0.1", 7777)) == [("127.0.0.1", 7777)]
    assert asyncio.run(resolve("::1", 7777)) == [("::1", 7777)]


def test_both_versions_are_given_in_order_and_once() -> None:
    async def lookup(host: str, port: int) -> Found:
        hosts = ["2001:db8::1", "192.0.2.1", "192.0.2.1"]
        return [(0, 0, 0, "", (h, port, 0, 0) if ":" in h else (h, port)) for h in hosts]

    assert asyncio.run(resolve("example", 7, lookup=lookup)) == [("2001:db8::1", 7), ("192.0.2.1", 7)]


def test_failure_is_said_once_and_success_after_it_once(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Exception | Found] = [
        socket.gaierror(-3, "Temporary failure in name resolution"),
        UnicodeError("label too long"),
        [],
        *[socket.gaierror(-3, "Temporary failure in name resolution")] * 5,
        [(0, 0, 0, "", ("192.0.2.1", 7))],
    ]
    pauses: list[float] = []

    async def lookup(host: str, port: int) -> Found:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    with caplog.at_level(logging.INFO):
        assert asyncio.run(resolve("sn.example", 7, lookup=lookup, pause=pause)) == [("192.0.2.1", 7)]
    assert [record.getMessage() for record in caplog.records] == [
        "cannot resolve sn.example: Temporary failure in name resolution: trying on",
        "resolved sn.example after 8 failures: 192.0.2.1",
    ]
    assert pauses == [1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
