"""Which cipher a session takes, from what both ends list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.crypto.aead import Suite, choose, cipher, suites_by_speed

AES, CHACHA = Suite.AES_256_GCM, Suite.CHACHA20_POLY1305
UNKNOWN = 99


@pytest.mark.parametrize(
    ("offered", "supported", "chosen"),
    [
        ([AES, CHACHA], [AES, CHACHA], AES),
        ([CHACHA, AES], [AES, CHACHA], CHACHA),  # one end has no AES instructions
        ([AES, CHACHA], [CHACHA, AES], CHACHA),
        ([CHACHA, AES], [CHACHA, AES], CHACHA),
        ([AES], [CHACHA, AES], AES),  # slow for one end, but all there is
        ([CHACHA], [AES, CHACHA], CHACHA),
        ([AES], [CHACHA], None),
        ([], [AES, CHACHA], None),
        ([UNKNOWN], [AES, CHACHA], None),
        ([UNKNOWN, AES, CHACHA], [AES, CHACHA], AES),  # a later version's suite, passed over
        ([1, 2], [1, 2], AES),  # as they come from the wire
        ([AES, AES, CHACHA], [AES, CHACHA], AES),
    ],
)
def test_aes_is_taken_when_it_comes_first_at_both(
    offered: list[int], supported: list[int], chosen: Suite | None
) -> None:
    assert choose(offered, supported) == chosen


@given(st.lists(st.integers(0, 3), max_size=4), st.lists(st.integers(0, 3), max_size=4))
def test_both_ends_choose_alike_and_only_what_both_listed(ours: list[int], theirs: list[int]) -> None:
    chosen = choose(ours, theirs)
    assert chosen == choose(theirs, ours)
    assert chosen is None or (chosen in ours and chosen in theirs)


def test_an_end_lists_its_fastest_suite_first() -> None:
    assert suites_by_speed(aes_is_fast=True) == (AES, CHACHA)
    assert suites_by_speed(aes_is_fast=False) == (CHACHA, AES)


@pytest.mark.parametrize("suite", list(Suite))
def test_each_suite_seals_and_opens_into_a_buffer(suite: Suite) -> None:
    seal, opener = cipher(suite, bytes(32)), cipher(int(suite), bytes(32))
    buffer = bytearray(5 + 16)
    assert seal.encrypt_into(bytes(12), b"frame", None, buffer) == 21
    assert opener.decrypt(bytes(12), buffer, None) == b"frame"


def test_the_code_points_name_different_ciphers() -> None:
    sealed = {cipher(suite, bytes(32)).encrypt(bytes(12), b"frame", None) for suite in Suite}
    assert len(sealed) == 2


@pytest.mark.parametrize(("suite", "size"), [(AES, 16), (AES, 31), (CHACHA, 33), (UNKNOWN, 32)])
def test_another_key_length_or_suite_is_refused(suite: int, size: int) -> None:
    with pytest.raises(ValueError, match=r"32|99"):
        cipher(suite, bytes(size))
