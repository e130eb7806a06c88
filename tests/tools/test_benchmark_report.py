"""The benchmark's order of cells, its memory of samples, its tables, targets and pictures."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from benchmark.cli import main
from benchmark.measures import MEASURES
from benchmark.metrics import GROUPS, METRICS
from benchmark.plots import off_scale
from benchmark.report import cell_text, group_table, number, targets_table
from benchmark.results import Failure, Results, from_document
from benchmark.schedule import Clock, Turn, remaining, turns
from benchmark.statistics import Summary
from benchmark.systems import SYSTEMS
from benchmark.targets import TARGETS, verdicts
from benchmark.underlay import Underlay
from click.testing import CliRunner

VETH, PLAIN = Underlay.VETH, Underlay.PLAIN


@pytest.fixture
def results() -> Results:
    made = Results()
    made.titles = {"l2mesh": "l2mesh", "tinc": "tinc 1.0"}
    made.skipped = {"vpncloud": "vpncloud not found"}
    for ours, theirs in ((4_000, 700), (4_400, 730), (5_000, 750)):
        made.add("l2mesh", VETH, {"tcp_mbit": ours, "cpu_s_per_gb": 3.0})
        made.add("tinc", VETH, {"tcp_mbit": theirs, "cpu_s_per_gb": 16.0})
    made.failures.append(Failure("tinc", PLAIN, 2, "start: no ping was answered", "its log"))
    return made


# Order and time.


def test_each_round_has_every_system_once_on_each_underlay() -> None:
    counts = Counter((turn.round, turn.underlay, turn.system) for turn in turns(5, 3))
    assert len(counts) == 5 * 2 * 3
    assert set(counts.values()) == {1}


def test_rounds_are_not_mixed_and_begin_with_different_systems() -> None:
    order = turns(3, 3)
    assert [turn.round for turn in order] == sorted(turn.round for turn in order)
    assert [order[i].system for i in (0, 6, 12)] == [0, 1, 2]


def test_the_time_left_is_that_of_each_system_so_far() -> None:
    clock = Clock()
    todo = [Turn(1, VETH, 0), Turn(1, VETH, 1), Turn(1, VETH, 2)]
    usual = clock.left(todo)
    clock.add(0, 10.0)
    clock.add(1, 20.0)
    assert usual > 0
    assert clock.left(todo) == 10 + 20 + 15


def test_remaining_time_is_told_in_words() -> None:
    assert [remaining(seconds) for seconds in (0, 89, 600)] == ["done", "about 89 s left", "about 10 min left"]


# Samples.


def test_results_survive_json(results: Results) -> None:
    document = results.document()
    again = from_document(json.loads(json.dumps(document)))
    assert again.document() == document
    assert again.values("tinc", VETH, "tcp_mbit") == [700, 730, 750]
    assert again.failures == results.failures


def test_every_metric_is_in_one_table_and_every_target_has_a_metric_and_systems() -> None:
    grouped = [metric for _, metrics in GROUPS for metric in metrics]
    assert sorted(grouped) == sorted(METRICS)
    names = {make().name for make in SYSTEMS}
    for target in TARGETS:
        assert target.metric in METRICS
        assert {target.system, target.peer or target.system} <= names


def test_names_are_told_apart() -> None:
    for names in ([make().name for make in SYSTEMS], [measure.name for measure in MEASURES]):
        assert all(names)
        assert len(set(names)) == len(names)


# Tables.


def test_numbers_have_spaces_and_digits() -> None:
    assert number(17_700.4, METRICS["tcp_mbit"]) == "17 700"
    assert number(4.0, METRICS["cpu_s_per_gb"]) == "4.00"


def test_a_cell_shows_how_far_rounds_were_apart_and_a_single_round_none() -> None:
    metric = METRICS["tcp_mbit"]
    assert cell_text(Summary(3400, 3000, 3500, 5), metric) == "3 400 (3 000 - 3 500)"
    assert cell_text(Summary(3400, 3400, 3400, 1), metric) == "3 400"
    assert cell_text(None, metric) == "-"


def test_columns_and_rows_without_figures_are_left_out(results: Results) -> None:
    title, metrics = GROUPS[0]
    table = group_table(results, VETH, title, metrics)
    assert len(table.columns) == 1 + 2
    assert table.row_count == 2
    assert group_table(results, PLAIN, title, metrics).row_count == 0


# Targets.


def test_targets_are_ratios_of_medians(results: Results) -> None:
    tcp = next(one for one in verdicts(results) if one.target.metric == "tcp_mbit" and one.underlay is VETH)
    assert tcp.ratio == pytest.approx(4_400 / 730)
    assert tcp.met


def test_where_less_is_better_the_factor_is_an_upper_bound(results: Results) -> None:
    cpu = next(one for one in verdicts(results) if one.target.metric == "cpu_s_per_gb" and one.underlay is VETH)
    assert cpu.ratio == pytest.approx(3 / 16)
    assert cpu.met
    results.add("l2mesh", VETH, {"cpu_s_per_gb": 30.0})
    results.add("l2mesh", VETH, {"cpu_s_per_gb": 30.0})
    results.add("l2mesh", VETH, {"cpu_s_per_gb": 30.0})
    results.add("l2mesh", VETH, {"cpu_s_per_gb": 30.0})
    assert next(one for one in verdicts(results) if one.target == cpu.target).met is False


def test_a_target_without_figures_is_neither_met_nor_missed() -> None:
    assert {one.met for one in verdicts(Results())} == {None}
    assert targets_table(Results()).row_count == 0


def test_a_bound_without_a_peer_is_the_value_itself(results: Results) -> None:
    results.add("l2mesh-3-peers", VETH, {"memory_mb": 59.0})
    results.add("l2mesh-3-peers", PLAIN, {"memory_mb": 61.0})
    memory = [one.met for one in verdicts(results) if one.target.metric == "memory_mb"]
    assert memory == [True, False]


# The command.


def test_an_earlier_run_is_reported_again(results: Results, tmp_path: Path) -> None:
    file = tmp_path / "earlier.json"
    file.write_text(json.dumps({"host": {}, **results.document()}))
    done = CliRunner().invoke(main, ["--from", str(file)])
    assert done.exit_code == 0, done.output
    for text in (
        "4 400 (4 000 - 5 000)",
        "tinc 1.0",
        ">= 6 x tinc 1.0",
        "met",
        "skipped  vpncloud",
        "failed   tinc",
    ):
        assert text in done.output


@pytest.mark.parametrize(
    "options",
    [
        ["--only", "nonsense"],
        ["--measures", "nonsense"],
        ["--plot", "picture.bmp"],
        ["--profile", "--only", "tinc"],
    ],
)
def test_a_wrong_name_is_refused_before_anything_is_built(options: list[str]) -> None:
    done = CliRunner().invoke(main, options)
    assert done.exit_code == 2
    assert "Invalid value" in done.output


def test_systems_and_measures_are_listed() -> None:
    done = CliRunner().invoke(main, ["--list"])
    assert done.exit_code == 0, done.output
    assert "system   l2mesh-relay" in done.output
    assert "measure  udp64" in done.output


def test_a_limit_far_above_the_others_is_not_drawn() -> None:
    found = {name: Summary(v, v, v, 3) for name, v in (("raw", 20_000.0), ("vxlan", 3_000.0), ("l2mesh", 2_000.0))}
    assert off_scale(found) == ["raw"]
    assert off_scale({"raw": found["raw"]}) == []


def test_a_picture_is_drawn(results: Results, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra bench is not installed")
    file = tmp_path / "earlier.json"
    file.write_text(json.dumps({"host": {}, **results.document()}))
    for suffix, magic in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        picture = tmp_path / f"picture{suffix}"
        done = CliRunner().invoke(main, ["--from", str(file), "--plot", str(picture)])
        assert done.exit_code == 0, done.output
        assert picture.read_bytes().startswith(magic)
