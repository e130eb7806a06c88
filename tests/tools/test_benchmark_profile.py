"""The profile of the engines: every stage is timed, and nothing is dropped on the way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from benchmark.cli import main
from benchmark.profile.engines import Pair
from benchmark.profile.stages import STAGES, measure
from benchmark.profile.workloads import WORKLOADS, Workload
from click.testing import CliRunner


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair()


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_all_frames_of_a_batch_arrive_and_every_stage_takes_time(pair: Pair, workload: Workload) -> None:
    profile = measure(pair, replace(workload, batches=3), passes=1)
    assert not profile.dropped
    assert set(profile.ns) == set(STAGES)
    assert all(ns > 0 for ns in profile.ns.values())
    assert profile.datagrams >= 1
    assert 1 <= profile.delivered <= workload.batch


def test_a_superframe_is_delivered_whole(pair: Pair) -> None:
    tcp = next(workload for workload in WORKLOADS if workload.name == "tcp")
    profile = measure(pair, replace(tcp, batches=2), passes=1)
    assert profile.delivered == tcp.batch
    assert profile.datagrams >= tcp.batch * tcp.units


def test_the_profile_is_written_as_json(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    done = CliRunner().invoke(main, ["--profile", "--quick", "--only", "lone", "--json", str(file)])
    assert done.exit_code == 0, done.output
    (lone,) = json.loads(file.read_text())["profiles"]
    assert lone["workload"] == "lone"
    assert set(lone["ns"]) == set(STAGES)
    assert "whole rx" in done.output
