from __future__ import annotations

import pytest

from l2mesh.core.bundle import read_bundles, write_bundle
from l2mesh.core.drops import DropReason, Drops

FRAME = b"\2\0\0\0\0\x22\2\0\0\0\0\x11\x88\xb5"


def item(frame: bytes, csum_start: int = 0, csum_offset: int = 0) -> bytes:
    return b"".join(n.to_bytes(2, "little") for n in (len(frame), csum_start, csum_offset)) + frame


def read(*bundles: bytes) -> tuple[list[bytes], dict[DropReason, int]]:
    drops = Drops()
    deliveries: list[list[bytes | bytearray | memoryview]] = []
    assert read_bundles(list(bundles), 0, True, deliveries, drops) == len(bundles)
    return [b"".join(delivery) for delivery in deliveries], drops.as_dict()


def frames(*sizes: int) -> list[bytearray | memoryview]:
    return [memoryview(bytearray(10) + FRAME + bytes(size - 14)) for size in sizes]


def test_a_bundle_takes_what_fits_to_the_byte() -> None:
    bundle, end = write_bundle(frames(14, 15, 16, 14), 0, 1 + 20 + 21 + 22)
    assert (len(bundle), end) == (64, 3)
    assert len(write_bundle(frames(14, 15, 16), 0, 63)[0]) == 42


def test_a_bundle_ends_before_a_superframe() -> None:
    some = frames(14, 14, 14)
    some[2][1] = 1
    assert write_bundle(some, 0, 1440)[1] == 2


def test_a_checksum_that_is_complete_leaves_no_trace_of_old_offsets() -> None:
    frame = bytearray(b"\2\0\x22\x22\x22\x22\x22\x22\x22\x22") + FRAME
    assert write_bundle([frame], 0, 1440)[0] == b"\1" + item(FRAME)


@pytest.mark.parametrize(
    "bundle",
    [
        b"\1",
        b"\1" + bytes(6),
        b"\1" + item(FRAME)[:-1],
        b"\1\x0d" + item(FRAME)[1:],
        b"\1\x0f" + item(FRAME)[1:],
        b"\1\xff\xff" + item(FRAME)[2:],
    ],
    ids=["empty", "no frame", "cut short", "13 bytes", "one byte more than there is", "65535 bytes"],
)
def test_an_item_of_wrong_length_is_dropped(bundle: bytes) -> None:
    assert read(bundle) == ([], {DropReason.BAD_BUNDLE: 1})


def test_what_is_before_a_bad_item_is_delivered_and_the_next_bundle_too() -> None:
    good = bytes(10) + FRAME
    bundles = (b"\1" + item(FRAME) + b"rest", b"\1" + item(FRAME))
    assert read(*bundles) == ([good, good], {DropReason.BAD_BUNDLE: 1})


@pytest.mark.parametrize(
    ("csum_start", "csum_offset"), [(13, 0), (14, 3), (14, 65535), (65535, 0), (20, 6), (18, 1)]
)
def test_a_checksum_outside_of_its_frame_is_dropped_and_the_next_item_delivered(
    csum_start: int, csum_offset: int
) -> None:
    bad = item(FRAME + b"1234", csum_start, csum_offset)
    assert read(b"\1" + bad + item(FRAME)) == ([bytes(10) + FRAME], {DropReason.BAD_CHECKSUM_OFFSET: 1})


def test_a_checksum_at_the_very_end_is_delivered() -> None:
    expected = bytes.fromhex("01 00 0000 0000 0e00 0200") + FRAME + b"1234"
    assert read(b"\1" + item(FRAME + b"1234", 14, 2)) == ([expected], {})
