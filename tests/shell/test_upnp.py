"""UPnP: the conversation with a router that refuses this or that, and the process it is had in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from l2mesh.core.mapping_protocols import Deleted, Denied, Granted, Outcome, Silent, UpnpJob
from l2mesh.shell import upnp_process
from l2mesh.shell.upnp import GONE, ONLY_PERMANENT, SAME_PORT, TAKEN, work
from l2mesh.shell.upnp_process import UpnpProcess, outcome_of, readable_by_all

JOB = {"action": "map", "own_host": "192.168.1.5", "own_port": 40000, "ports": [50000, 50001], "lifetime": 3600}
DELETE = JOB | {"action": "delete", "ports": [50000], "lifetime": 0}
UPNP_JOB = UpnpJob("map", "127.0.0.1", 40000, (50000,), 3600)
PUBLIC = "198.51.100.1"


class FakeRouter:
    """Of the class miniupnpc.UPnP as far as it is used. `refuse(external, port, lease)`: the text of an error."""

    def __init__(self, refuse: Callable[[int, int, int], str] = lambda external, port, lease: "") -> None:
        self.discoverdelay = 0
        self.lanaddr = "192.168.1.5"
        self.there = True
        self.refuse = refuse
        self.maps: dict[int, tuple[int, int]] = {}

    def discover(self) -> int:
        return int(self.there)

    def selectigd(self) -> str:
        if not self.there:
            raise Exception("No UPnP device discovered")
        return "http://192.168.1.1:5000/ctl"

    def externalipaddress(self) -> str:
        return PUBLIC

    def addportmapping(
        self, external: int, protocol: str, host: str, port: int, text: str, remote: str, lease: int, /
    ) -> bool:
        assert (protocol, host, text, remote) == ("UDP", self.lanaddr, "l2mesh", "")
        if refusal := self.refuse(external, port, lease):
            raise Exception(refusal)
        self.maps[external] = (port, lease)
        return True

    def deleteportmapping(self, external: int, protocol: str, /) -> bool:
        if external not in self.maps:
            raise Exception(GONE)
        del self.maps[external]
        return True


def test_a_port_is_mapped_for_an_hour() -> None:
    router = FakeRouter()
    assert work(router, JOB) == {"external": [PUBLIC, 50000], "lifetime": 3600}
    assert router.maps == {50000: (40000, 3600)}


@pytest.mark.parametrize("text", ONLY_PERMANENT)
def test_a_router_with_permanent_leases_only_gets_one(text: str) -> None:
    router = FakeRouter(lambda external, port, lease: text if lease else "")
    assert work(router, JOB) == {"external": [PUBLIC, 50000], "lifetime": 0}
    assert router.maps == {50000: (40000, 0)}


def test_a_taken_port_leads_to_the_next() -> None:
    router = FakeRouter(lambda external, port, lease: TAKEN if external == 50000 else "")
    assert work(router, JOB) == {"external": [PUBLIC, 50001], "lifetime": 3600}


def test_a_router_that_cannot_translate_ports_gets_our_own() -> None:
    router = FakeRouter(lambda external, port, lease: "" if external == port else SAME_PORT)
    assert work(router, JOB) == {"external": [PUBLIC, 40000], "lifetime": 3600}


@pytest.mark.parametrize("text", [TAKEN, SAME_PORT, *ONLY_PERMANENT, "Action not authorized"])
def test_a_router_that_always_refuses_is_left_in_peace(text: str) -> None:
    asked = 0

    def refuse(external: int, port: int, lease: int) -> str:
        nonlocal asked
        asked += 1
        return text

    assert work(FakeRouter(refuse), JOB) == {"denied": text}
    assert asked <= 2


def test_no_router() -> None:
    router = FakeRouter()
    router.there = False
    assert work(router, JOB) == work(router, DELETE) == {"silent": "no router found"}


def test_a_router_elsewhere_is_not_ours() -> None:
    router = FakeRouter()
    router.lanaddr = "10.0.0.5"
    assert "silent" in work(router, JOB)


def test_deleting_what_is_gone_is_as_good() -> None:
    router = FakeRouter()
    work(router, JOB)
    assert work(router, DELETE) == work(router, DELETE) == {"deleted": True}
    assert not router.maps


@pytest.mark.parametrize(
    ("printed", "outcome"),
    [
        ({"external": [PUBLIC, 50000], "lifetime": 3600}, Granted((PUBLIC, 50000), 3600)),
        ({"external": [PUBLIC, 50000], "lifetime": 0}, Granted((PUBLIC, 50000), 3600)),
        ({"deleted": True}, Deleted()),
        ({"denied": "no"}, Denied("no")),
        ({"silent": "nobody"}, Silent("nobody")),
        ({}, Silent("no usable answer")),
        ({"external": ["rubbish", 1], "lifetime": 1}, Silent("no usable answer")),
        ({"external": ["fe80::1", 1], "lifetime": 1}, Silent("no usable answer")),
        ([], Silent("no usable answer")),
    ],
)
def test_what_the_process_prints_is_an_outcome(printed: Any, outcome: Outcome) -> None:
    assert outcome_of(json.dumps(printed).encode(), UPNP_JOB) == outcome


@pytest.mark.parametrize("printed", [b"", b"{", b"\xff", b"Traceback"])
def test_rubbish_is_silence(printed: bytes) -> None:
    assert outcome_of(printed, UPNP_JOB) == Silent("no usable answer")


def test_a_process_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upnp_process, "JOB_SECONDS", 0.05)
    assert asyncio.run(UpnpProcess("").run(UPNP_JOB)) == Silent("not done after 0 s")


def test_a_python_that_may_not_be_run_is_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    monkeypatch.setattr(upnp_process, "readable_by_all", lambda *files: True)
    outcome = asyncio.run(UpnpProcess("").run(UPNP_JOB))
    assert outcome == Silent("its process does not work: No such file or directory")


def test_a_python_in_a_place_of_somebody_else_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/etc/passwd")
    outcome = asyncio.run(UpnpProcess("").run(UPNP_JOB))
    assert isinstance(outcome, Silent)
    assert outcome.reason.startswith("the user of this edge may not run /etc/passwd")


def test_a_process_that_ends_is_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/true")
    outcome = asyncio.run(UpnpProcess("").run(UPNP_JOB))
    assert outcome == Silent("its process ended without an answer")


def test_who_may_read_a_file(tmp_path: Path) -> None:
    file = tmp_path / "private" / "file"
    file.parent.mkdir(mode=0o755)
    file.touch(mode=0o644)
    above = [one for one in tmp_path.resolve().parents if not one.stat().st_mode & 0o001]
    assert readable_by_all(file) is not bool(above or not tmp_path.stat().st_mode & 0o001)
    assert readable_by_all(Path("/etc/passwd"))
    file.parent.chmod(0o700)
    assert not readable_by_all(file)
    link = file.parent / "link"
    link.symlink_to("/etc/passwd")
    assert not readable_by_all(link), "nobody gets to it"
    file.parent.chmod(0o755)
    file.chmod(0o600)
    assert not readable_by_all(Path("/etc/passwd"), file)
