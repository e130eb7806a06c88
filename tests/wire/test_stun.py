"""STUN against the vectors of RFC 5769, against aioice, and against any bytes."""

from __future__ import annotations

import contextlib

import pytest
from aioice import stun as aioice
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.wire.errors import BadPacket
from l2mesh.wire.stun import (
    ANSWER_SIZE_MAX,
    REQUEST_SIZE,
    UNKNOWN_ATTRIBUTE,
    UNKNOWN_MAX,
    BindingAnswer,
    BindingError,
    BindingRequest,
    emit_answer,
    emit_error,
    emit_request,
    parse_stun,
)

ID = bytes.fromhex("b7e7a701bc34d686fa87dfae")
MAGIC = "2112a442"

# RFC 5769, sections 2.1 to 2.3.
SAMPLE_REQUEST = bytes.fromhex(
    "00010058 2112a442 b7e7a701bc34d686fa87dfae"
    "80220010 5354554e207465737420636c69656e74"
    "00240004 6e0001ff"
    "80290008 932ff9b151263b36"
    "00060009 6576746a3a68367659 202020"
    "00080014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004 e57a3bcf"
)
SAMPLE_ANSWER_4 = bytes.fromhex(
    "0101003c 2112a442 b7e7a701bc34d686fa87dfae"
    "8022000b 7465737420766563746f72 20"
    "00200008 0001a147e112a643"
    "00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004 c07d4c96"
)
SAMPLE_ANSWER_6 = bytes.fromhex(
    "01010048 2112a442 b7e7a701bc34d686fa87dfae"
    "8022000b 7465737420766563746f72 20"
    "00200014 0002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014 a382954e4be67bf11784c97c8292c275bfe3ed41"
    "80280004 c8fb0b4c"
)

hosts = st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str)
addresses = st.tuples(hosts, st.integers(0, 65535))
transactions = st.binary(min_size=12, max_size=12)


def message(kind: str, *attributes: str) -> bytes:
    """Without a fingerprint."""
    body = bytes.fromhex("".join(attributes))
    return bytes.fromhex(kind) + len(body).to_bytes(2, "big") + bytes.fromhex(MAGIC) + ID + body


# Exact bytes.


def test_the_sample_request_has_an_attribute_of_ice_that_is_not_ours() -> None:
    assert parse_stun(SAMPLE_REQUEST) == BindingRequest(ID, unknown=(0x0024,))


def test_the_sample_answers_say_where_we_are() -> None:
    assert parse_stun(SAMPLE_ANSWER_4) == BindingAnswer(ID, ("192.0.2.1", 32853))
    assert parse_stun(SAMPLE_ANSWER_6) == BindingAnswer(ID, ("2001:db8:1234:5678:11:2233:4455:6677", 32853))


def test_a_request_is_header_and_spaces_and_fingerprint() -> None:
    emitted = emit_request(BindingRequest(ID))
    software = "8022005c" + 92 * "20"
    assert emitted[:-4] == bytes.fromhex(f"00010068 {MAGIC} {ID.hex()} {software} 80280004")
    assert len(emitted) == REQUEST_SIZE == ANSWER_SIZE_MAX
    assert emit_request(BindingRequest(ID), 0)[:-4] == bytes.fromhex(f"00010008 {MAGIC} {ID.hex()} 80280004")


@pytest.mark.parametrize(("host", "port", "flags"), [(True, True, 6), (True, False, 4), (False, True, 2)])
def test_a_change_request_is_two_bits(host: bool, port: bool, flags: int) -> None:
    request = BindingRequest(ID, change_host=host, change_port=port)
    emitted = emit_request(request)
    assert emitted[20:28] == bytes.fromhex("00030004 000000") + bytes((flags,))
    assert len(emitted) == REQUEST_SIZE
    assert parse_stun(emitted) == request


def test_an_answer_has_the_mapped_address_twice_and_the_servers_own() -> None:
    answer = BindingAnswer(ID, ("192.0.2.1", 32853), ("198.51.100.7", 7777), ("198.51.100.8", 7778))
    emitted = emit_answer(answer)
    assert emitted[:-4] == bytes.fromhex(
        f"01010038 {MAGIC} {ID.hex()}"
        "00200008 0001a147e112a643"
        "00010008 00018055c0000201"
        "802b0008 00011e61c6336407"
        "802c0008 00011e62c6336408"
        "80280004"
    )
    assert parse_stun(emitted) == answer


