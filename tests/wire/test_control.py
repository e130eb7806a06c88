"""Exact bytes of every control message, their bounds, and what is made of rubbish."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.wire.control import (
    CANDIDATES_MAX,
    CERTIFICATE_MAX,
    CONTROL_SIZE_MAX,
    Call,
    Candidate,
    Channel,
    ChannelRequest,
    Control,
    DirectoryHint,
    DirectoryPage,
    DirectoryRequest,
    Entry,
    Goodbye,
    NatReport,
    NoChannel,
    ReachProbe,
    ReachReply,
    ReachRequest,
    Refused,
    Register,
    Registered,
    Unregister,
    emit_control,
    parse_control,
)
from l2mesh.wire.errors import BadPacket

KEY, KEY_HEX = bytes(range(32)), "c420" + bytes(range(32)).hex()
RUN, RUN_HEX = b"instance", "c408" + b"instance".hex()
CANDIDATE, CANDIDATE_HEX = Candidate(bytes((192, 0, 2, 1)), 7777, 1), "93 c404c0000201 cd1e61 01"
NO_NAT_HEX = "96" + 6 * "00"

EXACT: list[tuple[Control, str]] = [
    (
        Register(5, KEY, b"DER", RUN, (CANDIDATE,)),
        f"98 01 05 {KEY_HEX} c403444552 {RUN_HEX} 91{CANDIDATE_HEX} {NO_NAT_HEX} c2",
    ),
    (
        Registered(5, bytes((192, 0, 2, 1)), 7777, 120, RUN, 300),
        f"97 02 05 c404c0000201 cd1e61 78 {RUN_HEX} cd012c",
    ),
    (Refused(5, "no"), "93 03 05 a26e6f"),
    (Unregister(), "91 04"),
    (DirectoryRequest(RUN, 7, 9), f"94 05 {RUN_HEX} 07 09"),
    (
        DirectoryPage(RUN, 1, 2, 3, (Entry(KEY, "a", RUN, (CANDIDATE,)),)),
        f"96 06 {RUN_HEX} 01 02 03 91 97 {KEY_HEX} a161 {RUN_HEX} 91{CANDIDATE_HEX} {NO_NAT_HEX} c0 c2",
    ),
    (DirectoryHint(RUN, 7), f"93 07 {RUN_HEX} 07"),
    (ChannelRequest(KEY), f"92 08 {KEY_HEX}"),
    (Channel(KEY, b"channel8"), f"93 09 {KEY_HEX} c408{b'channel8'.hex()}"),
    (NoChannel(KEY), f"92 0c {KEY_HEX}"),
    (Call((CANDIDATE,), answer=True, moved=False), f"96 0a 91{CANDIDATE_HEX} c3 c2 {NO_NAT_HEX} 00"),
    (
        Call((), answer=False, moved=False, nat=NatReport(4, 3, 20000, 22047, -2, 20007), round=3),
        "96 0a 90 c2 c2 96 04 03 cd4e20 cd561f fe cd4e27 03",
    ),
    (
        DirectoryPage(RUN, 1, 2, 2, (Entry(KEY, "a", RUN, (), NatReport(2, 1), CANDIDATE, True),)),
        f"96 06 {RUN_HEX} 01 02 02 91 97 {KEY_HEX} a161 {RUN_HEX} 90 9602010000 0000 {CANDIDATE_HEX} c3",
    ),
    (Goodbye(), "91 0b"),
    (ReachRequest(bytes((192, 0, 2, 1)), 7777, b"question"), "94 0d c404c0000201 cd1e61 c4087175657374696f6e"),
    (ReachReply(b"question", "no"), "93 0e c4087175657374696f6e a26e6f"),
    (ReachProbe(b"question"), "92 0f c4087175657374696f6e"),
]

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", max_size=63)
printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200)
candidates = st.lists(
    st.builds(Candidate, st.binary(min_size=4, max_size=16), st.integers(0, 65535), st.integers(0, 255)),
    max_size=CANDIDATES_MAX,
).map(tuple)
keys = st.binary(min_size=32, max_size=32)
runs = st.binary(min_size=8, max_size=8)
counts = st.integers(0, (1 << 63) - 1)
messages: st.SearchStrategy[Control] = st.one_of(
    st.builds(Register, counts, keys, st.binary(max_size=CERTIFICATE_MAX), runs, candidates),
    st.builds(
        Registered,
        counts,
        st.binary(min_size=4, max_size=16),
        st.integers(0, 65535),
        st.integers(1, 86400),
        runs,
        counts,
    ),
    st.builds(Refused, counts, printable),
    st.just(Unregister()),
    st.builds(DirectoryRequest, runs, counts, counts),
    st.builds(
        DirectoryPage,
        runs,
        counts,
        counts,
        counts,
        st.lists(st.builds(Entry, keys, names, st.binary(max_size=8), candidates), max_size=3).map(tuple),
    ),
    st.builds(DirectoryHint, runs, counts),
    st.builds(ChannelRequest, keys),
    st.builds(Channel, keys, runs),
    st.builds(NoChannel, keys),
    st.builds(Call, candidates, answer=st.booleans(), moved=st.booleans()),
    st.just(Goodbye()),
)


@pytest.mark.parametrize(("message", "encoded"), EXACT, ids=[type(message).__name__ for message, _ in EXACT])
def test_exact_bytes(message: Control, encoded: str) -> None:
    assert emit_control(message) == bytes.fromhex(encoded)
    assert parse_control(bytes.fromhex(encoded)) == message


def test_all_messages_are_here() -> None:
    assert {type(message) for message, _ in EXACT} == set(Control.__args__)


@given(messages)
def test_round_trip(message: Control) -> None:
    assert parse_control(memoryview(emit_control(message))) == message


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_bad_packet(data: bytes) -> None:
    with contextlib.suppress(BadPacket):
        parse_control(data)


@given(messages, st.data())
def test_any_bent_or_cut_message_is_a_message_or_a_bad_packet(message: Control, data: st.DataObject) -> None:
    encoded = bytearray(emit_control(message))
    for _ in range(data.draw(st.integers(1, 4))):
        encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadPacket):
        parse_control(bytes(encoded[: data.draw(st.integers(0, len(encoded)))]))


@pytest.mark.parametrize("depth", [100, 100_000])
def test_nesting_without_end_is_a_bad_packet(depth: int) -> None:
    with pytest.raises(BadPacket):
        parse_control(bytes.fromhex("9605") + b"\x91" * depth)


def test_an_unknown_message_is_a_bad_packet() -> None:
    for encoded in ("91 0c", "91 00", "92 cc80 01", "90", "80", "c0", "", "91 a1 31"):
        with pytest.raises(BadPacket):
            parse_control(bytes.fromhex(encoded))


@pytest.mark.parametrize(("message", "encoded"), EXACT, ids=[type(message).__name__ for message, _ in EXACT])
def test_fields_that_later_versions_add_are_ignored(message: Control, encoded: str) -> None:
    data = bytearray(bytes.fromhex(encoded))
    if len(data) and data[0] & 0xF0 == 0x90:
        data[0] += 1
    assert parse_control(bytes(data) + bytes.fromhex("a5 6c61746572")) == message


@pytest.mark.parametrize(("message", "encoded"), EXACT, ids=[type(message).__name__ for message, _ in EXACT])
def test_a_message_cut_short_is_a_bad_packet(message: Control, encoded: str) -> None:
    data = bytes.fromhex(encoded)
    for length in range(len(data)):
        with pytest.raises(BadPacket):
            parse_control(data[:length])


def test_a_request_of_an_older_version_has_no_base() -> None:
    assert parse_control(bytes.fromhex(f"93 05 {RUN_HEX} 07")) == DirectoryRequest(RUN, 7, 0)


OUT_OF_BOUNDS: list[Control] = [
    Register(0, KEY[:31], b"", RUN, ()),
    Register(0, KEY, bytes(CERTIFICATE_MAX + 1), RUN, ()),
    Register(0, KEY, b"", RUN + b"x", ()),
    Register(0, KEY, b"", RUN, (CANDIDATE,) * (CANDIDATES_MAX + 1)),
    Register(-1, KEY, b"", RUN, ()),
    Register(0, KEY, b"", RUN, (Candidate(b"abc", 1, 1),)),
    Register(0, KEY, b"", RUN, (Candidate(bytes(17), 1, 1),)),
    Register(0, KEY, b"", RUN, (Candidate(bytes(4), 65536, 1),)),
    Register(0, KEY, b"", RUN, (Candidate(bytes(4), 1, 256),)),
    Registered(0, bytes(4), 1, 0, RUN, 0),
    Registered(0, bytes(4), 1, 86401, RUN, 0),
    Registered(0, bytes(4), 1, 120, RUN, 1 << 63),
    Refused(0, "x" * 201),
    DirectoryRequest(RUN, -1),
    DirectoryPage(RUN, 0, 1, 1, (Entry(KEY, "x" * 64, RUN, ()),)),
    DirectoryPage(RUN, 0, 1, 1, (Entry(KEY, "x", RUN, ()),) * 65),
    Channel(KEY, b"seven77"),
]


@pytest.mark.parametrize("message", OUT_OF_BOUNDS)
def test_what_is_out_of_bounds_is_a_bad_packet(message: Control) -> None:
    with pytest.raises(BadPacket):
        parse_control(emit_control(message))


@pytest.mark.parametrize(
    "message",
    [
        Register(
            (1 << 63) - 1, KEY, bytes(CERTIFICATE_MAX), RUN, (Candidate(bytes(16), 65535, 255),) * CANDIDATES_MAX
        ),
        Call((Candidate(bytes(16), 65535, 255),) * CANDIDATES_MAX, answer=True, moved=True),
        Refused((1 << 63) - 1, "x" * 200),
    ],
)
def test_the_largest_messages_that_we_send_fit_in_a_datagram(message: Control) -> None:
    assert len(emit_control(message)) <= CONTROL_SIZE_MAX


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "a\n", "é"])
def test_what_comes_to_a_log_has_no_control_characters(text: str) -> None:
    for message in (Refused(1, text), DirectoryPage(bytes(8), 0, 1, 1, (Entry(bytes(32), text, bytes(8), ()),))):
        with pytest.raises(BadPacket):
            parse_control(emit_control(message))
