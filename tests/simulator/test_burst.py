"""Runs of datagrams, cut and joined."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from l2mesh.simulator.burst import MAX_BYTES, MAX_DATAGRAMS, clean_size, count, cut, join
from l2mesh.simulator.link import Link, pass_through

A, B = ("5.1.0.1", 1), ("5.1.0.2", 2)
SOURCES = st.sampled_from([A, B])


@given(st.lists(st.tuples(SOURCES, st.binary(max_size=40), st.integers(1, 12))))
def test_joining_keeps_every_datagram_and_their_order(runs: list[tuple[tuple[str, int], bytes, int]]) -> None:
    runs = [(source, data, clean_size(data, size)) for source, data, size in runs]
    sent = [(source, datagram) for source, data, size in runs for datagram in cut(data, size)]
    joined = list(join(runs))
    assert [(source, piece) for source, data, size in joined for piece in cut(bytes(data), size)] == sent
    assert sum(count(bytes(data), size) for _, data, size in joined) == len(sent)


def test_equal_datagrams_of_one_source_become_one_burst_and_a_short_one_ends_it() -> None:
    runs = [(A, b"aaaa", 4), (A, b"bbbb", 4), (A, b"c", 1), (A, b"dddd", 4), (B, b"eeee", 4)]
    assert [(source, bytes(data), size) for source, data, size in join(runs)] == [
        (A, b"aaaabbbbc", 4),
        (A, b"dddd", 4),
        (B, b"eeee", 4),
    ]


def test_a_burst_is_no_larger_than_gro_makes_it() -> None:
    small = list(join([(A, b"x", 1)] * 100))
    assert [len(data) for _, data, _ in small] == [MAX_DATAGRAMS, 100 - MAX_DATAGRAMS]
    large = list(join([(A, bytes(1400), 1400)] * 60))
    assert all(len(data) <= MAX_BYTES for _, data, _ in large)
    assert sum(len(data) for _, data, _ in large) == 60 * 1400


@given(st.integers(0, 100), st.integers(1, 9), st.integers(0, 2**32))
def test_a_bad_link_loses_and_doubles_whole_datagrams(length: int, size: int, seed: int) -> None:
    data = bytes(range(length))
    link = Link(loss=0.3, duplicate=0.3, reorder=0.3)
    passage = pass_through(link, data, clean_size(data, size), Random(seed))
    sent = list(cut(data, clean_size(data, size)))
    came = [piece for _, run, run_size in passage.arriving for piece in cut(run, run_size)]
    assert set(came) | set(passage.lost) == set(sent)
    assert len(sent) <= len(came) + len(passage.lost) <= 2 * len(sent)
