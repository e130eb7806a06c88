from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.wire import ethernet
from l2mesh.wire.errors import BadPacket

ADDRESSES = bytes.fromhex("0200000000220200000000 11")


@pytest.mark.parametrize(
    ("tags", "offset"), [("", 14), ("81000005", 18), ("88a80006 81000005", 22), ("81000006 81000005", 22)]
)
def test_the_payload_begins_behind_the_tags(tags: str, offset: int) -> None:
    frame = ADDRESSES + bytes.fromhex(tags + "86dd") + b"payload"
    assert ethernet.network_offset(frame) == (ethernet.IPV6, offset)
    assert frame[offset:] == b"payload"


@pytest.mark.parametrize("tail", ["", "81", "8100", "81000005", "8100000508"])
def test_a_header_cut_short_is_refused(tail: str) -> None:
    with pytest.raises(BadPacket):
        ethernet.network_offset(ADDRESSES + bytes.fromhex(tail))


def test_a_third_tag_is_refused() -> None:
    with pytest.raises(BadPacket):
        ethernet.network_offset(ADDRESSES + bytes.fromhex("81000005" * 3 + "0800"))


@given(st.binary(max_size=40))
def test_any_bytes_are_a_payload_within_the_frame_or_refused(frame: bytes) -> None:
    try:
        _, offset = ethernet.network_offset(frame)
    except BadPacket:
        return
    assert 14 <= offset <= len(frame)
