"""status, peers, fdb and ping against real daemons' engines: UDP on loopback, sockets, and the command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import Result

from l2mesh.app.config import load_edge
from l2mesh.app.management import show, units
from l2mesh.app.management.dispatch import HttpError, Request, Routes
from l2mesh.app.management.documents import PingReply
from l2mesh.app.management.ping import PingBoard
from l2mesh.app.management.routes import edge_routes, supernode_routes
from l2mesh.app.management.server import ManagementServer
from l2mesh.app.verbs.ping import paced
from l2mesh.core.edge import EdgeEngine, EdgeSettings, SupernodeName
from l2mesh.core.events import PeerUp, ProbeAnswered
from l2mesh.core.peer import Identity, Role
from l2mesh.core.session_node import Surroundings
from l2mesh.core.supernode import SupernodeEngine, SupernodeSettings
from l2mesh.crypto.aead import suites_by_speed
from l2mesh.crypto.keys import NO_PSK, StaticKey, encode_key, network_id
from l2mesh.crypto.tai64n import ReplayGuard, TimestampSource
from l2mesh.shell.clock import now, wall_offset
from l2mesh.shell.driver import Driver
from l2mesh.shell.udp import UdpSocket
from l2mesh.simulator.mesh import Network

Command = Callable[..., Result]

EDGE = """
[network]
name = "{network}"
secret = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
supernodes = ["127.0.0.1:{port}"]
[node]
name = "{name}"
[tap]
device = "{device}"
"""
SUITES = suites_by_speed(aes_is_fast=True)
SILENT: Routes = {}


def silent(_request: Request) -> object:
    raise HttpError(HTTPStatus.GATEWAY_TIMEOUT, "carol did not answer within 2 s")


class Daemons:
    """alice and bob in a network by way of a supernode, all in one thread: engines, drivers, management sockets.

    The sockets are office.l2m0.sock (alice), home.l2m1.sock (bob), supernode.sock, and silent.l2m9.sock, which
    knows nothing but a ping without answer.
    """

    def __init__(self, directory: Path) -> None:
        self.run = directory
        self.alice_is_up = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.network = Network("of a test")
        self.edges: dict[str, EdgeEngine] = {}
        self._drivers: list[Driver[Any]] = []
        self._sockets: list[UdpSocket] = []
        self._servers: list[ManagementServer] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    def _run(self) -> None:
        self.loop.run_until_complete(self._open())
        self.loop.run_forever()

    async def _open(self) -> None:
        port = await self._open_supernode()
        await self._open_edge("alice", "office", "l2m0", port)
        await self._open_edge("bob", "home", "l2m1", port)
        await self._serve("silent.l2m9.sock", {("POST", "/v1/ping"): silent})

    async def _close(self) -> None:
        for driver in self._drivers:
            driver.stop()
        for server in self._servers:
            await server.close()
        for socket in self._sockets:
            socket.close()

    async def _serve(self, name: str, routes: Routes) -> None:
        server = ManagementServer(self.run / name, routes)
        await server.start()
        self._servers.append(server)

    def _drive(self, engine: Any, on_event: Callable[[Any], None]) -> tuple[Driver[Any], int]:
        socket = UdpSocket("127.0.0.1", 0)
        driver = Driver(engine, [socket], loop=self.loop, on_event=on_event)
        self._sockets.append(socket)
        self._drivers.append(driver)
        engine.set_wall_clock(wall_offset())
        driver.start()
        driver.call(engine.set_local_addresses, [], {4: socket.port})
        return driver, socket.port

    async def _open_supernode(self) -> int:
        self.supernode_key = StaticKey.generate(os.urandom)
        identity = Identity(Role.SUPERNODE, self.supernode_key, SUITES, os.urandom(8), NO_PSK, NO_PSK, b"")
        engine = SupernodeEngine(identity, SupernodeSettings(), *self._sources())
        driver, port = self._drive(engine, lambda event: None)
        engine.set_listening([("127.0.0.1", port)])
        await self._serve("supernode.sock", supernode_routes(engine, driver, now()))
        return port

    async def _open_edge(self, name: str, network: str, device: str, port: int) -> None:
        key = StaticKey.generate(os.urandom)
        authority = self.network.authority.public
        certificate = self.network.certificate(name, key.public)
        identity = Identity(
            Role.EDGE, key, SUITES, os.urandom(8), network_id(authority), self.network.psk, certificate
        )
        mac = b"\x02" + os.urandom(5)
        supernode = f"127.0.0.1:{port}"
        settings = EdgeSettings(authority, mac, (SupernodeName(supernode),))
        engine = self.edges[name] = EdgeEngine(identity, settings, *self._sources())
        board = PingBoard()

        def on_event(event: object) -> None:
            if isinstance(event, ProbeAnswered):
                board.answered(event)
            elif isinstance(event, PeerUp) and name == "alice":
                self.alice_is_up.set()

        driver, _ = self._drive(engine, on_event)
        driver.call(engine.set_supernode_addresses, supernode, [("127.0.0.1", port)])
        file = self.run / f"{network}.toml"
        file.write_text(EDGE.format(network=network, name=name, device=device, port=port))
        socket = self.run / f"{network}.{device}.sock"
        config = replace(load_edge(file), socket=socket)
        await self._serve(socket.name, edge_routes(engine, driver, config, board, now()))

    def _sources(self) -> tuple[Surroundings, float]:
        return Surroundings(os.urandom, TimestampSource(None, now() + wall_offset()), ReplayGuard()), now()


@pytest.fixture(scope="module")
def daemons() -> Iterator[Daemons]:
    # A short path: those of pytest are near the 107 bytes that a socket's may have.
    with TemporaryDirectory(prefix="l2mesh-") as directory:
        running = Daemons(Path(directory))
        try:
            assert running.alice_is_up.wait(10), "alice never met bob"
            yield running
        finally:
            running.stop()


@pytest.fixture
def run(daemons: Daemons, here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime directory of all daemons."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(daemons.run))
    return daemons.run


@pytest.fixture
def only_alice(run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory with alice's socket, the supernode's, and one of a daemon that was killed."""
    with TemporaryDirectory(prefix="l2mesh-") as directory:
        for name in ("office.l2m0.sock", "supernode.sock"):
            (Path(directory) / name).symlink_to(run / name)
        with contextlib.suppress(FileNotFoundError):
            (Path(directory) / "killed.l2m2.sock").symlink_to("nowhere")
        monkeypatch.setenv("RUNTIME_DIRECTORY", directory)
        yield Path(directory)


