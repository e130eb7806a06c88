from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from l2mesh.core.fdb import ForwardingDatabase, Learned

MAC_1 = bytes.fromhex("020000000001")
MAC_2 = bytes.fromhex("020000000002")
VLAN_7 = bytes.fromhex("0007")


def make_fdb(limit: int = 100, limit_per_port: int = 10) -> ForwardingDatabase[str]:
    return ForwardingDatabase(ageing_time=300.0, limit=limit, limit_per_port=limit_per_port)


def test_a_station_is_found_behind_the_port_it_was_heard_on() -> None:
    fdb = make_fdb()
    assert fdb.lookup(MAC_1, 0.0) is None
    assert fdb.learn(MAC_1, "alice", 0.0) is Learned.NEW
    assert fdb.learn(MAC_1, "alice", 1.0) is Learned.KNOWN
    assert fdb.lookup(MAC_1, 1.0) == "alice"


def test_the_same_address_in_another_vlan_is_another_station() -> None:
    fdb = make_fdb()
    fdb.learn(MAC_1, "alice", 0.0)
    fdb.learn(MAC_1 + VLAN_7, "bob", 0.0)
    assert fdb.lookup(MAC_1, 0.0) == "alice"
    assert fdb.lookup(MAC_1 + VLAN_7, 0.0) == "bob"


def test_an_old_station_is_unknown_even_before_the_sweep() -> None:
    fdb = make_fdb()
    fdb.learn(MAC_1, "alice", 0.0)
    assert fdb.lookup(MAC_1, 299.9) == "alice"
    assert fdb.lookup(MAC_1, 300.0) is None
    assert len(fdb) == 0


def test_the_sweep_removes_the_old_and_keeps_the_young_and_the_static() -> None:
    fdb = make_fdb()
    fdb.add_static(b"static", "local")
    fdb.learn(MAC_1, "alice", 0.0)
    fdb.learn(MAC_2, "alice", 200.0)
    fdb.sweep(310.0)
    assert {key for key, _ in fdb.items()} == {b"static", MAC_2}
    assert fdb.count_of("alice") == 1


def test_a_station_moves_and_is_reported_as_moved() -> None:
    fdb = make_fdb()
    fdb.learn(MAC_1, "alice", 0.0)
    assert fdb.learn(MAC_1, "bob", 1.0) is Learned.MOVED
    assert fdb.lookup(MAC_1, 1.0) == "bob"
    assert fdb.count_of("alice") == 0
    assert fdb.count_of("bob") == 1


def test_a_static_station_cannot_be_taken_over() -> None:
    fdb = make_fdb()
    fdb.add_static(MAC_1, "local")
    assert fdb.learn(MAC_1, "mallory", 1.0) is Learned.REFUSED_STATIC
    assert fdb.lookup(MAC_1, 1e9) == "local"


def test_one_port_cannot_fill_the_table_and_all_together_cannot_exceed_it() -> None:
    fdb = make_fdb(limit=15, limit_per_port=10)
    verdicts = [fdb.learn(b"m%05d" % number, "mallory", 0.0) for number in range(1000)]
    assert verdicts.count(Learned.NEW) == 10
    assert [fdb.learn(b"a%05d" % number, "alice", 0.0) for number in range(10)].count(Learned.NEW) == 5
    assert len(fdb) == 15


def test_a_full_port_cannot_pull_stations_over_from_others() -> None:
    fdb = make_fdb(limit_per_port=1)
    fdb.learn(MAC_1, "alice", 0.0)
    fdb.learn(MAC_2, "mallory", 0.0)
    assert fdb.learn(MAC_1, "mallory", 0.0) is Learned.REFUSED_FULL
    assert fdb.lookup(MAC_1, 0.0) == "alice"


def test_removing_a_port_forgets_its_stations_only() -> None:
    fdb = make_fdb()
    fdb.learn(MAC_1, "alice", 0.0)
    fdb.learn(MAC_2, "bob", 0.0)
    fdb.remove_port("alice")
    fdb.remove_port("nobody")
    assert [key for key, _ in fdb.items()] == [MAC_2]


steps = st.lists(
    st.tuples(
        st.sampled_from([b"a", b"b", b"c", b"d"]),
        st.sampled_from(["x", "y", "z"]),
        st.floats(0, 200),
        st.booleans(),
    ),
    max_size=60,
)


@given(steps)
def test_it_behaves_as_a_naive_table(moves: list[tuple[bytes, str, float, bool]]) -> None:
    fdb = make_fdb(limit=3, limit_per_port=2)
    naive: dict[bytes, tuple[str, float]] = {}
    now = 0.0
    for key, port, wait, sweep in moves:
        now += wait
        if sweep:
            fdb.sweep(now)
            naive = {k: v for k, v in naive.items() if now - v[1] < 300}
        fits = len(naive) < 3 or key in naive
        others = sum(1 for k, v in naive.items() if v[0] == port and k != key)
        if (key in naive and naive[key][0] == port) or (fits and others < 2):
            naive[key] = (port, now)
        fdb.learn(key, port, now)
        assert {k: s.port for k, s in fdb.items()} == {k: v[0] for k, v in naive.items()}
