from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from l2mesh.shell.notify import Notifier, watchdog_interval

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_hears_all_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"l2mesh-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
        notifier = Notifier()
        notifier.ready("3 peers")
        notifier.status("4 peers")
        notifier.watchdog()
        notifier.stopping()
        heard = [manager.recv(100) for _ in range(4)]
    assert heard == [b"READY=1\nSTATUS=3 peers", b"STATUS=4 peers", b"WATCHDOG=1", b"STOPPING=1"]


@pytest.mark.parametrize("address", ["", "vsock:2:1", "/nonexistent/socket"])
def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    Notifier().ready()


def test_the_watchdog_is_fed_twice_as_often_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    assert watchdog_interval() == 15
    monkeypatch.setenv("WATCHDOG_PID", "1")  # meant for somebody else
    assert watchdog_interval() is None
    monkeypatch.delenv("WATCHDOG_USEC")
    assert watchdog_interval() is None
