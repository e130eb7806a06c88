"""Which router an edge asks, when it asks none, and what its state file keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from l2mesh.app import port_mapping
from l2mesh.app.config import Transport, load_edge
from l2mesh.app.port_mapping import PortMappings
from l2mesh.app.state_file import StateFile
from l2mesh.core.events import MappingChecked, PathChanged
from l2mesh.core.mapping_protocols import Gateway
from l2mesh.core.mapping_values import MappingMemory, MappingState, Verdict
from l2mesh.crypto.tai64n import ReplayGuard, TimestampSource

NONCE = bytes(range(12))
PORTS = {4: 40000, 6: 40000}


@pytest.fixture
def transport(examples: Path) -> Transport:
    return load_edge(examples / "edge.toml").transport


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


@pytest.fixture(autouse=True)
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """UPnP's process is for tests/shell."""
    monkeypatch.setattr("l2mesh.shell.upnp_process.readable_by_all", lambda *files: True)


class Engine:
    """As far as the mappings use one, and its driver too. `called`: doors knocked at."""

    def __init__(self) -> None:
        self.timestamps, self.guard = TimestampSource(None, 0.0), ReplayGuard()
        self.called: list[tuple[Any, ...]] = []
        self.two_nats = False

    def claim_mapped(self, *arguments: Any) -> None:
        self.called.append(("claim", *arguments))

    def doubt_mapped(self, *arguments: Any) -> None:
        self.called.append(("doubt", *arguments))

    def set_two_nats(self, *, hint: bool) -> None:
        self.two_nats = hint

    def call(self, door: Callable[..., None], *arguments: Any) -> None:
        door(*arguments)


def looked(
    transport: Transport, file: Path, gateway: Gateway | None, monkeypatch: pytest.MonkeyPatch
) -> list[Any]:
    """Status of both mappings after a look at a network with this router."""

    def find(version: int, port: int, devices: object) -> Gateway | None:
        return gateway if gateway and (":" in gateway.own_host) == (version == 6) else None

    monkeypatch.setattr(port_mapping, "find_gateway", find)

    async def scene() -> list[Any]:
        engine: Any = Engine()
        mappings = PortMappings(transport, StateFile(file), "nobody")
        mappings.start(asyncio.get_running_loop(), engine, engine, PORTS)
        mappings.look(())
        found = [mappings.status(version) for version in PORTS]
        await mappings.close()
        return found

    return asyncio.run(scene())


def test_the_state_file_keeps_what_takes_a_mapping_over(file: Path) -> None:
    state = StateFile(file)
    assert state.mapping() == MappingMemory()
    state.remember_mapping(MappingMemory(NONCE, 50000, 50001))
    state.save(TimestampSource(None, 0.0), ReplayGuard())
    assert StateFile(file).mapping() == MappingMemory(NONCE, 50000, 50001)


@pytest.mark.parametrize("nonce", ["", "rubbish", "00"])
def test_a_damaged_nonce_is_none(file: Path, nonce: str) -> None:
    file.write_text(f'{{"mapping": {{"nonce": "{nonce}", "external_port": 7}}}}')
    assert StateFile(file).mapping() == MappingMemory(b"", 7, 0)


def test_what_proves_a_mapping_to_be_ours_is_stored_before_it_is_used(transport: Transport, file: Path) -> None:
    state = StateFile(file)
    PortMappings(transport, state, "nobody")
    state.save(TimestampSource(None, 0.0), ReplayGuard())
    kept = StateFile(file).mapping().nonce
    assert len(kept) == 12
    again = StateFile(file)
    PortMappings(transport, again, "nobody")
    assert again.mapping().nonce == kept


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"port_mapping": False}, "switched off in the file"),
        ({"relay": "always"}, "nothing goes directly, by the file"),
    ],
)
def test_it_can_be_off(
    transport: Transport, file: Path, changes: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = Gateway("127.0.0.1", "192.168.1.5", 40000)
    for status in looked(replace(transport, **changes), file, gateway, monkeypatch):
        assert (status.state, status.reason) == (MappingState.OFF, reason)


@pytest.mark.parametrize(
    ("gateway", "listen", "version", "reason"),
    [
        (None, "0.0.0.0", 4, "there is no router for IPv4"),
        (None, "0.0.0.0", 6, "there is no router for IPv6"),
        (Gateway("198.51.100.1", "198.51.100.5", 40000), "0.0.0.0", 4, "this host has a public address itself"),
        (Gateway("fe80::1", "fd00::5", 40000), "::", 6, "fd00::5 is no public address"),
        (
            Gateway("192.168.1.1", "192.168.1.5", 40000),
            "10.0.0.7",
            4,
            "nothing listens on 192.168.1.5, where the router would send to",
        ),
    ],
)
def test_no_router_is_asked_in_vain(
    transport: Transport,
    file: Path,
    gateway: Gateway | None,
    listen: str,
    version: int,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transport = replace(transport, listen=((listen, 0),))
    status = looked(transport, file, gateway, monkeypatch)[0 if version == 4 else 1]
    assert (status.state, status.reason) == (MappingState.OFF, reason)


def test_a_router_is_asked(transport: Transport, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [status, _] = looked(transport, file, Gateway("127.0.0.1", "192.168.1.5", 40000), monkeypatch)
    assert status.state is MappingState.ASKING


def test_what_was_promised_is_checked_and_a_lost_peer_raises_doubt(transport: Transport, file: Path) -> None:
    async def scene() -> list[tuple[Any, ...]]:
        fake = Engine()
        engine: Any = fake
        mappings = PortMappings(transport, StateFile(file), "nobody")
        mappings.start(asyncio.get_running_loop(), engine, engine, PORTS)
        mapper = mappings._mappings[4].mapper
        mappings.on_event(PathChanged("bob", "direct 1.2.3.4:5", "relay 1.2.3.4:6"))
        await asyncio.sleep(0)
        assert not fake.called  # nothing is mapped
        mapper.claimed, mapper.grants = ("198.51.100.1", 50000), 1
        mappings._changed(4)
        mappings._changed(4)  # news of something else
        mapper.grants = 2  # renewed
        mappings._changed(4)
        mappings.on_event(PathChanged("bob", "direct 1.2.3.4:5", "relay 1.2.3.4:6"))
        mappings.on_event(PathChanged("bob", "relay 1.2.3.4:6", "direct 1.2.3.4:5"))
        mappings.on_event(MappingChecked(("198.51.100.1", 50000), Verdict.REACHED, ""))
        await asyncio.sleep(0)
        assert mappings.status(4).state is MappingState.OPEN
        mapper.end("")
        await mappings.close()
        return fake.called

    claim = ("claim", ("198.51.100.1", 50000))
    assert asyncio.run(scene()) == [claim, claim, ("doubt",)]
