"""tools/scale: its arithmetic and tables, and that its light edges are edges to a real supernode."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scaling.cli import main
from scaling.edge import broadcast_figures
from scaling.figures import growth, spread
from scaling.identities import Network, timestamps
from scaling.registrant import Registrant, Tally
from scaling.report import EDGE, SUPERNODE, TABLES, Column, growth_text, print_report, table_of, target_text

from l2mesh.core import supernode
from l2mesh.core.peer import Identity, Role
from l2mesh.core.session_node import Surroundings
from l2mesh.core.supernode import SupernodeEngine, SupernodeSettings
from l2mesh.crypto.aead import suites_by_speed
from l2mesh.crypto.keys import NO_PSK, StaticKey
from l2mesh.crypto.tai64n import ReplayGuard
from l2mesh.shell.clock import wall_offset
from l2mesh.wire.control import DirectoryHint

HUB = ("198.51.100.1", 7777)
BEGUN_AT = 1000.0


@given(st.floats(0.1, 3), st.floats(0.001, 1000))
def test_growth_is_the_exponent(exponent: float, factor: float) -> None:
    costs = {n: factor * n**exponent for n in (10, 100, 1000)}
    assert growth(costs) == pytest.approx(exponent)


@pytest.mark.parametrize("costs", [{}, {10: 1.0}, {10: 0.0, 100: 0.0}])
def test_of_less_than_two_figures_nothing_grows(costs: dict[int, float]) -> None:
    assert math.isnan(growth(costs))


def test_a_spread_names_values_that_were_measured() -> None:
    assert spread([float(n) for n in range(1, 201)]) == {"count": 200, "p50": 100, "p99": 198, "max": 200}
    nothing = spread([])
    assert nothing["count"] == 0
    assert math.isnan(nothing["p99"])


def test_a_broadcast_counts_when_all_peers_delivered_it() -> None:
    sent = {0: 10.0, 1: 11.0, 2: 12.0}
    received = {"0": [5, 10.002, 10.004], "1": [5, 11.004, 11.010], "2": [4, 12.001, 12.001]}
    figures = broadcast_figures(sent, received, 5)
    assert figures["broadcasts_complete"] == "2/3"
    assert figures["broadcast_arrived_ms"] == pytest.approx(3.0)
    assert figures["broadcast_delivered_ms"] == pytest.approx(7.0)
    assert figures["broadcast_delivered_max_ms"] == pytest.approx(10.0)


def test_a_broadcast_that_nobody_got_has_no_times() -> None:
    assert broadcast_figures({0: 1.0}, {}, 5)["broadcast_delivered_ms"] is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(4.9, "<= 5: met"), (5.1, "<= 5: NOT MET"), (None, "<= 5: no figures"), (math.nan, "<= 5: no figures")],
)
def test_a_target_is_met_or_not(value: float | None, text: str) -> None:
    assert target_text(Column("cpu", "CPU", at_most=5), {"cpu": value}) == text


def test_growth_is_shown_where_it_means_something() -> None:
    rows = [{"peers": 10, "cost": 1.0}, {"peers": 1000, "cost": 100.0}]
    assert growth_text(Column("cost", ""), "peers", rows) == "n^1.00"
    assert growth_text(Column("cost", "", grows=False), "peers", rows) == ""
    assert growth_text(Column("other", ""), "peers", rows) == "-"


def test_a_table_has_every_figure_and_lives_with_missing_ones() -> None:
    row: dict[str, Any] = {
        "peers": 1000,
        "all_up_s": 2.25,
        "idle_cpu_percent": math.nan,
        "broadcasts_complete": "40/40",
    }
    console = Console(width=150, record=True)
    console.print(table_of("one edge", EDGE, [row]))
    text = console.export_text()
    assert "1 000" in text
    assert "2.2" in text
    assert "40/40" in text


def test_a_part_that_was_not_run_has_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_report({"supernode": [{"edges": 10, "joining_p99_ms": 3.0}]})
    shown = capsys.readouterr().out
    assert TABLES[1][1] in shown
    assert TABLES[0][1] not in shown
    assert TABLES[2][1] not in shown  # it was not restarted
    assert SUPERNODE[1].key == "joining_p99_ms"


def test_counts_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scaling.cli.requirements", list)
    done = CliRunner().invoke(main, ["--only", "edge", "--counts", "ten"])
    assert done.exit_code == 2
    assert "must be numbers" in done.output


class Hub:
    """A supernode's engine and its registrants, with nothing between them."""

    def __init__(self, networks: int, count: int) -> None:
        self.now = BEGUN_AT
        self.tally = Tally()
        self.static = StaticKey.generate(os.urandom)
        self.supernode = self.make_supernode()
        made = [Network.of_secret(os.urandom(32)) for _ in range(networks)]
        self.edges: dict[tuple[str, int], Registrant] = {}
        for number in range(count):
            network, address = made[number % networks], ("198.51.100.2", 10_000 + number)
            member = network.member(f"edge{number}")
            edge = Registrant(member, network.authority.public, HUB, self.static.public, self.tally, self.now)
            edge.set_local_addresses([address[0]], {4: address[1]}, self.now)
            self.edges[address] = edge

    def make_supernode(self) -> SupernodeEngine:
        identity = Identity(
            Role.SUPERNODE, self.static, suites_by_speed(aes_is_fast=True), os.urandom(8), NO_PSK, NO_PSK, b""
        )
        engine = SupernodeEngine(
            identity,
            SupernodeSettings(),
            Surroundings(os.urandom, timestamps(), ReplayGuard()),
            self.now,
        )
        engine.set_wall_clock(wall_offset())
        return engine

    def start(self) -> None:
        for address, edge in self.edges.items():
            edge.start(self.now)
            self.send(address)

    def run(self, seconds: float, step: float = 0.05) -> None:
        for _ in range(round(seconds / step)):
            self.now += step
            self.supernode.handle_timer(self.now)
            self.deliver()
            for address, edge in self.edges.items():
                edge.handle_timer(self.now)
                self.send(address)

    def send(self, address: tuple[str, int]) -> None:
        """At once, for all registrants seal into the same memory."""
        trains = [(bytearray(data), size) for _, data, size in self.edges[address].take_datagrams()]
        for data, size in trains:
            self.supernode.receive_datagrams([(address, memoryview(data), size)], self.now)
            self.deliver()

    def deliver(self) -> None:
        trains = [(to, bytearray(data), size) for to, data, size in self.supernode.take_datagrams()]
        for to, data, size in trains:
            self.edges[to].receive_datagrams([(HUB, memoryview(data), size)], self.now)
            self.send(to)

    def settled(self) -> bool:
        return all(edge.registered and edge.link.directory.request() is None for edge in self.edges.values())


