"""The switch's decisions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.fdb import ForwardingDatabase
from l2mesh.core.switch import Decision, Port, Switch, decide, station_key

OWN = bytes.fromhex("02000000000a")
HERE = bytes.fromhex("0200000000aa")
"""A station bridged to our TAP."""
THERE = bytes.fromhex("0200000000bb")
UNKNOWN = bytes.fromhex("0200000000ff")
PEER, OTHER = b"p" * 32, b"o" * 32
IPV4 = b"\x08\x00\x45\x00"
BROADCAST = b"\xff" * 6


def tag(vid: int, priority: int = 0, kind: int = 0x8100) -> bytes:
    return kind.to_bytes(2, "big") + (priority << 13 | vid).to_bytes(2, "big")


def new_fdb() -> ForwardingDatabase[bytes | Port]:
    fdb: ForwardingDatabase[bytes | Port] = ForwardingDatabase()
    fdb.add_static(OWN, Port.LOCAL)
    fdb.learn(HERE, Port.LOCAL, 0.0)
    fdb.learn(THERE, PEER, 0.0)
    fdb.learn(station_key(THERE, tag(5)), OTHER, 0.0)
    return fdb


DECISIONS: list[tuple[str, bytes, bytes, bytes, Decision]] = [
    # name, destination, source, type and TCI, decision
    ("known station", THERE, OWN, IPV4, PEER),
    ("known station, from a bridged one", THERE, HERE, IPV4, PEER),
    ("unknown station", UNKNOWN, OWN, IPV4, Port.FLOOD),
    ("broadcast", BROADCAST, OWN, IPV4, Port.FLOOD),
    ("multicast", bytes.fromhex("01005e0000fb"), OWN, IPV4, Port.FLOOD),
    ("IPv6 multicast", bytes.fromhex("333300000001"), OWN, IPV4, Port.FLOOD),
    ("station on our own side", HERE, OWN, IPV4, DropReason.SAME_PORT),
    ("to ourselves", OWN, HERE, IPV4, DropReason.SAME_PORT),
    ("spanning tree", bytes.fromhex("0180c2000000"), OWN, b"\x00\x26\x42\x42", DropReason.LINK_LOCAL_PROTOCOL),
    ("LLDP", bytes.fromhex("0180c200000e"), OWN, b"\x88\xcc\x02\x07", DropReason.LINK_LOCAL_PROTOCOL),
    ("last of the reserved", bytes.fromhex("0180c200000f"), OWN, IPV4, DropReason.LINK_LOCAL_PROTOCOL),
    ("first behind the reserved", bytes.fromhex("0180c2000010"), OWN, IPV4, Port.FLOOD),
    ("GVRP", bytes.fromhex("0180c2000021"), OWN, IPV4, Port.FLOOD),
    ("group source", THERE, bytes.fromhex("01005e000001"), IPV4, DropReason.BAD_SOURCE),
    ("broadcast source", THERE, BROADCAST, IPV4, DropReason.BAD_SOURCE),
    ("tagged, known in its VLAN", THERE, OWN, tag(5), OTHER),
    ("tagged, known without a tag only", THERE, OWN, tag(6), Port.FLOOD),
    ("priority does not matter", THERE, OWN, tag(5, priority=7), OTHER),
    ("a service tag is a tag", THERE, OWN, tag(5, kind=0x88A8), OTHER),
    ("VID 0 is no VLAN", THERE, OWN, tag(0, priority=3), PEER),
    ("14 bytes", THERE, OWN, b"\x08\x00", PEER),
    ("14 bytes that announce a tag", THERE, OWN, b"\x81\x00", PEER),
    ("half a tag", THERE, OWN, b"\x81\x00\x00", PEER),
    ("13 bytes", THERE, OWN, b"\x08", DropReason.BAD_SOURCE),
    ("nothing", b"", b"", b"", DropReason.BAD_SOURCE),
]


@pytest.mark.parametrize(
    ("destination", "source", "kind", "decision"),
    [case[1:] for case in DECISIONS],
    ids=[case[0] for case in DECISIONS],
)
def test_decide(destination: bytes, source: bytes, kind: bytes, decision: Decision) -> None:
    assert decide(new_fdb(), destination + source + kind, 1.0) is decision


def test_an_old_entry_is_an_unknown_station() -> None:
    assert decide(new_fdb(), THERE + OWN + IPV4, 299.9) is PEER
    assert decide(new_fdb(), THERE + OWN + IPV4, 300.0) is Port.FLOOD


def test_a_station_that_comes_to_our_side_is_ours() -> None:
    fdb = new_fdb()
    decide(fdb, BROADCAST + THERE + IPV4, 1.0)
    assert decide(fdb, THERE + OWN + IPV4, 1.0) is DropReason.SAME_PORT


def test_a_group_source_is_not_learned() -> None:
    fdb = new_fdb()
    before = len(fdb)
    decide(fdb, THERE + BROADCAST + IPV4, 1.0)
    assert len(fdb) == before


class Bench:
    def __init__(self, limit_per_port: int = 1024) -> None:
        self.fdb: ForwardingDatabase[bytes | Port] = ForwardingDatabase(limit_per_port=limit_per_port)
        self.fdb.add_static(OWN, Port.LOCAL)
        self.drops = Drops()
        self.moves: list[tuple[bytes, bytes | Port, bytes | Port]] = []
        self.switch = Switch(self.fdb, self.drops, lambda *move: self.moves.append(move))

    def admit(
        self, header: bytes, peer: bytes = PEER, allowed: frozenset[bytes] = frozenset(), now: float = 0.0
    ) -> bool:
        return self.switch.admit(bytes(10) + header, peer, allowed, now)


def test_a_frame_from_a_peer_teaches_its_source() -> None:
    bench = Bench()
    assert bench.admit(OWN + THERE + IPV4)
    assert bench.fdb.lookup(THERE, 1.0) == PEER


def test_a_station_moves_between_peers_and_from_our_side() -> None:
    bench = Bench()
    bench.admit(OWN + THERE + IPV4)
    assert bench.admit(OWN + THERE + IPV4, OTHER)
    decide(bench.fdb, BROADCAST + HERE + IPV4, 0.0)
    assert bench.admit(OWN + HERE + IPV4)
    assert bench.moves == [(THERE, PEER, OTHER), (HERE, Port.LOCAL, PEER)]


def test_an_expired_station_that_comes_elsewhere_is_no_move() -> None:
    bench = Bench()
    bench.admit(OWN + THERE + IPV4)
    assert bench.admit(OWN + THERE + IPV4, OTHER, now=1000.0)
    assert not bench.moves


def test_what_is_remembered_of_a_header_ends_with_the_station_it_is_about() -> None:
    bench = Bench()
    for _ in range(2):
        assert bench.admit(OWN + THERE + IPV4)
        frame = memoryview(bytearray(10) + THERE + HERE + IPV4)
        assert bench.switch.sort([frame], 0.5)[0] == {PEER: [frame]}
    assert bench.admit(OWN + THERE + IPV4, OTHER, now=0.6)
    assert bench.moves == [(THERE, PEER, OTHER)]
    assert bench.switch.sort([frame], 0.7)[0] == {OTHER: [frame]}
    bench.fdb.remove_port(OTHER)
    assert bench.switch.sort([frame], 0.8) == ({}, [frame])


def test_a_station_that_is_heard_all_the_time_does_not_age() -> None:
    bench = Bench()
    for second in range(0, 1000, 10):
        assert bench.admit(OWN + THERE + IPV4, now=float(second))
        assert bench.admit(OWN + THERE + IPV4, now=second + 0.5)
    assert bench.fdb.lookup(THERE, 1289.0) == PEER
    assert bench.fdb.lookup(THERE, 1291.0) is None
    assert not bench.moves


def test_what_is_remembered_of_headers_is_bounded() -> None:
    bench = Bench(limit_per_port=1)  # a full table does not change
    for number in range(10_000):
        assert bench.admit(OWN + b"\x06" + number.to_bytes(5, "big") + IPV4)
    assert len(bench.switch._admitted) <= 4096


@pytest.mark.parametrize("kind", [IPV4, tag(0, 5), tag(5), tag(5, kind=0x88A8), b"\x81\x00"])
def test_our_own_address_is_nobody_elses_in_any_vlan(kind: bytes) -> None:
    bench = Bench()
    assert not bench.admit(THERE + OWN + kind)
    assert bench.drops.as_dict() == {DropReason.NOT_ITS_ADDRESS: 1}
    assert len(bench.fdb) == 1


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (OWN + BROADCAST + IPV4, DropReason.BAD_SOURCE),
        (bytes.fromhex("0180c2000000") + THERE + IPV4, DropReason.LINK_LOCAL_PROTOCOL),
    ],
)
def test_what_a_bridge_does_not_forward_is_not_let_in_either(header: bytes, reason: DropReason) -> None:
    bench = Bench()
    assert not bench.admit(header)
    assert bench.drops.as_dict() == {reason: 1}
    assert len(bench.fdb) == 1


def test_a_peer_with_pinned_addresses_may_use_no_other() -> None:
    bench, pinned = Bench(), frozenset((THERE,))
    assert bench.admit(OWN + THERE + IPV4, allowed=pinned)
    assert bench.admit(OWN + THERE + tag(5), allowed=pinned)
    assert not bench.admit(OWN + HERE + IPV4, allowed=pinned)
    assert bench.drops.as_dict() == {DropReason.NOT_ITS_ADDRESS: 1}


def test_more_stations_than_a_peer_may_have_are_let_in_but_not_learned() -> None:
    bench = Bench(limit_per_port=3)
    for number in range(10):
        assert bench.admit(OWN + b"\x02\0\0\0\1" + bytes((number,)) + IPV4)
    assert bench.fdb.count_of(PEER) == 3
    assert bench.drops.as_dict() == {DropReason.TOO_MANY_STATIONS: 7}


def test_sort_keeps_order_and_parts_by_peer() -> None:
    bench = Bench()
    bench.admit(OWN + THERE + IPV4)
    headers = [
        THERE + OWN + IPV4,
        BROADCAST + OWN + IPV4,
        THERE + OWN + IPV4,
        UNKNOWN + OWN + IPV4,
        OWN + OWN + IPV4,
    ]
    frames = [
        memoryview(bytearray(bytes(10) + header + bytes((number,)))) for number, header in enumerate(headers)
    ]
    unicast, flood = bench.switch.sort(frames, 0.0)
    assert {key: [frame[-1] for frame in batch] for key, batch in unicast.items()} == {PEER: [0, 2]}
    assert [frame[-1] for frame in flood] == [1, 3]
    assert bench.drops.as_dict() == {DropReason.SAME_PORT: 1}


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_no_frame_breaks_the_switch(frames: list[bytes]) -> None:
    bench = Bench()
    unicast, flood = bench.switch.sort([memoryview(bytearray(frame)) for frame in frames], 0.0)
    dropped = sum(bench.drops.as_dict().values())
    assert sum(len(batch) for batch in unicast.values()) + len(flood) + dropped == len(frames)
    for frame in frames:
        if len(frame) >= 24:  # the unpacker lets nothing shorter through
            bench.switch.admit(frame, PEER, frozenset(), 0.0)
