from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.fragment import (
    REASSEMBLY_BYTES_MAX,
    REASSEMBLY_FRAMES_MAX,
    Reassembler,
    fragment_count,
    fragments,
)


def cut(frame: bytes, room: int, fragment_id: int = 1) -> list[bytes]:
    return list(fragments(frame, fragment_count(frame, room), fragment_id))


def frame_of(size: int) -> bytes:
    return bytes(10) + bytes(index % 251 for index in range(size))


def receive(reassembler: Reassembler, *plaintexts: bytes, now: float = 0.0) -> list[bytes]:
    return reassembler.receive(list(plaintexts), now)


def bundle_of_one(frame: bytes) -> bytes:
    return b"\1" + (len(frame) - 10).to_bytes(2, "little") + frame[6:]


def fragment(fragment_id: int, index: int, count: int, piece: bytes = b"piece") -> bytes:
    return bytes((3, index, count, 0)) + fragment_id.to_bytes(4, "big") + bytes(4) + piece


@given(st.integers(14, 3000), st.integers(40, 1500), st.randoms(use_true_random=False))
def test_fragments_in_any_order_are_the_frame_again(size: int, room: int, random: object) -> None:
    frame = frame_of(size)
    pieces = cut(frame, room)
    assert all(len(piece) <= room for piece in pieces)
    random.shuffle(pieces)  # type: ignore[attr-defined]
    reassembler = Reassembler(Drops())
    one_by_one = [frame for piece in pieces for frame in receive(reassembler, piece)]
    at_once = receive(reassembler, b"\4", *pieces, b"", *pieces, b"\4")
    assert one_by_one == [bundle_of_one(frame)]
    assert at_once == [b"\4", bundle_of_one(frame), b"", bundle_of_one(frame), b"\4"]
    assert (len(reassembler), reassembler.size) == (0, 0)


def test_fragments_in_order_go_on_with_what_came_before() -> None:
    first, second = cut(frame_of(100), 90)
    reassembler = Reassembler(Drops())
    assert receive(reassembler, first) == []
    assert receive(reassembler, first, second) == [bundle_of_one(frame_of(100))]
    assert len(reassembler) == 0


def test_fragments_are_near_equal() -> None:
    assert [len(piece) - 12 for piece in cut(frame_of(1442), 1440)] == [721, 721]


@pytest.mark.parametrize(("size", "room"), [(100, 12), (100, 0), (3000, 20)])
def test_too_little_room_is_said_so(size: int, room: int) -> None:
    assert fragment_count(frame_of(size), room) == 0


def test_a_duplicate_changes_nothing() -> None:
    first, second = cut(frame_of(100), 90)
    reassembler = Reassembler(Drops())
    assert receive(reassembler, first) == []
    assert receive(reassembler, first) == []
    assert receive(reassembler, second) == [bundle_of_one(frame_of(100))]


@pytest.mark.parametrize(
    "bad", [b"\3", fragment(1, 0, 2, b""), fragment(1, 2, 2), fragment(1, 0, 0), fragment(1, 255, 1)]
)
def test_an_impossible_fragment_is_dropped(bad: bytes) -> None:
    drops = Drops()
    assert receive(Reassembler(drops), bad) == []
    assert drops.as_dict() == {DropReason.BAD_FRAGMENT: 1}


@pytest.mark.parametrize("other", [fragment(1, 1, 3), fragment(1, 1, 2)[:8] + b"\x22\0\6\0piece"])
def test_fragments_that_disagree_on_count_or_checksum_are_not_mixed(other: bytes) -> None:
    drops = Drops()
    reassembler = Reassembler(drops)
    receive(reassembler, fragment(1, 0, 2))
    assert receive(reassembler, other) == []
    assert drops.as_dict() == {DropReason.BAD_FRAGMENT: 1}


def test_a_frame_longer_than_any_frame_is_dropped() -> None:
    drops = Drops()
    reassembler = Reassembler(drops)
    large = [fragment(1, index, 2, bytes(40_000)) for index in range(2)]
    assert receive(reassembler, *large) == []
    assert drops.as_dict() == {DropReason.BAD_FRAGMENT: 1}
    assert (len(reassembler), reassembler.size) == (0, 0)


def test_what_is_not_complete_after_two_seconds_is_forgotten() -> None:
    drops = Drops()
    reassembler = Reassembler(drops)
    receive(reassembler, fragment(1, 0, 2), now=10.0)
    assert receive(reassembler, fragment(2, 0, 2), now=11.9) == []
    assert len(reassembler) == 2
    assert receive(reassembler, fragment(1, 1, 2), now=12.0) == []
    assert drops.as_dict() == {DropReason.FRAGMENTS_EXPIRED: 1}


def test_the_oldest_frame_makes_room_for_the_newest() -> None:
    drops = Drops()
    reassembler = Reassembler(drops)
    for fragment_id in range(REASSEMBLY_FRAMES_MAX + 3):
        receive(reassembler, fragment(fragment_id, 0, 2))
    assert len(reassembler) == REASSEMBLY_FRAMES_MAX
    assert drops.as_dict() == {DropReason.FRAGMENTS_EVICTED: 3}
    assert receive(reassembler, fragment(3, 1, 2)) != []


def test_the_bytes_held_are_bounded() -> None:
    drops = Drops()
    reassembler = Reassembler(drops)
    for fragment_id in range(30):
        receive(reassembler, fragment(fragment_id, 0, 2, bytes(60_000)))
        assert reassembler.size <= REASSEMBLY_BYTES_MAX
    assert drops.as_dict() == {DropReason.FRAGMENTS_EVICTED: 30 - len(reassembler)}
