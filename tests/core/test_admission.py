"""The checks before any public-key operation: mac1, load, cookies, the limit of a source."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from l2mesh.core import admission as admission_module
from l2mesh.core.admission import SOURCE_BURST, SOURCE_RATE, Admission
from l2mesh.core.drops import DropReason
from l2mesh.crypto import mac
from l2mesh.wire.outer import INITIATION_MIN_SIZE, parse_cookie_reply

RandomBytes = Callable[[int], bytes]
KEY, PSK = b"k" * 32, b"p" * 32
BODY = bytes((192, 0, 0, 0)) + b"\0\0\0\7" + bytes(96)
RATE = 10.0


def initiation(key: bytes = KEY, psk: bytes = PSK, cookie: bytes = b"", body: bytes = BODY) -> bytes:
    with_mac1 = body + mac.mac1(mac.mac1_key(key, psk), body)
    return with_mac1 + (mac.mac2(cookie, with_mac1) if cookie else bytes(16))


@pytest.fixture
def door(random_bytes: RandomBytes) -> Admission:
    return Admission(KEY, PSK, random_bytes, rate=RATE, now=0.0)


@pytest.fixture
def loaded(door: Admission) -> Admission:
    for _ in range(int(RATE)):
        assert door.check(initiation(), 7, b"source", 0.0) is None
    return door


def cookie_from(reply: object, cause: bytes) -> bytes:
    assert isinstance(reply, bytes)
    index, salt, sealed = parse_cookie_reply(reply)
    assert index == 7
    return mac.open_cookie(mac.cookie_key(KEY, PSK), salt, sealed, cause[-32:-16])


def test_the_right_mac1_is_let_in(door: Admission) -> None:
    assert door.check(initiation(), 7, b"source", 0.0) is None


@pytest.mark.parametrize(("key", "psk"), [(b"x" * 32, PSK), (KEY, b"x" * 32), (KEY, bytes(32))])
def test_a_wrong_mac1_is_dropped_in_silence_even_under_load(loaded: Admission, key: bytes, psk: bytes) -> None:
    assert loaded.check(initiation(key, psk), 7, b"source", 0.0) is DropReason.WRONG_MAC1


def test_a_stranger_does_not_use_up_the_rate(door: Admission) -> None:
    for _ in range(1000):
        door.check(initiation(psk=b"x" * 32), 7, b"source", 0.0)
    assert door.check(initiation(), 7, b"source", 0.0) is None


def test_under_load_a_cookie_is_asked_for_by_no_more_bytes_than_came(loaded: Admission) -> None:
    reply = loaded.check(initiation(), 7, b"source", 0.0)
    assert isinstance(reply, bytes)
    assert len(reply) == 56 < INITIATION_MIN_SIZE
    cookie = cookie_from(reply, initiation())
    assert loaded.check(initiation(cookie=cookie), 7, b"source", 0.0) is None


def test_a_cookie_is_good_for_its_source_only(loaded: Admission) -> None:
    cookie = cookie_from(loaded.check(initiation(), 7, b"source", 0.0), initiation())
    assert isinstance(loaded.check(initiation(cookie=cookie), 7, b"another", 0.0), bytes)


def test_a_cookie_outlives_one_change_of_the_secret_and_no_more(door: Admission) -> None:
    def load(now: float) -> None:
        while door.check(initiation(), 7, b"x", now) is None:
            pass

    load(0.0)
    cookie = cookie_from(door.check(initiation(), 7, b"source", 0.0), initiation())
    load(130.0)
    assert door.check(initiation(cookie=cookie), 7, b"source", 130.0) is None
    load(250.0)
    assert isinstance(door.check(initiation(cookie=cookie), 7, b"source", 250.0), bytes)


def test_a_source_with_a_cookie_has_a_rate_of_its_own(loaded: Admission) -> None:
    cookies = {
        source: cookie_from(loaded.check(initiation(), 7, source, 0.0), initiation())
        for source in (b"one", b"two")
    }
    verdicts = [loaded.check(initiation(cookie=cookies[b"one"]), 7, b"one", 0.0) for _ in range(8)]
    assert verdicts == [None] * int(SOURCE_BURST) + [DropReason.RATE_LIMITED] * (8 - int(SOURCE_BURST))
    assert loaded.check(initiation(cookie=cookies[b"two"]), 7, b"two", 0.0) is None


def test_the_rate_of_a_source_comes_back_with_time(random_bytes: RandomBytes) -> None:
    door = Admission(KEY, PSK, random_bytes, rate=1e-9, now=0.0)
    cookie = cookie_from(door.check(initiation(), 7, b"one", 0.0), initiation())
    let_in = sum(door.check(initiation(cookie=cookie), 7, b"one", tick / 100) is None for tick in range(101))
    assert let_in == SOURCE_BURST + SOURCE_RATE


def test_load_passes(loaded: Admission) -> None:
    assert isinstance(loaded.check(initiation(), 7, b"source", 0.0), bytes)
    assert loaded.check(initiation(), 7, b"source", 0.2) is None


def test_the_table_of_sources_is_bounded(loaded: Admission, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission_module, "SOURCES_MAX", 10)
    for number in range(100):
        source = number.to_bytes(4, "big")
        cookie = cookie_from(loaded.check(initiation(), 7, source, 0.0), initiation())
        assert loaded.check(initiation(cookie=cookie), 7, source, 0.0) is None
    assert len(loaded._sources) == 10


def test_under_load_even_the_proven_are_limited_in_all(random_bytes: RandomBytes) -> None:
    door = Admission(KEY, PSK, random_bytes, rate=RATE, limit=3.0, now=0.0)
    while door.check(initiation(), 7, b"x", 0.0) is None:
        pass
    verdicts = []
    for number in range(5):
        source = number.to_bytes(4, "big")
        cookie = cookie_from(door.check(initiation(), 7, source, 0.0), initiation())
        verdicts.append(door.check(initiation(cookie=cookie), 7, source, 0.0))
    assert verdicts == [None] * 3 + [DropReason.RATE_LIMITED] * 2
