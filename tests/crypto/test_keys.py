"""Keys, their files and text, and what is derived from them."""

from __future__ import annotations

import contextlib
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.crypto.keys import (
    AuthorityKey,
    InvalidKey,
    KeyFormatError,
    StaticKey,
    authority_from_secret,
    decode_key,
    encode_key,
    network_id,
    network_psk,
    signature_is_valid,
)

SECRET = bytes(range(32))

# Points of order 1, 2, 4 and 8, and their spellings beyond p (curve25519 paper, cr.yp.to/ecdh.html#validate).
LOW_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


def test_exchange_gives_both_ends_the_same_secret() -> None:
    alice, bob = StaticKey.from_private_bytes(b"a" * 32), StaticKey.from_private_bytes(b"b" * 32)
    assert alice.exchange(bob.public) == bob.exchange(alice.public)


@pytest.mark.parametrize("point", LOW_ORDER)
def test_exchange_refuses_points_of_low_order(point: str) -> None:
    with pytest.raises(InvalidKey, match="low order"):
        StaticKey.from_private_bytes(SECRET).exchange(bytes.fromhex(point))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_exchange_refuses_keys_of_another_length(size: int) -> None:
    with pytest.raises(InvalidKey, match="length"):
        StaticKey.from_private_bytes(SECRET).exchange(bytes(size))


def test_generate_takes_its_chance_from_the_argument() -> None:
    assert StaticKey.generate(lambda size: b"\x07" * size) == StaticKey.from_private_bytes(b"\x07" * 32)
    assert AuthorityKey.generate(lambda size: b"\x07" * size) == AuthorityKey.from_private_bytes(b"\x07" * 32)


def test_keys_show_no_private_bytes() -> None:
    assert "private" not in repr(StaticKey.from_private_bytes(SECRET))
    assert "private" not in repr(AuthorityKey.from_private_bytes(SECRET))


def test_a_key_file_reads_back() -> None:
    static, authority = StaticKey.from_private_bytes(SECRET), AuthorityKey.from_private_bytes(SECRET)
    assert StaticKey.from_pem(static.to_pem()) == static
    assert StaticKey.from_pem(static.to_pem()).private_bytes() == SECRET
    assert AuthorityKey.from_pem(authority.to_pem()) == authority
    assert AuthorityKey.from_pem(authority.to_pem()).private_bytes() == SECRET


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on this machine")
def test_openssl_shows_a_key_file() -> None:
    pem = StaticKey.from_private_bytes(SECRET).to_pem()
    shown = subprocess.run(["openssl", "pkey", "-text", "-noout"], input=pem, capture_output=True, check=True)
    assert b"X25519 Private-Key" in shown.stdout


def encrypted_pem() -> bytes:
    key = StaticKey.from_private_bytes(SECRET).private
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password"))


def elliptic_pem() -> bytes:
    key = ec.derive_private_key(5, ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("pem", "complaint"),
    [
        (AuthorityKey.from_private_bytes(SECRET).to_pem(), "type Ed25519, but a node's key is X25519"),
        (elliptic_pem(), "but a node's key is X25519"),
        (encrypted_pem(), "is encrypted: write it without a password"),
        (b"", "holds no key in PEM form"),
        (b"\x00\xff garbage", "holds no key in PEM form"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds a CERTIFICATE"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "damaged"),
        (b"-----BEGIN PRIVATE KEY-----\n", "damaged"),
    ],
)
def test_a_wrong_key_file_says_what_it_is(pem: bytes, complaint: str) -> None:
    with pytest.raises(KeyFormatError, match=complaint):
        StaticKey.from_pem(pem)


def test_a_node_key_is_no_authority() -> None:
    with pytest.raises(KeyFormatError, match="type X25519, but an authority's key is Ed25519"):
        AuthorityKey.from_pem(StaticKey.from_private_bytes(SECRET).to_pem())


@given(st.binary(max_size=300))
def test_any_bytes_as_a_key_file_are_refused_politely(pem: bytes) -> None:
    with pytest.raises(KeyFormatError):
        StaticKey.from_pem(b"-----BEGIN PRIVATE KEY-----\n" + pem)


def test_private_bytes_of_another_length_are_refused() -> None:
    with pytest.raises(KeyFormatError, match="31 bytes"):
        StaticKey.from_private_bytes(bytes(31))
    with pytest.raises(KeyFormatError, match="33 bytes"):
        AuthorityKey.from_private_bytes(bytes(33))


@given(st.binary(min_size=32, max_size=32))
def test_key_text_reads_back(key: bytes) -> None:
    assert decode_key(f" {encode_key(key)}\n", "a key") == key


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", r"^\[network\] authority: 0 bytes"),
        ("not base64!", "not base64"),
        ("käse", "not base64"),
        (encode_key(bytes(31)), "31 bytes, but a key has 32"),
        (encode_key(bytes(33)), "33 bytes, but a key has 32"),
        ("A" * 42 + "B=", "mistyped"),  # the same 32 bytes as A…A=, spelt otherwise
    ],
)
def test_key_text_that_is_none_says_why(text: str, complaint: str) -> None:
    with pytest.raises(KeyFormatError, match=complaint):
        decode_key(text, "[network] authority")


@given(st.text(max_size=60))
def test_any_key_text_is_a_key_or_a_format_error(text: str) -> None:
    with contextlib.suppress(KeyFormatError):
        assert len(decode_key(text, "key")) == 32


def test_derivations_are_pinned() -> None:
    # A change here cuts off every existing shared-secret network.
    authority = authority_from_secret(SECRET)
    assert authority.public.hex() == "a626c069ef5c81aee168619188b2a7b295d2b367d2e4581af14992a485fce79c"
    assert network_id(authority.public).hex() == "89a326ad7ad6253ca14f3f75bfe165c45b555e7b0f345580b2f502b09c378367"
    assert network_psk(SECRET).hex() == "3a30540bf13e2c0e2cec26e1a36d09b78dc5cbffc95c45a24858b524e312dc95"
    assert (
        network_psk(authority.public, b"extra").hex()
        == "fa4872930e3edd3ccc0f8d4e0f0349fae8d9f82d009ecdde2e1e025fe76bb899"
    )


def test_psks_differ_by_material_and_by_psk() -> None:
    assert len({network_psk(SECRET), network_psk(SECRET, b"x"), network_psk(b"other"), SECRET}) == 4


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(KeyFormatError, match="15 bytes, but it takes at least 16"):
        authority_from_secret(bytes(15))


def test_a_signature_is_valid_for_its_message_and_key_only() -> None:
    authority = authority_from_secret(SECRET)
    signature = authority.sign(b"message")
    assert signature_is_valid(authority.public, signature, b"message")
    assert not signature_is_valid(authority.public, signature, b"massage")
    assert not signature_is_valid(AuthorityKey.from_private_bytes(SECRET).public, signature, b"message")
    assert not signature_is_valid(b"no key", signature, b"message")
    assert not signature_is_valid(authority.public, b"no signature", b"message")
