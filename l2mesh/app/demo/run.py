"""The demo, from the first namespace to the last: each step is shown, measured, and noted in a Result."""

from __future__ import annotations

import time
from contextlib import ExitStack
from itertools import permutations
from typing import TYPE_CHECKING, Final, TypeVar

from l2mesh.app.demo import checks, parties, topology
from l2mesh.app.demo.ending import guarded, one_signal_ends
from l2mesh.app.demo.frames import FirstFrames, Port
from l2mesh.app.demo.keeping import PREFIX, program, shell_command
from l2mesh.app.demo.pairs import Pairs
from l2mesh.app.demo.results import Member, Result
from l2mesh.app.errors import CommandError, ConfigError
from l2mesh.lab import Lab, LabError, sweep
from l2mesh.lab.lifetime import undisturbed

if TYPE_CHECKING:
    from collections.abc import Generator

    from l2mesh.app.demo.parties import Daemon, Edge
    from l2mesh.app.demo.screen import Screen

T = TypeVar("T")

POLL_S: Final = 0.01
READY_SECONDS: Final = 8.0
FIRST_FRAME_SECONDS: Final = 5.0
DIRECT_SECONDS: Final = 5.0


def run_demo(screen: Screen, *, keep: bool) -> Result:
    """What came of it. With `keep` it is still up then; else, and however this is left, nothing is."""
    begun = time.monotonic()
    result = Result()
    with one_signal_ends(), guarded(), ExitStack() as stack:
        sweep()
        lab = Lab(PREFIX)
        with undisturbed():
            stack.enter_context(lab)
        lab.directory.chmod(0o711)  # the daemons cease to be root, and have their state below
        story = Story(lab, screen, result)
        with screen:
            story.tell()
        if keep:
            story.keep()
    result.ok = not result.failures
    result.total_s = round(time.monotonic() - begun, 3)
    return result