def test_an_error_names_what_was_not_understood() -> None:
    error = BindingError(ID, UNKNOWN_ATTRIBUTE, (0x0024, 0x0027, 0x7FFF))
    emitted = emit_error(error)
    assert emitted[:-4] == bytes.fromhex(
        f"0111001c {MAGIC} {ID.hex()}00090004 00000414 000a0006 002400277fff 0000 80280004"
    )
    assert parse_stun(emitted) == error
    many = emit_error(BindingError(ID, 420, tuple(range(100))))
    assert parse_stun(many) == BindingError(ID, 420, tuple(range(UNKNOWN_MAX)))


def test_padding_fills_an_answer_up_to_a_size_and_never_beyond() -> None:
    answer = BindingAnswer(ID, ("192.0.2.1", 1))
    assert len(emit_answer(answer)) == 52
    for size in range(200):
        emitted = emit_answer(answer, size)
        assert len(emitted) <= max(size, 52)
        assert parse_stun(emitted) == answer
    assert emit_answer(answer, 64)[44:56] == bytes.fromhex("00260008 0000000000000000")


def test_a_request_with_padding_says_so() -> None:
    assert parse_stun(message("0001", "00260004 00000000")) == BindingRequest(ID, padding=True)


# What others send.


def test_an_old_server_says_it_without_xor() -> None:
    old = message("0101", "00010008 00018055c0000201", "00040008 00011e61c6336407", "00050008 00011e62c6336408")
    assert parse_stun(old) == BindingAnswer(
        ID, ("192.0.2.1", 32853), ("198.51.100.7", 7777), ("198.51.100.8", 7778)
    )


def test_the_xored_address_goes_before_the_plain_one_which_alg_routers_rewrite() -> None:
    both = message("0101", "00010008 00018055 0a000001", "00200008 0001a147e112a643")
    assert parse_stun(both) == BindingAnswer(ID, ("192.0.2.1", 32853))


def test_the_first_of_two_counts_and_unknown_optional_ones_do_not() -> None:
    twice = message("0101", "c0de0003 01020300", "00200008 0001a147e112a643", "00200008 0001ffffe112a643")
    assert parse_stun(twice) == BindingAnswer(ID, ("192.0.2.1", 32853))


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(b"", id="empty"),
        pytest.param(message("0001")[:-1], id="header cut short"),
        pytest.param(message("0001") + bytes(4), id="longer than it says"),
        pytest.param(message("0001").replace(bytes.fromhex(MAGIC), bytes(4)), id="no cookie"),
        pytest.param(message("0011"), id="an indication"),
        pytest.param(message("0003"), id="another method"),
        pytest.param(message("0001", "8022"), id="attribute header cut short"),
        pytest.param(message("0001", "80220001"), id="attribute cut short"),
        pytest.param(message("0001", "80220001 41"), id="attribute's padding cut short"),
        pytest.param(message("0001", "00030003 00000000"), id="change request of 3 bytes"),
        pytest.param(message("0101"), id="answer without an address"),
        pytest.param(message("0101", "00200008 0003a147e112a643"), id="family 3"),
        pytest.param(message("0101", "00200008 0002a147e112a643"), id="IPv6 of 4 bytes"),
        pytest.param(message("0101", "00200000"), id="no address in the attribute"),
        pytest.param(message("0101", "00200008 0001a147e112a643", "00240004 00000000"), id="unknown in answer"),
        pytest.param(message("0111"), id="error without code"),
        pytest.param(message("0111", "00090004 00000114"), id="code 120"),
        pytest.param(message("0111", "00090004 00000464"), id="code 4, 100"),
        pytest.param(message("0111", "00090004 00000414", "000a0003 00240000"), id="odd unknown attributes"),
        pytest.param(SAMPLE_ANSWER_4[:-1] + b"\x00", id="wrong fingerprint"),
        pytest.param(SAMPLE_ANSWER_4.replace(b"test", b"Test"), id="changed under its fingerprint"),
    ],
)
def test_what_is_off_is_a_bad_packet(bad: bytes) -> None:
    with pytest.raises(BadPacket):
        parse_stun(bad)


