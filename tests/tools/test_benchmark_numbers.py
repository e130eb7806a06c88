"""The benchmark's arithmetic: summaries, the search for a rate, what ping, iperf3 and /proc print."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from benchmark import iperf, pinging, processes
from benchmark.errors import BenchmarkError
from benchmark.iperf import UdpRun
from benchmark.measures.udp import judge
from benchmark.rate_search import TRIALS_MAX, Verdict, highest_good
from benchmark.statistics import Summary, percentile, summarise
from hypothesis import given
from hypothesis import strategies as st


def test_a_summary_is_the_median_with_both_ends() -> None:
    assert summarise([5.0, 1.0, 3.0]) == Summary(3.0, 1.0, 5.0, 3)
    assert summarise([]) is None


@given(st.lists(st.floats(0, 1e9), min_size=1), st.floats(0, 100))
def test_a_percentile_is_one_of_the_values_and_grows_with_the_share(values: list[float], percent: float) -> None:
    assert percentile(values, percent) in values
    assert percentile(values, 0) == min(values)
    assert percentile(values, percent) <= percentile(values, 100) == max(values)


def test_the_99th_percentile_of_300_has_three_above_it() -> None:
    assert percentile([float(i) for i in range(1, 301)], 99) == 297.0


# The search for the highest rate.


class Machine:
    """Carries up to `limit`, offers up to `offers`, and hiccups in the trials of these numbers."""

    def __init__(self, limit: float, offers: float = 1e9, hiccups: frozenset[int] = frozenset()) -> None:
        self.limit, self.offers, self.hiccups = limit, offers, hiccups
        self.tried: list[float] = []

    def trial(self, rate: float) -> Verdict:
        self.tried.append(rate)
        if min(rate, self.offers) > self.limit or len(self.tried) in self.hiccups:
            return Verdict.BAD
        return Verdict.GOOD if rate <= self.offers else Verdict.TOP

    def search(self, guess: float = 60_000) -> float | None:
        return highest_good(self.trial, guess=guess, factor=1.6, precision=1.05, lowest=2_000, highest=1_000_000)


@given(st.floats(2_100, 900_000), st.floats(2_000, 1_000_000))
def test_the_search_ends_just_below_the_limit_wherever_it_begins(limit: float, guess: float) -> None:
    machine = Machine(limit)
    found = machine.search(guess)
    assert found is not None
    if len(machine.tried) < TRIALS_MAX:
        assert limit / 1.05 <= found <= limit


def test_a_good_guess_takes_few_trials() -> None:
    machine = Machine(100_000)
    machine.search(guess=98_000)
    assert len(machine.tried) <= 7


def test_one_hiccup_below_the_limit_does_not_decide() -> None:
    for number in range(1, 5):
        found = Machine(100_000, hiccups=frozenset({number})).search()
        assert found is not None
        assert found >= 100_000 / 1.05


def test_a_machine_that_carries_nothing_has_no_rate() -> None:
    assert Machine(0).search() is None


def test_a_machine_that_carries_all_ends_at_the_highest() -> None:
    assert Machine(1e9).search() == 1_000_000


def test_the_search_ends_when_the_sender_can_offer_no_more() -> None:
    machine = Machine(1e9, offers=150_000)
    machine.search()
    assert sum(rate > 150_000 for rate in machine.tried) == 1


def udp(offered: float = 100.0, lost: float = 0.0, delivered: float = 100.0) -> UdpRun:
    return UdpRun(offered, lost, delivered, 1000)


@pytest.mark.parametrize(
    ("run", "verdict"),
    [
        (udp(), Verdict.GOOD),
        (udp(lost=0.01), Verdict.GOOD),
        (udp(lost=0.011), Verdict.BAD),
        (udp(delivered=94.0), Verdict.BAD),  # none lost yet: they wait in some queue
        (udp(offered=80.0, delivered=80.0), Verdict.TOP),
        (udp(offered=80.0, delivered=70.0), Verdict.BAD),
    ],
)
def test_a_trial_is_judged_by_loss_by_what_piles_up_and_by_what_was_offered(run: UdpRun, verdict: Verdict) -> None:
    assert judge(run, 100.0) is verdict


# What programs print.


def test_ping_times_are_microseconds() -> None:
    text = "64 bytes from 10.77.0.2: icmp_seq=1 ttl=64 time=0.118 ms\n64 bytes …: icmp_seq=2 ttl=64 time=12.0 ms\n"
    assert pinging.parse_times(text) == pytest.approx([118.0, 12_000.0])


def test_iperf3_errors_are_told_in_its_own_words() -> None:
    with pytest.raises(BenchmarkError, match="unable to connect"):
        iperf.parse('{"error": "unable to connect to server"}')
    with pytest.raises(BenchmarkError, match="no JSON"):
        iperf.parse("Segmentation fault")


def test_warnings_before_the_json_are_passed_over() -> None:
    assert iperf.parse('warning: UDP block size 1400 exceeds TCP MSS 1398\n{"end": 1}') == {"end": 1}


def interval(start: float, count: int) -> dict[str, Any]:
    return {"sum": {"start": start, "end": start + 0.1, "seconds": 0.1, "bytes": count * 64}}


def udp_document(counts: list[int], sent: int, seconds: float) -> Any:
    intervals = [interval(i * 0.1, count) for i, count in enumerate(counts)]
    return {
        "end": {
            "sum_sent": {"packets": sent, "seconds": seconds},
            "sum_received": {"bytes": 64 * sum(counts)},
        },
        "server_output_json": {"intervals": intervals},
    }


def test_delivered_is_counted_between_the_warm_up_and_the_end_of_the_sending() -> None:
    counts = [9_000, 9_000, 9_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 50_000]
    run = iperf.udp_run(udp_document(counts, 100_000, 1.0), 64)
    assert run.delivered_rate == pytest.approx(10_000)
    assert run.offered_rate == 100_000
    assert run.lost_share == pytest.approx(0.16)
    assert run.received == 84_000


def test_both_ways_are_added() -> None:
    end = {
        "sum_received": {"bytes": 1e6, "seconds": 1.0},
        "sum_received_bidir_reverse": {"bytes": 3e6, "seconds": 1.0},
    }
    assert iperf.tcp_mbit({"end": end}) == pytest.approx(32.0)


def test_a_flood_has_whole_seconds_and_a_rate_has_a_count() -> None:
    assert iperf.udp_options(64, None, 1.0)[-4:] == ["-b", "0", "-t", "1"]
    assert iperf.udp_options(64, 10_000, 0.5)[-4:] == ["-b", str(10_000 * 64 * 8), "-k", "5000"]


def test_a_listening_port_is_found_among_others() -> None:
    table = (
        "  sl  local_address rem_address   st tx_queue rx_queue\n"
        "   0: 00000000:1451 00000000:0000 0A 00000000:00000000\n"
        "   1: 0100007F:1452 0100007F:9999 01 00000000:00000000\n"
    )
    assert iperf.is_listening(table, 5201)
    assert not iperf.is_listening(table, 5202)


# /proc.


def test_a_program_may_be_called_anything() -> None:
    assert processes.parse_stat("42 (a) b) (c) S 1 42")[:2] == ["S", "1"]


def test_our_own_cpu_time_and_memory_are_found() -> None:
    before = sum(os.times()[:4])
    assert processes.cpu_seconds([os.getpid()]) == pytest.approx(before, abs=0.2)
    assert 5e6 < processes.peak_memory_bytes(os.getpid()) < 5e9
    assert os.getpid() in processes.with_descendants([os.getppid()])


def test_a_process_that_is_gone_is_a_fault_of_the_system() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    with pytest.raises(BenchmarkError, match="has ended"):
        processes.cpu_seconds([ended.pid])


def test_the_time_of_children_that_ended_is_counted() -> None:
    before = processes.cpu_seconds([os.getpid()])
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.1: pass"], check=True)
    assert processes.cpu_seconds([os.getpid()]) - before > 0.085  # the kernel counts in hundredths
