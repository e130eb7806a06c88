"""The port mappings of an edge: which router is asked for what; what engine and state file hear of it."""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from l2mesh.core.candidates import is_private
from l2mesh.core.events import MappingChecked, PathChanged
from l2mesh.core.mapping_values import MappingMemory, MappingState, MappingStatus, is_public
from l2mesh.core.port_mapping import PortMapper
from l2mesh.shell.gateway import find_gateway
from l2mesh.shell.port_mapping import MappingPort
from l2mesh.shell.upnp_process import UpnpProcess
from l2mesh.wire.address import format_address
from l2mesh.wire.pcp import NONCE_SIZE

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection, Mapping

    from l2mesh.app.config import Transport
    from l2mesh.app.state_file import StateFile
    from l2mesh.core.edge import EdgeEngine
    from l2mesh.core.events import Event
    from l2mesh.shell.driver import Driver

log = logging.getLogger("l2mesh")

NAMES = {4: "port mapping", 6: "IPv6 firewall"}


class PortMappings:
    """One for IPv4, which is checked from outside and becomes a candidate; one for IPv6, which opens the router's
    firewall for a candidate that there is anyway. Doors: start, look, on_event, close; status.
    """

    def __init__(self, transport: Transport, state: StateFile, user: str) -> None:
        """Before the state file is saved for the first time: what proves a mapping to be ours is to be in it. And
        before privileges go; `user`: who we then are.
        """
        self._transport = transport
        self._state = state
        self._memory = state.mapping()
        self._memory.nonce = self._memory.nonce or os.urandom(NONCE_SIZE)
        state.remember_mapping(self._memory)
        self._mappings: dict[int, MappingPort] = {}
        self._claimed: object = None
        self._said: dict[int, str] = {}
        self._off = ""
        if not transport.port_mapping:
            self._off = "switched off in the file"
        elif transport.relay == "always":
            self._off = "nothing goes directly, by the file"
        self._upnp = None if self._off else UpnpProcess(user)

    # ---- doors

    def start(
        self, loop: asyncio.AbstractEventLoop, engine: EdgeEngine, driver: Driver[Any], ports: Mapping[int, int]
    ) -> None:
        """`ports`: bound, by IP version."""
        self._engine, self._driver, self._loop = engine, driver, loop
        self._ports = ports
        if self._upnp is None:
            return
        # Another nonce for another mapping (RFC 6887, section 11.2), also known after a restart.
        memories = {4: self._memory, 6: MappingMemory(self._memory.nonce[::-1])}
        for version in ports:
            mapper = PortMapper(memories[version], os.urandom, version)
            changed = partial(self._changed, version)
            self._mappings[version] = MappingPort(mapper, version, loop, changed, self._upnp.run)

    def look(self, own_devices: Collection[str]) -> None:
        """The network is other than before. `own_devices`: the TAP and its bridge."""
        asked = False
        for version, mapping in self._mappings.items():
            gateway = find_gateway(version, self._ports[version], own_devices)
            if gateway is None:
                mapping.end(f"there is no router for IPv{version}")
            elif reason := self._needless(version, gateway.own_host):
                mapping.end(reason)
            else:
                asked = True
                mapping.begin(gateway)
        if self._upnp and not asked:
            self._upnp.close()  # of no use here; it is started again should this change

    def on_event(self, event: Event) -> None:
        """Called while the driver is at work: what follows comes after it."""
        if isinstance(event, MappingChecked) and 4 in self._mappings:
            self._loop.call_soon(self._mappings[4].checked, event.address, event.verdict, event.detail)
        elif isinstance(event, PathChanged) and self._claimed and not event.new.startswith("direct"):
            self._loop.call_soon(self._driver.call, self._engine.doubt_mapped)

    async def close(self) -> None:
        """Give back what was mapped. The engine is closed by now."""
        mappings, self._mappings = self._mappings, {}
        for mapping in mappings.values():
            await mapping.close()
        if self._upnp:
            self._upnp.close()
        self._state.remember_mapping(self._memory)

    def status(self, version: int) -> MappingStatus:
        mapping = self._mappings.get(version)
        return mapping.mapper.status if mapping else MappingStatus(reason=self._off)

    # ---- details

    def _needless(self, version: int, own_host: str) -> str:
        """Why there is nothing to map; empty: there is."""
        listening = {host for host, _ in self._transport.listen if (":" in host) == (version == 6)}
        if not listening & {own_host, "::" if version == 6 else "0.0.0.0"}:
            return f"nothing listens on {own_host}, where the router would send to"
        if version == 4:
            return "this host has a public address itself" if is_public(own_host) else ""
        return f"{own_host} is no public address" if is_private(own_host) else ""

    def _changed(self, version: int) -> None:
        if version not in self._mappings:
            return  # at the end
        mapper = self._mappings[version].mapper
        self._say(version, mapper.status)
        if version == 4:
            self._engine.set_two_nats(hint=mapper.status.double_nat)
            # At once: who is killed in the next seconds is to take over what he left.
            self._state.remember_mapping(self._memory)
            self._state.save(self._engine.timestamps, self._engine.guard)
            claimed = (mapper.claimed, mapper.grants) if mapper.claimed else None
            if claimed != self._claimed:
                self._claimed = claimed
                self._driver.call(self._engine.claim_mapped, mapper.claimed)

    def _say(self, version: int, status: MappingStatus) -> None:
        """What lasts is for the log, once."""
        if status.state is MappingState.OPEN and status.external:
            line = f"open: {format_address(status.external)} by {status.protocol}"
        elif status.state in (MappingState.NONE, MappingState.OFF):
            line = f"{status.state}: {status.reason}"
        else:
            return
        if line != self._said.get(version):
            self._said[version] = line
            log.info("%s: %s", NAMES[version], line)