def test_nothing_may_follow_the_fingerprint() -> None:
    answer = bytearray(SAMPLE_ANSWER_4 + bytes.fromhex("80220000"))
    answer[3] += 4
    with pytest.raises(BadPacket, match="behind"):
        parse_stun(bytes(answer))


@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda body: message("0101", body.hex())))
def test_any_bytes_are_a_value_or_a_bad_packet(data: bytes) -> None:
    with contextlib.suppress(BadPacket):
        parse_stun(data)


@given(data=st.data())
def test_any_change_of_one_byte_is_noticed(data: st.DataObject) -> None:
    sent = emit_answer(BindingAnswer(ID, ("192.0.2.1", 7), ("192.0.2.7", 7777)))
    own_type = {len(sent) - 8, len(sent) - 7}  # without FINGERPRINT nothing is checked
    at = data.draw(st.sampled_from(sorted(set(range(len(sent))) - own_type)))
    changed = sent[:at] + bytes((sent[at] ^ data.draw(st.integers(1, 255)),)) + sent[at + 1 :]
    with pytest.raises(BadPacket):
        parse_stun(changed)


# An independent implementation, both ways.


@given(transactions, st.booleans(), st.booleans())
def test_aioice_reads_our_requests(transaction: bytes, host: bool, port: bool) -> None:
    read = aioice.parse_message(emit_request(BindingRequest(transaction, host, port)))
    assert (read.message_method, read.message_class) == (aioice.Method.BINDING, aioice.Class.REQUEST)
    assert read.transaction_id == transaction
    assert read.attributes.get("CHANGE-REQUEST", 0) == 4 * host + 2 * port
    assert "FINGERPRINT" in read.attributes


@given(transactions, addresses, st.none() | addresses, st.none() | addresses)
def test_aioice_reads_our_answers(
    transaction: bytes,
    mapped: tuple[str, int],
    origin: tuple[str, int] | None,
    other: tuple[str, int] | None,
) -> None:
    read = aioice.parse_message(emit_answer(BindingAnswer(transaction, mapped, origin, other), 200))
    assert (read.message_class, read.transaction_id) == (aioice.Class.RESPONSE, transaction)
    assert read.attributes["XOR-MAPPED-ADDRESS"] == read.attributes["MAPPED-ADDRESS"] == mapped
    assert (read.attributes.get("RESPONSE-ORIGIN"), read.attributes.get("OTHER-ADDRESS")) == (origin, other)


def test_aioice_reads_our_errors() -> None:
    read = aioice.parse_message(emit_error(BindingError(ID, 420, (0x24,))))
    assert (read.message_class, read.error_code) == (aioice.Class.ERROR, 420)


@given(transactions, st.integers(0, 7))
def test_we_read_aioices_requests(transaction: bytes, flags: int) -> None:
    written = aioice.Message(
        aioice.Method.BINDING, aioice.Class.REQUEST, transaction, {"CHANGE-REQUEST": flags, "SOFTWARE": "x"}
    )
    written.add_fingerprint()
    assert parse_stun(bytes(written)) == BindingRequest(transaction, bool(flags & 4), bool(flags & 2))


@given(transactions, addresses, addresses, addresses)
def test_we_read_aioices_answers(
    transaction: bytes, mapped: tuple[str, int], origin: tuple[str, int], other: tuple[str, int]
) -> None:
    attributes = {"XOR-MAPPED-ADDRESS": mapped, "RESPONSE-ORIGIN": origin, "OTHER-ADDRESS": other}
    written = aioice.Message(aioice.Method.BINDING, aioice.Class.RESPONSE, transaction, attributes)
    written.add_message_integrity(b"a key that we do not have")
    assert parse_stun(bytes(written)) == BindingAnswer(transaction, mapped, origin, other)


def test_we_read_aioices_errors() -> None:
    attributes = {"ERROR-CODE": (401, "Unauthorized")}
    written = aioice.Message(aioice.Method.BINDING, aioice.Class.ERROR, ID, attributes)
    assert parse_stun(bytes(written)) == BindingError(ID, 401)
