"""Membership certificates: what they say, whom they convince, and what rubbish does."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from l2mesh.crypto import certificate
from l2mesh.crypto.certificate import (
    NO_BEGINNING,
    NO_EXPIRY,
    Capability,
    CertificateError,
    CertificateFault,
    Member,
)
from l2mesh.crypto.keys import AuthorityKey, StaticKey, encode_key
from l2mesh.wire.errors import BadPacket

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

AUTHORITY, STRANGER = AuthorityKey.from_private_bytes(b"A" * 32), AuthorityKey.from_private_bytes(b"S" * 32)
ALICE = StaticKey.from_private_bytes(b"a" * 32)
START, END = 1_700_000_000, 1_800_000_000
NOW = 1_750_000_000.0
MAC = bytes.fromhex("02005e005301")


def issued(**changes: Any) -> bytes:
    arguments: dict[str, Any] = {"not_before": START, "not_after": END, "serial": 7} | changes
    name = arguments.pop("name", "alice")
    return certificate.issue(
        arguments.pop("authority", AUTHORITY), arguments.pop("public_key", ALICE.public), name, **arguments
    )


FULL = issued(addresses=["10.98.0.1", "fd98::1"], macs=[MAC], capabilities=["relay", Capability.INVITE])


def fault_of(der: bytes, now: float = NOW, authority: bytes = AUTHORITY.public) -> CertificateFault:
    with pytest.raises(CertificateError) as caught:
        certificate.verify(der, authority, now)
    return caught.value.reason


def test_a_member_is_what_was_issued() -> None:
    assert certificate.verify(FULL, AUTHORITY.public, NOW) == Member(
        name="alice",
        public_key=ALICE.public,
        addresses=("10.98.0.1", "fd98::1"),
        macs=(MAC,),
        capabilities=frozenset({Capability.RELAY, Capability.INVITE}),
        not_before=START,
        not_after=END,
        serial=7,
    )


def test_a_plain_member_may_do_nothing_special() -> None:
    member = certificate.verify(issued(), AUTHORITY.public, NOW)
    assert (member.addresses, member.macs, member.capabilities) == ((), (), frozenset())


def test_it_is_small() -> None:
    assert len(issued()) < 300
    assert len(FULL) < 400


def test_another_networks_certificate_is_refused() -> None:
    assert fault_of(FULL, authority=STRANGER.public) is CertificateFault.WRONG_AUTHORITY
    assert fault_of(FULL, authority=b"no key") is CertificateFault.WRONG_AUTHORITY


@pytest.mark.parametrize(
    ("now", "fault"),
    [
        (START - 1, CertificateFault.NOT_YET_VALID),
        (START, None),
        (END, None),
        (END + 1, CertificateFault.EXPIRED),
    ],
)
def test_it_is_valid_from_its_first_to_its_last_second(now: int, fault: CertificateFault | None) -> None:
    if fault is None:
        assert certificate.verify(FULL, AUTHORITY.public, float(now)).name == "alice"
    else:
        assert fault_of(FULL, float(now)) is fault


def test_time_is_looked_at_anew_though_the_rest_is_remembered() -> None:
    assert certificate.verify(FULL, AUTHORITY.public, NOW) is certificate.verify(FULL, AUTHORITY.public, NOW + 1)
    assert fault_of(FULL, END + 1.0) is CertificateFault.EXPIRED


def test_no_clock_makes_an_unlimited_certificate_invalid() -> None:
    der = issued(not_before=NO_BEGINNING, not_after=NO_EXPIRY)
    for now in (0.0, NOW, 2e11):
        assert certificate.verify(der, AUTHORITY.public, now).name == "alice"


def test_the_message_tells_who_and_why() -> None:
    with pytest.raises(CertificateError, match=r"certificate: expired: alice: 1\.0 days ago"):
        certificate.verify(FULL, AUTHORITY.public, END + 86400.0)


def test_faults_are_not_remembered() -> None:
    certificate._read.cache_clear()
    for index in range(10):
        fault_of(bytes([index]) * 50)
        fault_of(FULL, authority=bytes([index]) * 32)
    assert certificate._read.cache_info().currsize == 0


# What an authority could sign though we never issue it.


def builder(
    public_key: CertificatePublicKeyTypes | None = None, name: str | None = "alice"
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([] if name is None else [x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([]))
        .public_key(public_key or ALICE.private.public_key())
        .serial_number(1)
        .not_valid_before(datetime.fromtimestamp(START, UTC))
        .not_valid_after(datetime.fromtimestamp(END, UTC))
    )


def signed(unsigned: x509.CertificateBuilder) -> bytes:
    return unsigned.sign(AUTHORITY.private, None).public_bytes(Encoding.DER)


def test_a_key_of_another_type_is_refused() -> None:
    der = signed(builder(STRANGER.private.public_key()))
    assert fault_of(der) is CertificateFault.KEY_TYPE


def test_a_signature_of_another_type_is_refused() -> None:
    der = builder().sign(ec.derive_private_key(5, ec.SECP256R1()), SHA256()).public_bytes(Encoding.DER)
    assert fault_of(der) is CertificateFault.WRONG_AUTHORITY


@pytest.mark.parametrize("name", ["Alice", "a b", "alice\n", "ä", "x" * 64])
def test_a_name_outside_the_alphabet_is_refused(name: str) -> None:
    assert fault_of(signed(builder(name=name))) is CertificateFault.MALFORMED


def test_a_certificate_without_a_name_is_refused() -> None:
    assert fault_of(signed(builder(name=None))) is CertificateFault.MALFORMED


@pytest.mark.parametrize(
    "uri", ["urn:l2mesh:mac:", "urn:l2mesh:mac:02:00:5e:00:53", "urn:l2mesh:mac:02:00:5E:00:53:01"]
)
def test_a_mac_that_is_none_is_refused(uri: str) -> None:
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
    assert fault_of(signed(builder().add_extension(names, critical=False))) is CertificateFault.MALFORMED


def test_unknown_extensions_are_passed_over_unless_critical() -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.25.1"), b"\x05\x00")
    assert certificate.verify(signed(builder().add_extension(unknown, critical=False)), AUTHORITY.public, NOW)
    der = signed(builder().add_extension(unknown, critical=True))
    assert fault_of(der) is CertificateFault.MALFORMED


def test_what_openssl_ca_adds_is_passed_over() -> None:
    usual = (
        builder()
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("alice.example")]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.1")]), critical=False)
    )
    member = certificate.verify(signed(usual), AUTHORITY.public, NOW)
    assert (member.addresses, member.macs, member.capabilities) == ((), (), frozenset())


# Rubbish.


def resigned(body: bytes) -> bytes:
    """A certificate around any body, with the authority's good signature: X.509's outer SEQUENCE by hand."""
    content = body + bytes.fromhex("300506032b6570") + bytes.fromhex("034100") + AUTHORITY.sign(body)
    return b"\x30\x82" + len(content).to_bytes(2, "big") + content


BODY = x509.load_der_x509_certificate(FULL).tbs_certificate_bytes


def test_the_hand_made_certificate_is_good() -> None:
    assert certificate.verify(resigned(BODY), AUTHORITY.public, NOW).name == "alice"


def refused_or_read(der: bytes) -> None:
    with contextlib.suppress(CertificateError):
        assert isinstance(certificate.verify(der, AUTHORITY.public, NOW), Member)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_as_a_certificate_error(der: bytes) -> None:
    assert issubclass(CertificateError, BadPacket)
    assert fault_of(der) is CertificateFault.MALFORMED


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(FULL) - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_a_changed_certificate_is_refused(changes: list[tuple[int, int]]) -> None:
    changed = bytearray(FULL)
    for position, value in changes:
        changed[position] ^= value
    if changed != FULL:  # two changes may undo each other
        fault_of(bytes(changed))


@settings(max_examples=500)
@given(st.lists(st.tuples(st.integers(0, len(BODY) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_whatever_an_authority_signs_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    changed = bytearray(BODY)
    for position, value in changes:
        changed[position] = value
    refused_or_read(resigned(bytes(changed)))


def test_every_truncation_and_every_trailing_byte_is_refused() -> None:
    for size in range(len(FULL)):
        assert fault_of(FULL[:size]) is CertificateFault.MALFORMED
    assert fault_of(FULL + b"\x00") is CertificateFault.MALFORMED


def test_a_serial_number_that_the_parser_only_warns_of_is_refused() -> None:
    at = BODY.index(bytes.fromhex("020107"))
    negative = BODY[:at] + bytes.fromhex("0201ff") + BODY[at + 3 :]
    assert fault_of(resigned(negative)) is CertificateFault.MALFORMED


def test_a_huge_certificate_is_not_even_parsed() -> None:
    assert fault_of(bytes(certificate.MAX_SIZE + 1)) is CertificateFault.MALFORMED


# What the user gives.


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": ""}, "name ''"),
        ({"name": "Alice"}, "name 'Alice': must be 1 to 63"),
        ({"name": "x" * 64}, "must be 1 to 63"),
        ({"addresses": ["10.98.0.1/24"]}, "10.98.0.1/24"),
        ({"macs": [b"\x01\x00\x5e\x00\x00\x01"]}, "no group address"),
        ({"macs": [b"short"]}, "must be 6 bytes"),
        ({"capabilities": ["fly"]}, "fly"),
        ({"not_after": 10**12}, "before the year 10000"),
        ({"not_before": END, "not_after": START}, "after"),
        ({"public_key": bytes(31)}, "32"),
        ({"serial": 0}, "serial"),
        ({"macs": [bytes([2, 0, 0, 0, 0, index]) for index in range(100)]}, "fewer addresses or MACs"),
    ],
)
def test_nothing_is_issued_that_would_be_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        issued(**changes)


def test_ten_macs_fit_and_more_are_refused_when_the_certificate_is_made() -> None:
    macs = tuple(bytes([2, 0, 0, 0, 0, index]) for index in range(10))
    assert certificate.verify(issued(macs=macs), AUTHORITY.public, NOW).macs == macs
    with pytest.raises(ValueError, match="at most 640"):
        issued(macs=tuple(bytes([2, 0, 0, 0, 0, index]) for index in range(50)))


def test_a_pem_file_reads_back() -> None:
    assert certificate.from_pem(certificate.to_pem(FULL)) == FULL
    assert certificate.from_pem(b"Certificate:\n some text\n" + certificate.to_pem(FULL)) == FULL


@pytest.mark.parametrize(
    "pem",
    [b"", b"garbage", ALICE.to_pem(), b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
)
def test_a_file_that_holds_no_certificate_is_refused(pem: bytes) -> None:
    with pytest.raises(CertificateError, match="holds no certificate in PEM form"):
        certificate.from_pem(pem)


def test_rubbish_does_not_become_pem() -> None:
    with pytest.raises(CertificateError, match="not X"):
        certificate.to_pem(b"rubbish")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on this machine")
def test_openssl_shows_all_of_it() -> None:
    shown = subprocess.run(
        ["openssl", "x509", "-text", "-noout"],
        input=certificate.to_pem(FULL),
        capture_output=True,
        check=True,
    ).stdout.decode()
    for text in (
        "Subject: CN = alice",
        encode_key(AUTHORITY.public),
        "X25519 Public-Key",
        "ED25519",
        "IP Address:10.98.0.1",
        "urn:l2mesh:mac:02:00:5e:00:53:01",
        "2.25.272865561893718670752937971705208266485.1",
    ):
        assert text.replace(" ", "") in shown.replace(" ", "")
