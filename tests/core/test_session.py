"""Sealing and opening in trains, replay, and the rules of keypairs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from l2mesh.core.arena import ARENA_BUFFER_SIZE, Arena
from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.session import (
    REJECT_AFTER_DATAGRAMS,
    REJECT_AFTER_S,
    REKEY_AFTER_DATAGRAMS,
    REKEY_AFTER_S,
    TRAIN_DATAGRAMS_MAX,
    Keypair,
    Plain,
    Session,
)
from l2mesh.crypto.aead import Suite
from l2mesh.wire.outer import DATA_OVERHEAD, relay_header
from l2mesh.wire.receive_area import ReceiveArea

MakePair = Callable[..., tuple[Keypair, Keypair]]
RELAY = relay_header(b"channel8")


def trains_of(keypair: Keypair, plaintexts: list[bytes], prefix: bytes = b"") -> list[tuple[bytes, int]]:
    return [(bytes(data), size) for data, size in keypair.seal(plaintexts, prefix, Arena())]


def datagrams_of(trains: list[tuple[bytes, int]]) -> list[bytes]:
    return [data[start : start + size] for data, size in trains for start in range(0, len(data), size)]


def open_run(
    keypair: Keypair, data: bytes, size: int, skip: int = 0
) -> tuple[list[Plain], int, dict[DropReason, int]]:
    drops = Drops()
    plaintexts, offset = keypair.open(memoryview(bytearray(data)), 0, size, skip, drops)
    return plaintexts, offset, drops.as_dict()


@pytest.mark.parametrize("suite", list(Suite))
def test_what_one_end_seals_the_other_opens(make_pair: MakePair, suite: Suite) -> None:
    ours, theirs = make_pair(suite)
    for sender, receiver in ((ours, theirs), (theirs, ours)):
        [(data, size)] = trains_of(sender, [b"a" * 100, b"b" * 100, b"", b"c"][:3])
        assert size == 132
        assert open_run(receiver, data, size) == ([b"a" * 100, b"b" * 100, b""], len(data), {})


def test_a_datagram_is_header_ciphertext_and_tag(make_pair: MakePair) -> None:
    ours, _ = make_pair()
    ours.send_counter = 0x0102030405060708
    [(data, size)] = trains_of(ours, [b"plaintext"])
    assert size == len(data) == 9 + DATA_OVERHEAD
    assert data[:16] == bytes((195, 0, 0, 0)) + ours.remote_index.to_bytes(4, "big") + bytes(range(1, 9))


SIZES: list[tuple[str, list[int], list[tuple[int, int]]]] = [
    # name, plaintext sizes, (datagrams, size of each) of the trains
    ("one", [10], [(1, 42)]),
    ("equal", [10, 10, 10], [(3, 42)]),
    ("last shorter", [10, 10, 4], [(3, 42)]),
    ("a shorter one ends its train", [10, 4, 4], [(2, 42), (1, 36)]),
    ("a longer one begins a train", [10, 12], [(1, 42), (1, 44)]),
    ("longer after shorter", [10, 4, 10], [(2, 42), (1, 42)]),
    ("all shrink", [10, 8, 6], [(2, 42), (1, 38)]),
    ("64 are full", [10] * 65, [(64, 42), (1, 42)]),
    ("64 with a shorter last", [10] * 63 + [1], [(64, 42)]),
    ("64, then a shorter one", [10] * 64 + [1], [(64, 42), (1, 33)]),
    ("empty ones", [0, 0], [(2, 32)]),
]


@pytest.mark.parametrize("prefix", [b"", RELAY])
@pytest.mark.parametrize(("sizes", "expected"), [case[1:] for case in SIZES], ids=[case[0] for case in SIZES])
def test_trains_hold_equal_datagrams_and_at_most_one_shorter_at_the_end(
    make_pair: MakePair, sizes: list[int], expected: list[tuple[int, int]], prefix: bytes
) -> None:
    ours, _ = make_pair()
    trains = trains_of(ours, [bytes(size) for size in sizes], prefix)
    got = [(-(-len(data) // size), size - len(prefix)) for data, size in trains]
    assert got == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 1500), max_size=200), st.booleans(), st.integers(0, ARENA_BUFFER_SIZE))
def test_any_plaintexts_come_out_as_they_went_in(
    make_pair: MakePair, sizes: list[int], relayed: bool, used: int
) -> None:
    ours, theirs = make_pair()
    arena = Arena()
    arena.used = used
    prefix = RELAY if relayed else b""
    plaintexts = [bytes((number % 251,)) * size for number, size in enumerate(sizes)]
    trains = ours.seal(plaintexts, prefix, arena)
    opened = []
    for data, size in trains:
        assert 1 <= -(-len(data) // size) <= TRAIN_DATAGRAMS_MAX
        assert len(data) <= ARENA_BUFFER_SIZE
        assert all(bytes(data[at : at + len(prefix)]) == prefix for at in range(0, len(data), size))
        got, offset, drops = open_run(theirs, bytes(data), size, len(prefix))
        assert (offset, drops) == (len(data), {})
        opened += got
    assert opened == plaintexts
    assert ours.send_counter == len(plaintexts)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from([60, 992, 1100, 1400]), st.integers(1, 70)), min_size=1, max_size=6),
    st.booleans(),
    st.booleans(),
    st.integers(0, 8),
)
def test_runs_of_equal_datagrams_come_out_as_they_went_in(
    make_pair: MakePair, runs: list[tuple[int, int]], relayed: bool, in_area: bool, ahead: int
) -> None:
    """Buffers that are cut beforehand, runs that are opened at once, memory that is received into again."""
    ours, theirs = make_pair()
    arena, area = Arena(), ReceiveArea.make(1 << 17)
    prefix = RELAY if relayed else b""
    plaintexts = [bytes((number,)) * size for number, (size, count) in enumerate(runs) for _ in range(count)]
    opened = []
    for data, size in ours.seal(plaintexts, prefix, arena):
        place = memoryview(area if in_area else bytearray(1 << 17))[ahead * size :][: len(data)]
        place[:] = data
        got, offset = theirs.open(place, 0, size, len(prefix), Drops())
        assert offset == len(data)
        opened += got
    assert opened == plaintexts


def test_a_train_begins_where_its_buffer_is_cut_and_wastes_less_than_a_datagram(make_pair: MakePair) -> None:
    """A frame that is flooded to a thousand peers takes no more buffers than its copies fill."""
    ours, _ = make_pair()
    arena = Arena()
    for _ in range(100):
        ours.seal([bytes(1400), bytes(700)], b"", arena)
    assert arena._number <= 100 * (1432 + 732 + 1432) // ARENA_BUFFER_SIZE + 1


def test_a_bad_datagram_in_a_long_run_does_not_spoil_the_others(make_pair: MakePair) -> None:
    ours, theirs = make_pair()
    [(data, size)] = trains_of(ours, [bytes((number,)) * 1200 for number in range(20)])
    bent = bytearray(data)
    bent[7 * size + 500] ^= 1
    plaintexts, offset, drops = open_run(theirs, bytes(bent), size)
    assert offset == len(data)
    assert drops == {DropReason.NOT_AUTHENTIC: 1}
    assert [plain[0] for plain in plaintexts] == [number for number in range(20) if number != 7]


def test_a_burst_larger_than_a_buffer_goes_on_in_the_next(make_pair: MakePair) -> None:
    ours, theirs = make_pair()
    arena = Arena()
    plaintexts = [bytes((number,)) * 1440 for number in range(200)]
    trains = ours.seal(plaintexts, b"", arena)
    assert [len(data) // size for data, size in trains] == [44, 44, 44, 44, 24]
    assert [plain for data, size in trains for plain in open_run(theirs, bytes(data), size)[0]] == plaintexts
    arena.reset()
    again = ours.seal(plaintexts[:1], b"", arena)
    assert again[0][0].obj is trains[0][0].obj


def test_a_generator_may_use_one_buffer_again_and_again(make_pair: MakePair) -> None:
    ours, theirs = make_pair()
    buffer = bytearray(3)

    def plaintexts() -> object:
        for number in range(5):
            buffer[:] = bytes((number,)) * 3
            yield buffer

    [(data, size)] = ours.seal(plaintexts(), b"", Arena())  # type: ignore[arg-type]
    assert open_run(theirs, bytes(data), size)[0] == [bytes((number,)) * 3 for number in range(5)]


def test_each_datagram_opens_once(make_pair: MakePair) -> None:
    ours, theirs = make_pair()
    [(data, size)] = trains_of(ours, [bytes((number,)) for number in range(10)])
    assert len(open_run(theirs, data, size)[0]) == 10
    assert open_run(theirs, data, size) == ([], len(data), {DropReason.REPLAYED: 10})
    for datagram in datagrams_of([(data, size)]):
        assert open_run(theirs, datagram, size)[2] == {DropReason.REPLAYED: 1}


def test_late_and_doubled_datagrams_within_a_run_open_once_each(make_pair: MakePair) -> None:
    ours, theirs = make_pair()
    cut = datagrams_of(trains_of(ours, [bytes((number,)) for number in range(6)]))
    shuffled = b"".join(cut[number] for number in (0, 3, 3, 1, 5, 0, 2, 4))
    plaintexts, offset, drops = open_run(theirs, shuffled, len(cut[0]))
    assert plaintexts == [bytes((number,)) for number in (0, 3, 1, 5, 2, 4)]
    assert offset == len(shuffled)
    assert drops == {DropReason.REPLAYED: 2}


def test_a_datagram_that_was_bent_anywhere_does_not_open_and_moves_no_window(make_pair: MakePair) -> None:
    ours, theirs = make_pair()
    [(data, size)] = trains_of(ours, [b"plaintext"])
    for position in range(4, len(data)):
        bent = bytearray(data)
        bent[position] ^= 1
        plaintexts, _, drops = open_run(theirs, bytes(bent), size)
        assert not plaintexts
        assert drops == ({} if position < 8 else {DropReason.NOT_AUTHENTIC: 1})  # another index: somebody else's
    assert open_run(theirs, data, size)[0] == [b"plaintext"]


def test_a_forged_counter_far_ahead_does_not_shut_out_the_genuine_ones(make_pair: MakePair) -> None:
    ours, theirs = make_pair()
    [(data, size)] = trains_of(ours, [b"genuine"])
    forged = data[:8] + (1 << 62).to_bytes(8, "big") + data[16:]
    assert open_run(theirs, forged, size)[2] == {DropReason.NOT_AUTHENTIC: 1}
    assert open_run(theirs, data, size)[0] == [b"genuine"]


def test_a_bad_datagram_in_a_run_does_not_spoil_the_others(make_pair: MakePair) -> None:
    ours, theirs = make_pair()
    cut = datagrams_of(trains_of(ours, [b"one", b"two", b"six"]))
    cut[1] = cut[1][:-1] + bytes((cut[1][-1] ^ 1,))
    plaintexts, _, drops = open_run(theirs, b"".join(cut), len(cut[0]))
    assert plaintexts == [b"one", b"six"]
    assert drops == {DropReason.NOT_AUTHENTIC: 1}


def test_a_run_ends_where_another_keypair_or_type_begins(make_pair: MakePair) -> None:
    ours, theirs = make_pair()
    other, _ = make_pair()
    [(data, size)] = trains_of(ours, [b"abc", b"abc"])
    [(foreign, _)] = trains_of(other, [b"abc"])
    for follower in (foreign, bytes((192,)) + bytes(size - 1), bytes((196,)) + bytes(size - 1)):
        cut = datagrams_of(trains_of(ours, [b"abc", b"abc"]))
        plaintexts, offset, drops = open_run(theirs, cut[0] + cut[1] + follower, size)
        assert plaintexts == [b"abc", b"abc"]
        assert offset == 2 * size
        assert drops == {}
    assert data


@pytest.mark.parametrize("length", range(16, 32))
def test_a_datagram_too_short_for_a_tag_is_malformed(make_pair: MakePair, length: int) -> None:
    ours, theirs = make_pair()
    [(data, _)] = trains_of(ours, [b""])
    assert open_run(theirs, data[:length], length) == ([], length, {DropReason.MALFORMED: 1})


# ---- keypairs


def test_the_initiator_uses_new_keys_at_once_and_keeps_the_old_to_open(make_pair: MakePair) -> None:
    session = Session()
    first, second = make_pair()[0], make_pair()[0]
    session.install_as_initiator(first)
    session.install_as_initiator(second)
    assert (session.previous, session.current, session.next) == (first, second, None)


def test_the_responder_waits_for_confirmation(make_pair: MakePair) -> None:
    session = Session()
    first, second = make_pair()[1], make_pair()[1]
    session.install_as_responder(first)
    assert session.sealing_keypair(0) is None
    assert session.confirm(first)
    assert session.sealing_keypair(0) is first
    session.install_as_responder(second)
    assert session.sealing_keypair(0) is first
    assert not session.confirm(first)
    assert session.confirm(second)
    assert (session.previous, session.current, session.next) == (first, second, None)
    assert not session.confirm(second)


def test_a_second_answer_replaces_the_first_that_was_never_confirmed(make_pair: MakePair) -> None:
    session = Session()
    current, first, second = (make_pair()[1] for _ in range(3))
    session.install_as_initiator(current)
    session.install_as_responder(first)
    session.install_as_responder(second)
    assert session.keypairs() == [current, second]
    assert not session.confirm(first)


@pytest.mark.parametrize(
    ("initiator", "counter", "at"),
    [
        (True, 0, REKEY_AFTER_S),
        (False, 0, REJECT_AFTER_S - 15),
        (True, REKEY_AFTER_DATAGRAMS - 1, REKEY_AFTER_S),
        (True, REKEY_AFTER_DATAGRAMS, 7.0),
        (False, REKEY_AFTER_DATAGRAMS, 7.0),
    ],
)
def test_who_renews_keys_and_when(make_pair: MakePair, initiator: bool, counter: int, at: float) -> None:
    session = Session()
    assert session.rekey_at(7.0) is None
    session.current = make_pair()[0 if initiator else 1]
    session.current.send_counter = counter
    assert session.rekey_at(7.0) == at


@pytest.mark.parametrize(
    ("age", "counter", "usable"),
    [
        (0.0, 0, True),
        (REJECT_AFTER_S - 0.001, 0, True),
        (REJECT_AFTER_S, 0, False),
        (0.0, REJECT_AFTER_DATAGRAMS - 1, True),
        (0.0, REJECT_AFTER_DATAGRAMS, False),
    ],
)
def test_old_or_used_up_keys_seal_no_more(make_pair: MakePair, age: float, counter: int, usable: bool) -> None:
    session = Session()
    session.install_as_initiator(make_pair()[0])
    assert session.current
    session.current.send_counter = counter
    assert (session.sealing_keypair(age) is not None) == usable


def test_keys_are_erased_when_they_are_old(make_pair: MakePair) -> None:
    session = Session()
    session.install_as_initiator(make_pair(now=0.0)[0])
    session.install_as_initiator(make_pair(now=120.0)[0])
    session.install_as_responder(make_pair(now=130.0)[1])
    session.expire(179.9)
    assert len(session.keypairs()) == 3
    session.expire(180.0)
    assert session.previous is None
    session.expire(300.0)
    assert session.current is None
    session.expire(310.0)
    assert session.keypairs() == []
