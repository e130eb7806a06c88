"""The driver with small engines: real loop and sockets; the TAP is a socket pair, or with root a real one."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import subprocess
from math import inf
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from l2mesh.shell import driver as driver_module
from l2mesh.shell import outlet as outlet_module
from l2mesh.shell import side_sockets
from l2mesh.shell.driver import Driver
from l2mesh.shell.errors import ShellError
from l2mesh.shell.link import LinkSettings, configure_link
from l2mesh.shell.statistics import PortStatistics
from l2mesh.shell.tap import FrameDescriptor, Tap, TapFeatures
from l2mesh.shell.udp import UdpSocket, open_side_socket
from l2mesh.wire.address import SideAddress

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

Address = tuple[str, int]
HEADER = bytes(10)
IP_RECVTTL = 12


class Wire:
    """An engine that is a piece of wire: frames go to one address as they are, datagrams to the TAP."""

    def __init__(self, target: Address = ("127.0.0.1", 1)) -> None:
        self.target = target
        self.deadline = inf
        self.calls: list[str] = []
        self.events: list[str] = []
        self.sources: list[Address] = []
        self.errors: list[tuple[Address, int, bool]] = []
        self.answer_errors = False
        self.openers: list[Any] = []
        self.closing: list[int] = []
        self._trains: list[Any] = []
        self._deliveries: list[Any] = []

    def start(self, now: float) -> None:
        self.calls.append("start")

    def receive_frames(self, frames: list[memoryview], now: float) -> None:
        self._trains = [(self.target, frame, len(frame)) for frame in frames]

    def receive_datagrams(self, bursts: list[Any], now: float) -> None:
        self.calls += [f"from {address[0]}" for address, _, _ in bursts]
        self.sources += [address for address, _, _ in bursts]
        for _, data, size in bursts:
            self._deliveries += [[data[at : at + size]] for at in range(0, len(data), size)]

    def handle_timer(self, now: float) -> None:
        assert now >= self.deadline
        self.deadline = inf
        self.calls.append("timer")
        self.events.append("timer")

    def next_deadline(self) -> float:
        return self.deadline

    def receive_send_error(self, address: Address, errno: int, local: bool, now: float) -> None:
        self.errors.append((address, errno, local))
        if self.answer_errors:
            self._trains = [(address, b"again", 5)]

    def take_openers(self) -> list[Any]:
        openers, self.openers = self.openers, []
        return openers

    def take_closing(self) -> list[int]:
        closing, self.closing = self.closing, []
        return closing

    def take_datagrams(self) -> list[Any]:
        trains, self._trains = self._trains, []
        return trains

    def take_frames(self) -> list[Any]:
        deliveries, self._deliveries = self._deliveries, []
        return deliveries

    def take_events(self) -> list[str]:
        events, self.events = self.events, []
        return events

    def close(self, now: float) -> None:
        self._trains = [(self.target, b"goodbye", 7)]

    def say(self, target: Address, text: bytes, now: float) -> None:
        self._trains = [(target, text, len(text))]

    def wake_at(self, delay: float, now: float) -> None:
        self.deadline = now + delay


class Rig:
    """A driver with a Wire, one end of its TAP in our hand, and a program on the other end of the wire."""

    def __init__(
        self, stack: contextlib.ExitStack, port: type[FrameDescriptor] = FrameDescriptor, **options: Any
    ) -> None:
        ours, self.kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.program = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for each in (ours, self.kernel, self.program):
            stack.enter_context(each)
            each.setblocking(False)
        self.program.bind(("127.0.0.1", 0))
        self.udp = UdpSocket("127.0.0.1", 0)
        stack.callback(self.udp.close)
        self.engine = Wire(self.program.getsockname())
        self.tap = port(ours.fileno(), TapFeatures(vnet_header=True, tso=True, uso=True))
        self.loop = asyncio.get_running_loop()
        options.setdefault("sockets", [self.udp])
        self.driver = Driver(self.engine, tap=self.tap, loop=self.loop, **options)
        self.driver.start()
        stack.callback(self.driver.stop)


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(
    request: pytest.FixtureRequest,
) -> Callable[[Callable[[contextlib.ExitStack], Coroutine[Any, Any, None]]], None]:
    """Runs an async test with a stack that cleans up inside the loop."""

    def run_test(test: Callable[[contextlib.ExitStack], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            with contextlib.ExitStack() as stack:
                await asyncio.wait_for(test(stack), 5)

        request.param(main())

    return run_test


Run = Any


def test_a_lone_frame_is_sent_within_the_wake_up_that_found_it(run: Run) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        rig = Rig(stack)
        assert rig.engine.calls == ["start"]
        rig.kernel.send(HEADER + b"frame")
        # One turn of the loop polls and queues the reader behind us, the next one runs it and comes back.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert rig.program.recv(100) == HEADER + b"frame"

    run(test)


def test_datagrams_become_frames_and_all_is_counted(run: Run) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        rig = Rig(stack)
        rig.program.sendto(HEADER + b"answer", ("127.0.0.1", rig.udp.port))
        assert await rig.loop.sock_recv(rig.kernel, 100) == HEADER + b"answer"
        assert rig.engine.calls[-1] == "from 127.0.0.1"
        found = rig.driver.statistics()
        assert found["udp4"].reads == found["tap"].writes == 1

    run(test)


def test_many_frames_keep_their_order(run: Run) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        rig = Rig(stack)
        frames = [HEADER + number.to_bytes(2, "big") for number in range(200)]
        for frame in frames:
            await rig.loop.sock_sendall(rig.kernel, frame)
        assert [await rig.loop.sock_recv(rig.program, 100) for _ in frames] == frames

    run(test)


def test_a_timer_fires_once_and_its_events_are_told(run: Run) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        fired = asyncio.Event()
        rig = Rig(stack, on_event=lambda event: fired.set())
        rig.driver.call(rig.engine.wake_at, 0.005)
        await fired.wait()
        assert rig.engine.calls == ["start", "timer"]

    run(test)


def test_an_earlier_deadline_overtakes_and_a_later_one_waits(run: Run) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        fired = asyncio.Event()
        rig = Rig(stack, on_event=lambda event: fired.set())
        rig.driver.call(rig.engine.wake_at, 60.0)
        rig.driver.call(rig.engine.wake_at, 0.004)
        started = rig.loop.time()
        rig.driver.call(rig.engine.wake_at, 0.012)  # the timer of the one before finds nothing to do
        await fired.wait()
        assert rig.loop.time() - started > 0.008
        assert rig.engine.calls == ["start", "timer"]

    run(test)


def test_time_that_passed_in_suspend_is_noticed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        monkeypatch.setattr(driver_module, "LONGEST_TIMER", 0.003)
        boot_time = 100.0
        fired = asyncio.Event()
        rig = Rig(stack, clock=lambda: boot_time, on_event=lambda event: fired.set())
        rig.driver.call(rig.engine.wake_at, 30.0)
        boot_time = 4000.0  # the lid was closed; the loop's own clock did not move
        await fired.wait()

    run(test)


def test_stopping_says_goodbye(run: Run) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        rig = Rig(stack)
        rig.driver.stop()
        assert rig.program.recv(100) == b"goodbye"
        rig.kernel.send(HEADER + b"after the end")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        rig.driver.call(rig.engine.say, aside(rig.program.getsockname(), 1), b"too late")
        with pytest.raises(BlockingIOError):
            rig.program.recv(100)

    run(test)


def test_each_ip_version_leaves_by_its_own_socket(run: Run) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        sockets = [UdpSocket("127.0.0.1", 0), UdpSocket("::1", 0)]
        for each in sockets:
            stack.callback(each.close)
        rig = Rig(stack, sockets=sockets)
        for each in sockets:
            host = "127.0.0.1" if each.version == 4 else "::1"
            rig.driver.call(rig.engine.say, (host, each.port), HEADER + host.encode())
            assert await rig.loop.sock_recv(rig.kernel, 100) == HEADER + host.encode()
            assert rig.engine.calls[-1] == f"from {host}"

    run(test)


def test_a_datagram_to_a_version_we_do_not_have_is_counted(run: Run) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        rig = Rig(stack)
        rig.driver.call(rig.engine.say, ("::1", 9), b"text")
        assert rig.driver.unroutable == 1

    run(test)


def test_a_tap_that_is_gone_is_told_once_and_the_rest_goes_on(run: Run) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        failures: list[ShellError] = []
        failed = asyncio.Event()

        def on_failure(error: ShellError) -> None:
            failures.append(error)
            failed.set()

        rig = Rig(stack, port=GonePort, on_failure=on_failure)
        rig.kernel.send(HEADER + b"frame")
        await failed.wait()
        rig.driver.call(rig.engine.say, rig.program.getsockname(), b"still here")
        assert rig.program.recv(100) == b"still here"
        assert len(failures) == 1

    run(test)


class GonePort(FrameDescriptor):
    def read_batch(self, limit_frames: int = 1, limit_bytes: int = 1) -> list[memoryview]:
        raise ShellError("the TAP device is gone")


class FullPort:
    """A UDP port of equal rank whose room we rule: it takes `room` trains, and is writable when told."""

    version = 4
    number = 0

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.statistics = PortStatistics()
        self.errors: dict[Any, None] = {}
        self.room = 0
        self.sent: list[bytes] = []
        self._socket, self._other = socket.socketpair()
        for each in (self._socket, self._other):
            stack.enter_context(each)
            each.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.send(bytes(65536))

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive_batch(self) -> list[Any]:
        return []

    def send(self, trains: Sequence[Any]) -> list[Any]:
        taken, rest = trains[: self.room], trains[self.room :]
        self.room -= len(taken)
        self.sent += [bytes(buffer) for _, buffer, _ in taken]
        return [(address, bytes(buffer), size) for address, buffer, size in rest]

    def send_with_ttl(self, address: Address, datagram: Any, ttl: int) -> None: ...

    def take_errors(self) -> list[Any]:
        return []

    def grow(self) -> None: ...

    def close(self) -> None: ...

    def make_room(self, room: int) -> None:
        self.room = room
        with contextlib.suppress(BlockingIOError):
            while self._other.recv(1 << 20):
                pass


def test_while_the_socket_is_full_the_tap_rests_and_nothing_is_lost_or_reordered(run: Run) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        port = FullPort(stack)
        rig = Rig(stack, sockets=[port])
        rig.kernel.send(HEADER + b"0")
        await turns()
        for number in (1, 2):
            rig.kernel.send(HEADER + b"%d" % number)
        await turns()
        assert rig.tap.statistics.reads == 1  # the others wait in the kernel's queue
        rig.driver.call(rig.engine.say, ("127.0.0.1", 9), HEADER + b"answer")
        assert port.sent == []
        port.make_room(100)
        await turns()
        assert [text[10:] for text in port.sent] == [b"0", b"answer", b"1", b"2"]

    run(test)


def test_what_waits_for_a_full_socket_has_a_bound(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        monkeypatch.setattr(outlet_module, "BACKLOG_BYTES", 1000)
        port = FullPort(stack)
        rig = Rig(stack, sockets=[port])
        for _ in range(15):
            rig.driver.call(rig.engine.say, ("127.0.0.1", 9), bytes(100))
        assert port.statistics.drops == {"socket full": 5}
        port.make_room(100)
        await turns()
        assert len(port.sent) == 10

    run(test)


def test_an_icmp_error_is_told_and_the_socket_reads_on(run: Run) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        rig = Rig(stack)
        gone = closed_address()
        for _ in range(2):  # uvloop would stop at the first, were the socket itself watched
            rig.driver.call(rig.engine.say, gone, b"x")
            while not rig.engine.errors:
                await asyncio.sleep(0.001)
            assert rig.engine.errors == [(gone, errno.ECONNREFUSED, False)]
            rig.engine.errors.clear()
            rig.program.sendto(HEADER + b"alive", ("127.0.0.1", rig.udp.port))
            assert await rig.loop.sock_recv(rig.kernel, 100) == HEADER + b"alive"
        assert not rig.udp.statistics.drops

    run(test)


def test_what_this_host_refuses_to_send_is_told_after_the_call(run: Run) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        rig = Rig(stack)
        broadcast = ("255.255.255.255", 9)  # needs SO_BROADCAST
        rig.driver.call(rig.engine.say, broadcast, b"x")
        assert rig.engine.errors == []  # not while its own call is under way
        await asyncio.sleep(0.005)
        assert rig.engine.errors == [(broadcast, errno.EACCES, True)]
        assert rig.udp.statistics.drops.total() == 1

    run(test)


def test_an_engine_that_answers_each_error_by_the_next_gets_time_to_breathe(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        monkeypatch.setattr(driver_module, "ERRORS_REST", 60.0)
        rig = Rig(stack)
        rig.engine.answer_errors = True
        rig.driver.call(rig.engine.say, closed_address(), b"x")
        await asyncio.sleep(0.01)
        await turns()
        assert len(rig.engine.errors) == 1
        assert rig.udp.statistics.writes == 2

    run(test)


def test_a_side_socket_opens_at_its_first_train_and_carries_the_answers(run: Run) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        rig = SideRig(stack)
        there = aside(rig.program.getsockname(), 7)
        for text in (b"first", b"second"):
            rig.driver.call(rig.engine.say, there, text)
        (first, source), (second, again) = (rig.program.recvfrom(100) for _ in range(2))
        assert (first, second) == (b"first", b"second")
        assert source == again == ("127.0.0.1", rig.opened[0].port)
        assert source[1] != rig.udp.port
        rig.program.sendto(HEADER + b"answer", source)
        assert await rig.loop.sock_recv(rig.kernel, 100) == HEADER + b"answer"
        assert rig.engine.sources == [there]
        rig.driver.call(rig.engine.say, rig.program.getsockname(), b"by the main one")
        assert rig.program.recvfrom(100)[1] == ("127.0.0.1", rig.udp.port)
        found = rig.driver.statistics()
        assert (found["side"].writes, found["side"].reads, found["udp4"].writes) == (2, 1, 1)

    run(test)


def test_a_side_socket_closes_once_the_last_datagram_has_left_by_it(run: Run) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        rig = SideRig(stack)
        there = aside(rig.program.getsockname(), 7)
        rig.driver.call(rig.engine.say, there, b"hello")
        rig.engine.closing = [7, 8]
        rig.driver.call(rig.engine.say, there, b"goodbye")
        assert [rig.program.recv(100) for _ in range(2)] == [b"hello", b"goodbye"]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", rig.opened[0].port))  # it is free again
        rig.driver.call(rig.engine.say, there, b"anew")
        assert rig.program.recvfrom(100)[1] == ("127.0.0.1", rig.opened[1].port)

    run(test)


def test_one_that_closes_another_which_is_ready_too_does_no_harm(run: Run) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        rig = SideRig(stack)
        for number in (1, 2):
            rig.driver.call(rig.engine.say, aside(rig.program.getsockname(), number), b"x")
            rig.program.sendto(HEADER + b"y", ("127.0.0.1", rig.opened[-1].port))
        rig.engine.closing = [1, 2]  # taken after the first of the two was read
        await turns()
        assert len(rig.engine.sources) == 1

    run(test)


def test_side_sockets_have_a_bound_and_what_cannot_be_opened_is_counted_and_said_once(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        monkeypatch.setattr(side_sockets, "SIDE_SOCKETS_MAX", 2)
        caplog.clear()
        rig = SideRig(stack)
        host, port = rig.program.getsockname()
        for number in (1, 2, 3, 3):
            rig.driver.call(rig.engine.say, SideAddress(host, port, number), b"x")
        rig.engine.openers = [(SideAddress(host, port, 4), b"opener", 2)]
        rig.driver.call(rig.engine.say, SideAddress("::1", 9, 1), b"x")
        assert rig.driver.unroutable == 4
        assert len(rig.opened) == 2
        assert [record.getMessage() for record in caplog.records] == [
            "cannot open one more UDP socket: there are 2 of them already"
        ]
        rig.engine.closing = [1]
        rig.driver.call(rig.engine.say, SideAddress(host, port, 2), b"x")
        rig.driver.call(rig.engine.say, SideAddress(host, port, 3), b"x")
        assert rig.driver.unroutable == 4

    run(test)


def test_a_side_socket_that_is_busy_grows_as_far_as_others_have_not(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        monkeypatch.setattr(side_sockets, "GROWN_MAX", 1)
        rig = SideRig(stack)
        grown = []
        for number in (1, 2):
            rig.driver.call(rig.engine.say, aside(rig.program.getsockname(), number), b"x")
            monkeypatch.setattr(rig.opened[-1], "grow", lambda number=number: grown.append(number))
        rig.program.sendto(b"small", ("127.0.0.1", rig.opened[0].port))
        await turns()
        assert grown == []
        for port in rig.opened:
            rig.program.sendto(bytes(30_000), ("127.0.0.1", port.port))
            await turns()
        assert grown == [1]

    run(test)


def test_a_socket_given_with_a_number_is_never_closed_and_answers_by_itself(run: Run) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        sockets = [UdpSocket("127.0.0.1", 0), UdpSocket("127.0.0.2", 0, number=1)]
        for each in sockets:
            stack.callback(each.close)
        rig = Rig(stack, sockets=sockets)
        rig.program.sendto(HEADER + b"hello", ("127.0.0.2", sockets[1].port))
        await rig.loop.sock_recv(rig.kernel, 100)
        [source] = rig.engine.sources
        assert source == aside(rig.program.getsockname(), 1)
        rig.engine.closing = [1]
        rig.driver.call(rig.engine.say, source, b"reply")
        rig.driver.call(rig.engine.say, source, b"again")
        assert [rig.program.recvfrom(100)[1] for _ in range(2)] == [("127.0.0.2", sockets[1].port)] * 2
        rig.driver.call(rig.engine.say, aside(rig.program.getsockname(), 2), b"by which?")
        assert rig.driver.unroutable == 1
        assert rig.driver.statistics()["udp4.1"].writes == 2

    run(test)


def test_an_opener_goes_before_the_trains_of_its_turn(run: Run) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        rig = SideRig(stack)
        rig.program.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        there = rig.program.getsockname()
        for address in (there, aside(there, 1)):
            rig.engine.openers = [(address, b"opener", 3)]
            rig.driver.call(rig.engine.say, address, b"probe")
            received = [rig.program.recvmsg(100, 100)[:2] for _ in range(2)]
            assert [(data, ancillary[0][2][0]) for data, ancillary in received] == [(b"opener", 3), (b"probe", 64)]

    run(test)


def closed_address() -> Address:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        host, port = one.getsockname()
        return host, port


def aside(address: Address, number: int) -> SideAddress:
    return SideAddress(address[0], address[1], number)


class SideRig(Rig):
    """One that opens side sockets."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.opened: list[UdpSocket] = []
        super().__init__(stack, open_side=self._open)

    def _open(self, version: int, number: int, statistics: PortStatistics) -> UdpSocket:
        self.opened.append(open_side_socket([self.udp], version, number, statistics))
        return self.opened[-1]