def test_status_of_an_edge_reads_like_a_report(l2mesh: Command, run: Path, daemons: Daemons) -> None:
    result = l2mesh("status", "office")
    assert (result.exit_code, result.stderr) == (0, "")
    shown = result.stdout
    assert re.search(r"^edge +alice of the network office, up for \d+ s$", shown, re.MULTILINE)
    assert re.search(r"^device +l2m0  MAC 02:[0-9a-f:]{14}  MTU 1500$", shown, re.MULTILINE)
    assert re.search(r"^peers +1 of 1 up$", shown, re.MULTILINE)
    assert encode_key(daemons.edges["alice"].identity.static.public) in shown
    assert re.search(
        r"^SUPERNODE +STATE +ENDPOINT +SEES US AT +RTT +MEMBERS\n"
        r"(127\.0\.0\.1:\d+) +registered +\1 +127\.0\.0\.1:\d+ +[\d.-]+( ms)? +2$",
        shown,
        re.MULTILINE,
    )


def test_status_of_a_supernode_tells_its_networks(l2mesh: Command, run: Path, daemons: Daemons) -> None:
    shown = l2mesh("status", "supernode").stdout
    authority = encode_key(daemons.network.authority.public)
    assert encode_key(daemons.supernode_key.public) in shown
    assert re.search(rf"^{re.escape(authority[:12])} +2  {re.escape(authority)}$", shown, re.MULTILINE)
    assert re.search(r"^relays for +1 pair$", shown, re.MULTILINE)


def test_peers_of_an_edge_are_a_table(l2mesh: Command, run: Path) -> None:
    result = l2mesh("peers", "office")
    assert result.exit_code == 0
    head, bob = result.stdout.splitlines()
    assert head.split()[:6] == ["NAME", "STATE", "PATH", "ENDPOINT", "RELAY", "RTT"]
    assert re.match(r"bob +up +relay +(127\.0\.0\.1:\d+) +\1 +", bob)