class Story:
    """Doors: tell(), keep(). What fails is in the result's failures."""

    def __init__(self, lab: Lab, screen: Screen, result: Result) -> None:
        self._lab = lab
        self._screen = screen
        self._result = result
        self._topology: topology.Topology
        self._edges: list[Edge] = []
        self._daemons: list[Daemon] = []
        self._ports: list[Port] = []
        self._pairs: Pairs | None = None
        self._hello: FirstFrames | None = None

    def tell(self) -> None:
        try:
            self._build()
            self._start()
            self._meet()
            self._go_direct()
            self._ping()
            self._broadcast()
            self._transfer()
        except (CommandError, ConfigError, LabError, TimeoutError, OSError) as error:
            self._fail(str(error))
        finally:
            for port in self._ports:
                port.close()
        if self._result.failures:
            self._result.logs = {daemon.name: daemon.tail() for daemon in self._daemons}

    def keep(self) -> None:
        self._lab.keep = True
        self._result.kept = True
        self._result.directory = str(self._lab.directory)
        self._result.shells = {edge.name: shell_command(edge) for edge in self._edges}
        self._result.peers = f"{program('peers')} {self._edges[0].file}" if self._edges else None
        self._result.take_down = f"{program()} --down"

    # The steps.

    def _build(self) -> None:
        self._screen.begin("building an internet of network namespaces")
        self._topology = topology.build(self._lab)
        self._result.supernode = self._topology.supernode_address
        self._result.namespaces = self._topology.namespaces
        self._screen.show(topology.drawing(self._topology))
        self._screen.done(f"an internet of {self._topology.namespaces} network namespaces, with 3 home NATs")

    def _start(self) -> None:
        self._screen.begin("starting the supernode and three edges")
        supernode = parties.start_supernode(self._topology, self._lab.directory)
        self._daemons = [supernode]
        self._edges = parties.start_edges(self._topology, self._lab.directory)
        self._daemons += self._edges
        self._result.commands = [daemon.command for daemon in self._daemons]
        if not self._drive(checks.waiting_for(parties.all_ready(self._daemons), READY_SECONDS)):
            late = ", ".join(daemon.name for daemon in self._daemons if daemon.ready_at is None)
            raise CommandError(f"not ready after {READY_SECONDS:g} s: {late}")
        self._result.parties = [self._member(edge) for edge in self._edges]
        self._screen.done("l2mesh supernode and three l2mesh edge are ready")

    def _meet(self) -> None:
        self._screen.begin("waiting for the first frame of each to all others")
        self._pairs = Pairs(self._edges)
        self._result.pairs = self._pairs.all
        self._ports.extend(Port(edge) for edge in self._edges)
        self._hello = FirstFrames(self._ports, self._pairs.all, self._pairs.since)
        if not self._drive(checks.waiting_for(self._hello.done, FIRST_FRAME_SECONDS)):
            lost = [f"{one.source} → {one.destination}" for one in self._pairs.all if one.first_frame_s is None]
            raise CommandError(f"no frame after {FIRST_FRAME_SECONDS:g} s: {', '.join(lost)}")
        self._hello = None
        self._screen.done("frames pass from each to all others")

    def _go_direct(self) -> None:
        assert self._pairs is not None
        self._screen.begin("looking for direct paths through the NATs")
        if self._drive(checks.waiting_for(self._pairs.all_direct, DIRECT_SECONDS)):
            self._screen.done("all paths are direct, through both NATs")
            return
        relayed = [f"{one.source} → {one.destination}" for one in self._pairs.all if one.path != "direct"]
        self._fail(f"not direct after {DIRECT_SECONDS:g} s: {', '.join(relayed)}")

    def _ping(self) -> None:
        self._screen.begin("pinging all from all")
        pings = [checks.start_ping(one, other) for one, other in permutations(self._edges, 2)]
        self._drive(
            checks.waiting_for(lambda: all(ping.poll() is not None for ping in pings), checks.PING_SECONDS)
        )
        for pair, ping in zip(self._result.pairs, pings, strict=True):
            pair.ping = checks.read_ping(ping.text())
        lossy = [pair for pair in self._result.pairs if pair.ping and pair.ping.received < pair.ping.sent]
        for pair in lossy:
            assert pair.ping is not None
            what = f"{pair.ping.received} of {pair.ping.sent} answered"
            self._fail(f"ping {pair.source} → {pair.destination}: {what}")
        if not lossy:
            self._screen.done(f"ping: {len(pings)} directions, {checks.PINGS} each, all answered")

    def _broadcast(self) -> None:
        source, *others = self._ports
        self._screen.begin(f"a broadcast from {source.name}")
        found = self._result.broadcast = self._drive(checks.broadcast(source, others))
        missing = [port.name for port in others if port.name not in found.received_by]
        if missing:
            self._fail(f"the broadcast from {source.name} did not reach {' and '.join(missing)}")
        elif found.reflected:
            self._fail(f"the broadcast from {source.name} came back to it")
        else:
            self._screen.done(f"a broadcast from {source.name} reached {' and '.join(found.received_by)}")

    def _transfer(self) -> None:
        source, destination, *_ = self._edges
        way = f"{source.name} → {destination.name}"
        self._screen.begin(f"TCP {way} for {checks.TRANSFER_SECONDS} s, by {checks.transfer_tool()}")
        found = self._result.transfer = self._drive(checks.transfer(source, destination))
        if found.transferred_bytes:
            self._screen.done(f"TCP {way}: {found.mbit_per_s:.0f} Mbit/s")
        else:
            self._fail(f"TCP {way}: nothing arrived")

    # What they share.

    def _drive(self, work: Generator[None, None, T]) -> T:
        """Runs a check to its end, and all that goes on meanwhile."""
        while True:
            try:
                next(work)
            except StopIteration as end:
                self._tick()
                result: T = end.value
                return result
            self._tick()
            time.sleep(POLL_S)

    def _tick(self) -> None:
        if self._hello:
            self._hello.tick()
        if self._pairs:
            self._pairs.tick()
        self._screen.tick(self._result.pairs)

    def _fail(self, text: str) -> None:
        self._result.failures.append(text)
        self._screen.failed(text.splitlines()[0])

    def _member(self, edge: Edge) -> Member:
        site = edge.home.site
        return Member(
            name=edge.name,
            address=edge.home.address,
            lan_address=edge.home.host.address4,
            nat_address=site.router.address4,
            namespace=edge.home.host.full_name,
            file=str(edge.file),
            log=str(edge.process.log),
            start_s=round((edge.ready_at or edge.started_at) - edge.started_at, 3),
        )