async def turns() -> None:
    """A few turns of the loop: enough for every reader and writer that is ready."""
    for _ in range(6):
        await asyncio.sleep(0)


@pytest.fixture
def taps(namespaces: list[Any]) -> Iterator[list[Tap]]:
    """A TAP in each of two namespaces that a veth pair joins."""
    namespaces[0].join(namespaces[1], "192.0.2.1/24", "192.0.2.2/24")
    made = []
    try:
        for number, namespace in enumerate(namespaces, start=1):
            with namespace.entered():
                made.append(Tap("l2m0"))
                configure_link(LinkSettings("l2m0", mtu=1400, addresses=(f"10.98.0.{number}/24",)))
        yield made
    finally:
        for tap in made:
            tap.close()


@pytest.mark.root
def test_a_ping_crosses_two_taps_and_two_drivers(run: Run, namespaces: list[Any], taps: list[Tap]) -> None:
    async def test(stack: contextlib.ExitStack) -> None:
        drivers = []
        for number, (namespace, tap) in enumerate(zip(namespaces, taps, strict=True), start=1):
            with namespace.entered():
                port = UdpSocket(f"192.0.2.{number}", 7777)
            stack.callback(port.close)
            engine = Wire((f"192.0.2.{3 - number}", 7777))
            drivers.append(Driver(engine, [port], tap, loop=asyncio.get_running_loop()))
            drivers[-1].start()
            stack.callback(drivers[-1].stop)
        command = ["ping", "-n", "-c", "10", "-i", "0.01", "-W", "2", "-s", "1372", "-M", "do", "10.98.0.2"]
        ping = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        output, _ = await ping.communicate()
        assert b" 0% packet loss" in output, output.decode()

    run(test)
