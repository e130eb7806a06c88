"""mac1, mac2 and cookies."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.crypto import mac
from l2mesh.crypto.keys import NO_PSK
from l2mesh.crypto.mac import CookieJar
from l2mesh.wire.errors import BadPacket

RESPONDER = bytes(range(32))
PSK = bytes(range(32, 64))
SOURCE = b"\xc0\x00\x02\x01\x1e\x61"
MESSAGE = b"an initiation up to its mac"


def jar() -> CookieJar:
    secrets = count(1)
    return CookieJar(lambda size: bytes([next(secrets)]) * size)


def test_exact_bytes() -> None:
    key, cookie_key = mac.mac1_key(RESPONDER, PSK), mac.cookie_key(RESPONDER, PSK)
    assert key.hex() == "cd65e9e825e2ffc22e3bcba8cd023edd84811af8e3a4201d1aea38c9a0367f19"
    assert cookie_key.hex() == "3f5da37468cc4c25122de549540390781685495d1931f41642e6a460a719f2cf"
    assert mac.mac1(key, MESSAGE).hex() == "b31b8fb55b48fe22a78a3e9784e01618"
    assert mac.mac2(bytes(16), MESSAGE).hex() == "18d8920d42650987da17d6d78492b32e"
    assert (
        mac.seal_cookie(cookie_key, b"c" * 16, b"m" * 16, b"s" * 16).hex()
        == "3fc8c57cfe8508e464550fcb033a6a938b02015ad3832f5cbc496e36de8ebc9d"
    )


def test_mac1_is_verified_by_who_has_the_same_key_and_psk() -> None:
    made = mac.mac1(mac.mac1_key(RESPONDER, PSK), MESSAGE)
    assert len(made) == mac.MAC_SIZE
    assert mac.verify(mac.mac1_key(RESPONDER, PSK), MESSAGE, made)
    assert not mac.verify(mac.mac1_key(RESPONDER), MESSAGE, made)
    assert not mac.verify(mac.mac1_key(PSK, PSK), MESSAGE, made)
    assert not mac.verify(mac.cookie_key(RESPONDER, PSK), MESSAGE, made)
    assert not mac.verify(mac.mac1_key(RESPONDER, PSK), MESSAGE + b"x", made)


def test_a_mac_of_another_length_is_only_wrong() -> None:
    key = mac.mac1_key(RESPONDER, PSK)
    for size in range(mac.MAC_SIZE):
        assert not mac.verify(key, MESSAGE, mac.mac1(key, MESSAGE)[:size])


def test_no_psk_is_the_zero_psk() -> None:
    assert mac.mac1_key(RESPONDER) == mac.mac1_key(RESPONDER, NO_PSK)
    assert mac.cookie_key(RESPONDER) == mac.cookie_key(RESPONDER, NO_PSK)


def test_keys_of_another_length_are_our_own_fault() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        mac.mac1_key(RESPONDER, b"short")


def test_views_of_a_receive_buffer_will_do() -> None:
    key = mac.mac1_key(RESPONDER, PSK)
    datagram = memoryview(bytearray(MESSAGE + mac.mac1(key, MESSAGE)))
    assert mac.verify(key, datagram[:-16], datagram[-16:])


def test_a_cookie_goes_to_the_initiator_and_comes_back_as_mac2() -> None:
    responder, key = jar(), mac.cookie_key(RESPONDER, PSK)
    cause = mac.mac1(mac.mac1_key(RESPONDER, PSK), MESSAGE)
    sealed = mac.seal_cookie(key, responder.cookie(SOURCE, now=10.0), cause, salt=b"s" * 16)
    assert len(sealed) == mac.SEALED_COOKIE_SIZE
    cookie = mac.open_cookie(key, b"s" * 16, sealed, cause)
    assert responder.accepts(SOURCE, MESSAGE, mac.mac2(cookie, MESSAGE), now=11.0)


def test_a_cookie_is_of_its_source_only() -> None:
    responder = jar()
    mac2 = mac.mac2(responder.cookie(SOURCE, now=0.0), MESSAGE)
    assert responder.accepts(SOURCE, MESSAGE, mac2, now=0.0)
    assert not responder.accepts(b"elsewhere", MESSAGE, mac2, now=0.0)
    assert not responder.accepts(SOURCE, MESSAGE + b"x", mac2, now=0.0)


@pytest.mark.parametrize(
    ("made_at", "shown_at", "accepted"),
    [
        (0.0, 119.0, True),
        (0.0, 121.0, True),  # the secret before this one
        (119.0, 239.0, True),
        (0.0, 240.0, False),
        (119.0, 241.0, False),
        (0.0, 1e6, False),
    ],
)
def test_a_cookie_lives_for_one_to_two_secrets(made_at: float, shown_at: float, accepted: bool) -> None:
    responder = jar()
    responder.cookie(SOURCE, now=0.0)
    mac2 = mac.mac2(responder.cookie(SOURCE, now=made_at), MESSAGE)
    assert responder.accepts(SOURCE, MESSAGE, mac2, now=shown_at) is accepted


def test_the_previous_secret_goes_with_the_next_change() -> None:
    responder = jar()
    mac2 = mac.mac2(responder.cookie(SOURCE, now=0.0), MESSAGE)
    assert responder.accepts(SOURCE, MESSAGE, mac2, now=120.0)
    assert not responder.accepts(SOURCE, MESSAGE, mac2, now=240.0)


def test_a_fresh_jar_accepts_nothing() -> None:
    for cookie in (bytes(16), b"\x01" * 16):
        assert not jar().accepts(SOURCE, MESSAGE, mac.mac2(cookie, MESSAGE), now=0.0)


def test_a_cookie_reply_to_another_datagram_does_not_open() -> None:
    key = mac.cookie_key(RESPONDER, PSK)
    sealed = mac.seal_cookie(key, b"c" * 16, b"m" * 16, b"s" * 16)
    assert mac.open_cookie(key, b"s" * 16, sealed, b"m" * 16) == b"c" * 16
    for salt, cause in ((b"s" * 16, b"M" * 16), (b"S" * 16, b"m" * 16)):
        with pytest.raises(BadPacket, match="does not open"):
            mac.open_cookie(key, salt, sealed, cause)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_any_cookie_reply_is_refused_as_a_bad_packet(salt: bytes, sealed: bytes) -> None:
    with pytest.raises(BadPacket):
        mac.open_cookie(mac.cookie_key(RESPONDER, PSK), salt, sealed, b"m" * 16)