def test_why_reads_like_an_answer(l2mesh: Command, run: Path) -> None:
    result = l2mesh("why", "bob", "office")
    assert (result.exit_code, result.stderr) == (0, "")
    first, _, *facts = result.stdout.splitlines()
    assert first.startswith("bob: relayed by a supernode, for ")
    assert re.match(r"path +relay 127\.0\.0\.1:\d+ by 127\.0\.0\.1:\d+ for \d+ s, RTT [\d.-]+", facts[0])
    assert re.search(
        r"^WAY +ENDPOINT +ORIGIN +FATE +PROBES +ANSWERED +RTT +LAST ERROR$", result.stdout, re.MULTILINE
    )
    assert "What would make it direct:\n  - " in result.stdout


def test_why_of_nobody_names_who_is_known(l2mesh: Command, run: Path) -> None:
    result = l2mesh("why", "nobody", "office")
    assert result.exit_code == 1
    assert "no peer 'nobody': known are bob" in result.stderr


def test_why_in_json_has_the_peer_as_peers_shows_it(l2mesh: Command, run: Path) -> None:
    document = json.loads(l2mesh("why", "bob", "office", "--json").stdout)
    assert document["peer"]["name"] == "bob"
    assert document["peer"]["paths"][0]["path"] == "relay"
    assert {"reason", "advice", "our_nat", "peer_nat", "attempts", "changes"} <= document.keys()


def test_netcheck_asks_the_edge_that_runs(l2mesh: Command, run: Path) -> None:
    document = json.loads(l2mesh("netcheck", "office", "--json").stdout)
    assert document["rtt_ms"].keys()
    assert document["port_mapping"]["state"] == "off"


def test_peers_of_a_supernode_are_those_registered(l2mesh: Command, run: Path) -> None:
    head, *members = l2mesh("peers", str(run / "supernode.sock")).stdout.splitlines()
    assert head.split() == ["NETWORK", "NAME", "ENDPOINT", "HEARD", "LEASE", "PUBLIC", "KEY"]
    assert [one.split()[1] for one in members] == ["alice", "bob"]


def test_fdb_shows_our_own_port(l2mesh: Command, run: Path, daemons: Daemons) -> None:
    shown = l2mesh("fdb", "office").stdout
    mac = daemons.edges["alice"].settings.mac.hex(":")
    assert shown.splitlines()[0].split() == ["MAC", "VLAN", "PORT", "HEARD"]
    assert re.search(rf"^{mac} +- +local +static$", shown, re.MULTILINE)


@pytest.mark.parametrize("verb", ["status", "peers", "fdb"])
def test_json_is_one_document_and_what_the_server_says(l2mesh: Command, run: Path, verb: str) -> None:
    result = l2mesh(verb, "office", "--json")
    assert (result.exit_code, result.stderr, result.stdout.count("\n")) == (0, "", 1)
    document = json.loads(result.stdout)
    assert (document["role"], document["network"]) == ("edge", "office")
    if shutil.which("curl") and verb == "fdb":
        command = ["curl", "-sS", "--unix-socket", str(run / "office.l2m0.sock"), "http://l/v1/fdb"]
        curled = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        assert curled["stations"][0]["mac"] == document["stations"][0]["mac"]


def test_ping_prints_lines_and_a_summary(l2mesh: Command, run: Path) -> None:
    result = l2mesh("ping", "bob", "office", "-c", "3", "-i", "0")
    assert (result.exit_code, result.stderr) == (0, "")
    *lines, summary = result.stdout.splitlines()
    assert len(lines) == 3
    assert all(re.fullmatch(r"bob: path=relay endpoint=127\.0\.0\.1:\d+ time=[\d.]+ ms", one) for one in lines)
    time_text = r"[\d.]+ ms"
    assert re.fullmatch(
        rf"bob: 3 sent, 3 answered, time min / mean / max = {time_text} / {time_text} / {time_text}", summary
    )


