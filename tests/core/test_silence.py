"""Frames went out: did anything come in?"""

from __future__ import annotations

import pytest

from l2mesh.core.silence import DELAYED_S, NEVER, SILENCE_S, Silence


def test_frames_without_an_answer_are_suspicious_in_a_while() -> None:
    silence = Silence()
    assert silence.next_at == NEVER
    assert silence.sent(10.0)
    assert not silence.sent(10.1)
    assert silence.next_at == 10.0 + SILENCE_S
    assert not silence.is_suspicious(0.1, 10.2)
    assert silence.is_suspicious(0.1, silence.next_at)
    assert silence.next_at == NEVER


def test_an_answer_ends_it() -> None:
    silence = Silence()
    silence.sent(10.0)
    silence.heard_at = 10.1
    assert not silence.is_suspicious(0.1, silence.next_at)
    assert silence.next_at == NEVER


def test_frames_after_the_answer_have_their_own_time() -> None:
    silence = Silence()
    silence.sent(10.0)
    silence.heard_at = 10.1
    silence.sent(10.2)
    assert not silence.is_suspicious(0.1, 10.0 + SILENCE_S)
    assert silence.next_at == pytest.approx(10.2 + SILENCE_S)
    assert silence.is_suspicious(0.1, silence.next_at)


def test_what_came_before_the_frames_is_no_answer_even_at_the_same_instant() -> None:
    silence = Silence()
    silence.heard_at = 10.0
    silence.sent(10.0)
    silence.sent(10.2)
    assert silence.waiting_from == 10.0
    assert silence.is_suspicious(0.1, silence.next_at)


def test_a_long_round_trip_is_waited_for() -> None:
    silence = Silence()
    silence.sent(10.0)
    assert not silence.is_suspicious(0.9, silence.next_at)
    assert silence.next_at == pytest.approx(10.9 + DELAYED_S)
    assert silence.is_suspicious(0.9, silence.next_at)


def test_a_busy_peer_costs_a_look_every_quarter_of_a_second() -> None:
    silence, looks = Silence(), 0
    for tick in range(100_000):
        now = tick / 10_000
        if now >= silence.next_at:
            looks += 1
            assert not silence.is_suspicious(0.1, now)
        silence.heard_at = now
        silence.sent(now + 0.00005)
    assert looks <= 10 / SILENCE_S