def test_registrants_register_read_the_directory_and_renew() -> None:
    hub = Hub(networks=2, count=8)
    hub.start()
    hub.run(5)
    assert hub.settled()
    assert len(hub.tally.joined) == 8
    assert [len(network.registry.members) for network in hub.supernode.networks.values()] == [4, 4]
    hub.run(40, step=0.2)
    assert len(hub.tally.renewed) >= 8
    assert not hub.tally.returned_at


def test_registrants_find_a_supernode_that_lost_its_memory() -> None:
    hub = Hub(networks=2, count=8)
    hub.start()
    hub.run(3)
    hub.supernode = hub.make_supernode()
    hub.run(12)
    assert hub.settled()
    assert len(hub.tally.returned_at) == 8


def test_a_registrant_that_leaves_is_unlisted_at_once() -> None:
    hub = Hub(networks=1, count=3)
    hub.start()
    hub.run(3)
    address, leaving = next(iter(hub.edges.items()))
    leaving.close(hub.now)
    hub.send(address)
    (network,) = hub.supernode.networks.values()
    assert len(network.registry.members) == 2


def test_hints_are_paced_and_yet_all_learn_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supernode, "HINTS_PER_SECOND", 10.0)
    hub = Hub(networks=2, count=12)
    sent: list[float] = []
    send = SupernodeEngine.send_control

    def counted(engine: SupernodeEngine, peer: Any, message: Any, now: float, via: Any = None) -> bool:
        if isinstance(message, DirectoryHint):
            sent.append(now)
        return send(engine, peer, message, now, via)

    monkeypatch.setattr(SupernodeEngine, "send_control", counted)
    hub.start()
    hub.run(6)
    assert hub.settled()
    assert len(sent) <= 6 * 10 + 12
    latest = {network.registry.version for network in hub.supernode.networks.values()}
    assert {edge.link.directory.version for edge in hub.edges.values()} == latest