def test_ping_takes_a_public_key_and_gives_json(l2mesh: Command, run: Path, daemons: Daemons) -> None:
    key = encode_key(daemons.edges["bob"].identity.static.public)
    result = l2mesh("ping", key, "office", "-c", "2", "-i", "0", "--json")
    said = json.loads(result.stdout)
    assert (said["sent"], said["answered"]) == (2, 2)
    assert [one["peer"] for one in said["results"]] == ["bob", "bob"]
    assert said["min_ms"] <= said["mean_ms"] <= said["max_ms"]


def test_ping_without_an_answer_ends_with_1(l2mesh: Command, run: Path) -> None:
    result = l2mesh("ping", "carol", "silent", "-c", "2", "-i", "0")
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout == "carol: carol did not answer within 2 s\n" * 2 + "carol: 2 sent, 0 answered\n"
    result = l2mesh("ping", "carol", "silent", "-c", "1", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["min_ms"] is None


def test_ping_of_an_unknown_peer_fails_at_once(l2mesh: Command, run: Path) -> None:
    result = l2mesh("ping", "eve", "office")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: no peer 'eve': known are bob\n"


def test_ping_sums_up_when_it_is_interrupted(run: Path) -> None:
    command = [sys.executable, "-m", "l2mesh", "ping", "bob", "office", "-c", "0", "-i", "100"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("bob: path=")
        process.send_signal(2)
        shown, complained = process.communicate(timeout=10)
    assert (process.returncode, complained) == (0, "")
    assert shown.startswith("bob: 1 sent, 1 answered")


def test_the_pace_is_even_and_a_late_one_does_not_make_a_burst() -> None:
    assert list(paced(3, 0.0)) == [0, 1, 2]
    began = time.monotonic()
    steps = paced(3, 0.02)
    next(steps)
    time.sleep(0.05)
    assert list(steps) == [1, 2]
    assert time.monotonic() - began >= 0.07  # of which we were late by 0.03


# Which daemon


def test_without_a_target_the_only_one_is_asked(l2mesh: Command, only_alice: Path) -> None:
    (only_alice / "supernode.sock").unlink()
    assert json.loads(l2mesh("status", "--json").stdout)["name"] == "alice"


def test_a_supernode_is_not_meant_where_only_an_edge_can_be(l2mesh: Command, only_alice: Path) -> None:
    assert l2mesh("ping", "bob", "-c", "1").exit_code == 0
    assert l2mesh("fdb").exit_code == 0
    result = l2mesh("status")
    assert result.stderr == "error: several run here: name one of office.l2m0, supernode\n"


def test_a_supernode_that_is_named_says_whom_to_ask(l2mesh: Command, run: Path) -> None:
    result = l2mesh("fdb", str(run / "supernode.sock"))
    assert result.exit_code == 1
    assert result.stderr == "error: this is a supernode, which is no part of the switch: ask an edge\n"


def test_several_are_listed(l2mesh: Command, run: Path) -> None:
    result = l2mesh("peers")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "error: several run here: name one of home.l2m1, office.l2m0, silent.l2m9, supernode\n"
    )


def test_none_here_has_a_remedy(l2mesh: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(here))
    result = l2mesh("status")
    assert result.exit_code == 1
    assert result.stderr == (
        f"error: no l2mesh runs here (no socket in {here}): start one: sudo l2mesh edge FILE.toml\n"
    )


@pytest.mark.parametrize("target", ["office", "office.l2m0", "{run}/office.l2m0.sock", "{run}/office.toml"])
def test_a_target_is_a_name_a_socket_or_a_file(l2mesh: Command, run: Path, target: str) -> None:
    assert json.loads(l2mesh("status", target.format(run=run), "--json").stdout)["name"] == "alice"


def test_a_file_with_a_socket_of_its_own_is_followed(l2mesh: Command, run: Path) -> None:
    text = (run / "office.toml").read_text()
    Path("mine.toml").write_text(f'{text}\n[management]\nsocket = "{run}/home.l2m1.sock"\n')
    assert json.loads(l2mesh("status", "mine.toml", "--json").stdout)["name"] == "bob"
    Path("hub.toml").write_text(f'[supernode]\n[management]\nsocket = "{run}/supernode.sock"\n')
    assert json.loads(l2mesh("status", "hub.toml", "--json").stdout)["role"] == "supernode"


@pytest.mark.parametrize(
    ("target", "status", "said"),
    [
        ("nowhere", 1, "no l2mesh of the name 'nowhere' runs here: name one of home.l2m1, office.l2m0,"),
        ("no/such.sock", 1, "no/such.sock: no such socket, or network file"),
        ("no.toml", 2, "no.toml: no such file: name a network file, a network or a socket"),
    ],
)
def test_a_target_that_is_not_there(l2mesh: Command, run: Path, target: str, status: int, said: str) -> None:
    result = l2mesh("status", target)
    assert result.exit_code == status
    assert result.stderr.startswith(f"error: {said}")


# On the screen


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """What the command writes to a terminal of 200 columns."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "l2mesh", *arguments]
    surroundings = {**os.environ, "TERM": "xterm", "COLUMNS": "200", **environment}
    with subprocess.Popen(command, stdout=slave, stdin=slave, env=surroundings):
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the last writer has left
            while piece := os.read(master, 4096):
                shown += piece
    os.close(master)
    return shown.decode()


def test_a_terminal_gets_a_table_in_colour_unless_it_wants_none(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = on_a_terminal("peers", "office")
    assert re.search(r"\x1b\[32mup +\x1b\[0m", coloured)
    assert "stations" in coloured
    plain = on_a_terminal("peers", "office", NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", plain)
    assert "bob" in plain


def test_a_pipe_needs_no_rich(run: Path) -> None:
    code = (
        "import sys\nfrom l2mesh.app.cli import cli\n"
        "try: cli.main(['peers', 'office'])\n"
        "except SystemExit: print([name for name in sys.modules if name.split('.')[0] in ('rich', 'asyncio')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "[]"


def test_a_peer_s_name_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show.show_table([show.Column("name")], [["\x1b[2Jbob\r\n\u202e"], [None]])
    assert capsys.readouterr().out == "NAME\n?[2Jbob???\n-\n"


def test_columns_line_up() -> None:
    columns = [show.Column("name"), show.Column("rtt", right=True)]
    assert show.aligned(columns, [["bob", "1.25 ms"], ["charlotte", "-"]]) == (
        "NAME           RTT\n"
        "bob        1.25 ms\n"
        "charlotte        -"
    )  # fmt: skip


@pytest.mark.parametrize(("width", "kept"), [(80, "abcd"), (17, "abcd"), (16, "abc"), (12, "ac"), (1, "ac")])
def test_a_narrow_terminal_goes_without_spare_columns(width: int, kept: str) -> None:
    columns = [show.Column(name, spare=name in "bd") for name in "abcd"]
    shown = show.fitting(columns, [["12345", "1", "123", "12"]], width)
    assert "".join(columns[index].title for index in shown) == kept


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (units.duration(None), "-"),
        (units.duration(3.9), "3 s"),
        (units.duration(125), "2 min 5 s"),
        (units.duration(11525), "3 h 12 min"),
        (units.duration(2 * 86400 + 4 * 3600 + 59), "2 d 4 h"),
        (units.ago(5), "5 s ago"),
        (units.size(999), "999 B"),
        (units.size(1500), "1.5 kB"),
        (units.size(999_950), "1.0 MB"),
        (units.size(10**19), "10000.0 PB"),
        (units.round_trip(0.4123), "0.412 ms"),
        (units.round_trip(12.345), "12.3 ms"),
        (units.round_trip(204.4), "204 ms"),
        (units.count_of(1, "frame"), "1 frame"),
        (units.count_of(12345, "frame"), "12 345 frames"),
    ],
)
def test_numbers_for_people(shown: str, expected: str) -> None:
    assert shown == expected


def test_a_daemon_of_another_version_is_told(l2mesh: Command, here: Path) -> None:
    async def scenario() -> Result:
        server = ManagementServer(Path("old.sock"), {("GET", "/v1/status"): lambda _request: {"role": "ghost"}})
        await server.start()
        try:
            return await asyncio.to_thread(l2mesh, "status", "old.sock")
        finally:
            await server.close()

    result = asyncio.run(scenario())
    assert result.exit_code == 1
    assert "not what this version of l2mesh expects" in result.stderr
    assert "restart the daemon after an upgrade" in result.stderr


def test_a_reply_has_the_fields_that_others_depend_on() -> None:
    assert set(PingReply.__struct_fields__) >= {"peer", "path", "endpoint", "rtt_ms"}
