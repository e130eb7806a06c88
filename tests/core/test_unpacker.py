"""Packer and unpacker against a naive reference: frame by frame, byte by byte, each checksum in full."""

from __future__ import annotations

import struct
from itertools import groupby
from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.packer import Packer
from l2mesh.core.plain_run import PlainArea
from l2mesh.core.run_headers import Delivery
from l2mesh.core.session import Plain
from l2mesh.core.unpacker import Unpacker

# --- the naive reference ---


def ones_sum(data: bytes | bytearray) -> int:
    total = 0
    for i in range(0, len(data), 2):
        total += int.from_bytes(data[i : i + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    return total


class Parts(NamedTuple):
    network: int
    transport: int
    payload: int
    is_tcp: bool


def parts_of(frame: bytes) -> Parts:
    """Of a TCP or UDP frame that one of the strategies below has made."""
    network = 14
    while frame[network - 2 : network] in (b"\x81\0", b"\x88\xa8"):
        network += 4
    if frame[network] >> 4 == 4:
        transport = network + (frame[network] & 15) * 4
        protocol = frame[network + 9]
    else:
        transport = network + 40
        protocol = frame[network + 6]
        if protocol == 0:
            protocol = frame[transport]
            transport += 8 + frame[transport + 1] * 8
    size = 8 if protocol == 17 else (frame[transport + 12] >> 4) * 4
    return Parts(network, transport, transport + size, protocol == 6)


def complete(frame: bytes) -> bytes:
    """Write lengths and both checksums anew, from everything else in the frame."""
    out = bytearray(frame)
    network, transport, _, is_tcp = parts_of(frame)
    length = len(out) - transport
    if not is_tcp:
        out[transport + 4 : transport + 6] = length.to_bytes(2, "big")
    if out[network] >> 4 == 4:
        out[network + 2 : network + 4] = (len(out) - network).to_bytes(2, "big")
        out[network + 10 : network + 12] = b"\0\0"
        checksum = ones_sum(out[network:transport]) ^ 0xFFFF
        out[network + 10 : network + 12] = checksum.to_bytes(2, "big")
        addresses = out[network + 12 : network + 20]
    else:
        out[network + 4 : network + 6] = (len(out) - network - 40).to_bytes(2, "big")
        addresses = out[network + 8 : network + 40]
    at = transport + (16 if is_tcp else 6)
    out[at : at + 2] = b"\0\0"
    pseudo = bytes(addresses) + struct.pack(">HH", 6 if is_tcp else 17, length)
    checksum = ones_sum(pseudo + out[transport:]) ^ 0xFFFF
    out[at : at + 2] = (checksum or 0xFFFF).to_bytes(2, "big")
    return bytes(out)


def segment_frame(headers: bytes, index: int, offset: int, piece: bytes, last: bool) -> bytes:
    """A segment of a superframe as software would send it (tcp_gso_segment, inet_gso_segment)."""
    out = bytearray(headers)
    network, transport, _, is_tcp = parts_of(headers)
    if out[network] >> 4 == 4:
        identification = int.from_bytes(out[network + 4 : network + 6], "big") + index
        out[network + 4 : network + 6] = (identification & 0xFFFF).to_bytes(2, "big")
    if is_tcp:
        sequence = int.from_bytes(out[transport + 4 : transport + 8], "big") + offset
        out[transport + 4 : transport + 8] = (sequence & 0xFFFFFFFF).to_bytes(4, "big")
        if not last:
            out[transport + 13] &= ~0x09
        if index:
            out[transport + 13] &= ~0x80
    return complete(bytes(out) + piece)


def segmented(frame: bytes, size: int) -> list[bytes]:
    start = parts_of(frame).payload
    payload = frame[start:]
    return [
        segment_frame(frame[:start], at // size, at, payload[at : at + size], at + size >= len(payload))
        for at in range(0, len(payload), size)
    ]


def finish(frame: bytes, csum_start: int, csum_offset: int) -> bytes:
    """What NEEDS_CSUM asks for: sum up from csum_start on, with the partial sum that is there already."""
    checksum = ones_sum(frame[csum_start:]) ^ 0xFFFF
    at = csum_start + csum_offset
    return frame[:at] + (checksum or 0xFFFF).to_bytes(2, "big") + frame[at + 2 :]


def on_the_lan(written: bytes) -> list[bytes]:
    """The frames that one write to the TAP, or one read from it, stands for."""
    flags, gso, header_length, size, csum_start, csum_offset = struct.unpack_from("<BBHHHH", written)
    frame = written[10:]
    if gso:
        assert header_length == parts_of(frame).payload
        assert len(frame) - header_length > size, "the kernel drops a superframe of one segment"
        partial = finish(frame, csum_start, csum_offset)
        assert partial[csum_start + csum_offset :] == complete(frame)[csum_start + csum_offset :]
        assert frame[: parts_of(frame).transport] == complete(frame)[: parts_of(frame).transport]
        return segmented(frame, size)
    return [finish(frame, csum_start, csum_offset) if flags & 1 else frame]


def carried(frame: bytes, room: int) -> list[bytes]:
    """What the far LAN is to see of a frame read from this TAP: TCP segments get as small as the path
    asks."""
    gso, size = frame[1], int.from_bytes(frame[4:6], "little")
    if not gso:
        return on_the_lan(frame)
    available = room - 8 - parts_of(frame[10:]).payload
    if gso != 5 and 0 < available < size:
        size = available
    return segmented(frame[10:], size)


def naive_unpack(plaintexts: list[bytes]) -> list[bytes]:
    """One plaintext after the other, one frame after the other."""
    frames = []
    partial: dict[bytes, dict[int, bytes]] = {}
    for plaintext in plaintexts:
        if plaintext[0] == 1:
            at = 1
            while at < len(plaintext):
                length, csum_start, csum_offset = struct.unpack_from("<HHH", plaintext, at)
                frame = plaintext[at + 6 : at + 6 + length]
                frames.append(finish(frame, csum_start, csum_offset) if csum_start else frame)
                at += 6 + length
        elif plaintext[0] == 2:
            frames += naive_segments(plaintext)
        elif plaintext[0] == 0:
            frames.append(naive_slim(plaintext))
        else:
            index, count = plaintext[1], plaintext[2]
            pieces = partial.setdefault(plaintext[4:8], {})
            pieces[index] = plaintext[12:]
            if len(pieces) == count:
                frame = b"".join(pieces[i] for i in range(count))
                csum_start, csum_offset = struct.unpack_from("<HH", plaintext, 8)
                frames.append(finish(frame, csum_start, csum_offset) if csum_start else frame)
                del partial[plaintext[4:8]]
    return frames


def naive_slim(plaintext: bytes) -> bytes:
    """Every field that was left out, put back one by one."""
    network = 15
    while plaintext[network - 2 : network] in (b"\x81\0", b"\x88\xa8"):
        network += 4
    ethernet, rest = plaintext[1:network], plaintext[network:]
    if rest[0] >> 4 == 4:
        ip = rest[:2] + bytes(4) + rest[2:6] + bytes(2) + rest[6:14]
        udp = rest[14:]
    else:
        ip, udp = rest[:4] + bytes(2) + rest[4:38], rest[38:]
    return complete(ethernet + ip + udp[:4] + bytes(4) + udp[4:])


def naive_segments(plaintext: bytes) -> list[bytes]:
    start = 8 + plaintext[2]
    headers, piece = plaintext[8:start], plaintext[start:]
    network, _, payload, _ = parts_of(headers)
    if headers[network] >> 4 == 4:
        size = int.from_bytes(headers[network + 2 : network + 4], "big") - (payload - network)
    else:
        size = int.from_bytes(headers[network + 4 : network + 6], "big") - (payload - network - 40)
    offset = int.from_bytes(plaintext[6:8], "big")
    ends = bool(plaintext[1] & 1)
    return [
        segment_frame(
            headers,
            (offset + at) // size,
            offset + at,
            piece[at : at + size],
            ends and at + size >= len(piece),
        )
        for at in range(0, len(piece), size)
    ]


def comparable(frame: bytes) -> bytes:
    """A UDP/IPv4 frame with Don't Fragment has an identification without a meaning (RFC 6864)."""
    network = 14
    while frame[network - 2 : network] in (b"\x81\0", b"\x88\xa8"):
        network += 4
    if frame[network - 2 : network] != b"\x08\0" or frame[network + 9] != 17 or not frame[network + 6] & 0x40:
        return frame
    assert ones_sum(frame[network : network + (frame[network] & 15) * 4]) == 0xFFFF
    out = bytearray(frame)
    out[network + 4 : network + 6] = out[network + 10 : network + 12] = b"\0\0"
    return bytes(out)


# --- frames as a TAP gives them ---


@st.composite
def headers(draw: st.DrawFn, protocol: int) -> bytes:
    """Ethernet, IP and TCP or UDP; lengths and checksums still wrong."""
    tags = draw(st.sampled_from([b"", b"", b"\x81\0\0\5", b"\x88\xa8\0\6\x81\0\0\5"]))
    if draw(st.booleans()):
        options = bytes(draw(st.sampled_from([0, 0, 4, 40])))
        fragment = draw(st.sampled_from([0x4000, 0x4000, 0]))
        identification = draw(st.sampled_from([0, 7, 0xFFFE]))
        network = b"\x08\0" + struct.pack(
            ">BBHHHBBH8s",
            0x45 + len(options) // 4,
            0,
            0,
            identification,
            fragment,
            64,
            protocol,
            0,
            b"\x0a\0\0\1" * 2,
        )
        network += options
    else:
        extension = draw(st.sampled_from([b"", b"", bytes((protocol, 0, 1, 4, 0, 0, 0, 0))]))
        next_header = 0 if extension else protocol
        network = b"\x86\xdd" + struct.pack(">IHBB", 0x60000000, 0, next_header, 64) + b"\xfd\7" * 16
        network += extension
    port = draw(st.integers(1, 2))
    if protocol == 17:
        transport = struct.pack(">HHHH", port, 9, 0, 0)
    else:
        words = draw(st.sampled_from([0, 3, 10]))
        flags = draw(st.sampled_from([0x10, 0x18, 0x19, 0x98, 0x90]))
        sequence = draw(st.sampled_from([1, 0xFFFFFF00]))
        transport = struct.pack(">HHIIBBHHH", port, 9, sequence, 5, 80 + words * 16, flags, 100, 0, 0)
        transport += b"\1" * words * 4
    return b"\2\0\0\0\0\x22\2\0\0\0\0\x11" + tags + network + transport


def behind_virtio(frame: bytes, gso_size: int, checksum: str) -> bytes:
    """`frame` with lengths set, and with its checksum "complete", "partial" or "zero"."""
    full = bytearray(complete(frame))
    _, transport, payload, is_tcp = parts_of(frame)
    offset = 16 if is_tcp else 6
    at = transport + offset
    if checksum == "complete":
        return bytes(10) + full
    if checksum == "zero":
        full[at : at + 2] = b"\0\0"
        return bytes(10) + full
    # complete = ~(partial + sum of the rest), hence:
    value = int.from_bytes(full[at : at + 2], "big")
    full[at : at + 2] = b"\0\0"
    rest = ones_sum(bytes(full[transport:]))
    full[at : at + 2] = ((-rest - value) % 65535 or 65535).to_bytes(2, "big")
    gso = (
        0
        if not gso_size
        else 5
        if not is_tcp
        else 1
        if b"\x08\0" in (frame[12:14], frame[16:18], frame[20:22])
        else 4
    )
    hdr_len = payload if gso else 0
    return struct.pack("<BBHHHH", 1, gso, hdr_len, gso_size, transport, offset) + full


def filling(length: int) -> bytes:
    return (bytes(range(1, 252)) * (length // 251 + 1))[:length]


@st.composite
def superframe(draw: st.DrawFn) -> list[bytes]:
    front = draw(headers(draw(st.sampled_from([6, 17]))))
    size = draw(st.sampled_from([1, 40, 536, 1200, 1448]))
    payload = draw(st.integers(size + 1, min(size * 60, 6000)))
    return [behind_virtio(front + filling(payload), size, "partial")]


@st.composite
def single(draw: st.DrawFn) -> list[bytes]:
    front = draw(headers(draw(st.sampled_from([6, 17]))))
    checksum = draw(st.sampled_from(["complete", "partial"]))
    return [behind_virtio(front + filling(draw(st.integers(0, 2000))), 0, checksum)]


@st.composite
def udp_burst(draw: st.DrawFn) -> list[bytes]:
    """Datagrams of one flow and one size, but for what breaks it."""
    front = draw(headers(17))
    size = draw(st.sampled_from([0, 1, 22, 300, 1300, 1400]))
    last = draw(st.integers(0, size))
    count = draw(st.integers(1, 70 if size < 100 else 4))
    odd = draw(st.integers(0, 200))
    oddity = draw(st.sampled_from(["complete", "zero"]))
    return [
        behind_virtio(front + filling(length), 0, oddity if index == odd else "partial")
        for index, length in enumerate([size] * count + [last])
    ]


other = st.binary(min_size=14, max_size=200).map(lambda frame: [bytes(10) + frame])
frames_lists = st.lists(st.one_of(superframe(), single(), udp_burst(), other), max_size=6).map(
    lambda lists: [frame for frames in lists for frame in frames]
)
rooms = st.one_of(st.integers(60, 1500), st.sampled_from([1200, 1440, 8900]))


def packed(frames: list[bytes], room: int) -> list[bytes]:
    drops = Drops()
    plaintexts = []
    for plaintext in Packer(drops).pack([memoryview(bytearray(frame)) for frame in frames], room):
        assert 0 < len(plaintext) <= room
        plaintexts.append(bytes(plaintext))
    assert drops.as_dict() == {}
    return plaintexts


def unpacked(plaintexts: list[bytes], *, uso: bool) -> list[bytes]:
    """Of plaintexts that are objects of their own, and the same of runs of segments."""
    singly, in_one = (_unpacked(each, uso=uso) for each in (list[Plain](plaintexts), in_runs(plaintexts)))
    assert same(singly, in_one)
    return singly


def _unpacked(plaintexts: list[Plain], *, uso: bool) -> list[bytes]:
    drops = Drops()
    deliveries = Unpacker(drops, uso=uso).unpack(plaintexts, 0.0)
    assert drops.as_dict() == {}
    return [frame for written in writes(deliveries, uso=uso) for frame in on_the_lan(written)]


def in_runs(plaintexts: list[bytes]) -> list[Plain]:
    """As many as are of one length behind one another, and segments, in one run."""
    area = PlainArea(1 << 17, 16)
    found: list[Plain] = []
    for size, equal in groupby(plaintexts, len):
        pieces = [(memoryview(b""), memoryview(plaintext)) for plaintext in equal]
        opened = area.open(_copy, pieces, size)
        found += [bytes(piece) for _, piece in pieces] if opened is None else opened
    return found


def _copy(nonce: memoryview, sealed: memoryview, associated: None, place: memoryview) -> int:
    place[:] = sealed
    return len(sealed)


def writes(deliveries: list[Delivery], *, uso: bool) -> list[bytes]:
    for delivery in deliveries:
        assert len(delivery) <= 1024, "as many buffers as writev takes"
        assert len(delivery[0]) >= 24, "the first holds the Ethernet header"
        assert uso or delivery[0][1] != 5
    return [b"".join(delivery) for delivery in deliveries]


def same(left: list[bytes], right: list[bytes]) -> bool:
    return list(map(comparable, left)) == list(map(comparable, right))


@given(frames_lists, rooms, st.booleans())
def test_what_the_far_lan_sees_is_what_this_one_sent(frames: list[bytes], room: int, uso: bool) -> None:
    sent = [seen for frame in frames for seen in carried(frame, room)]
    assert same(unpacked(packed(frames, room), uso=uso), sent)


@given(frames_lists, rooms, st.booleans(), st.data())
def test_loss_reordering_and_duplication_cost_only_what_was_lost(
    frames: list[bytes], room: int, uso: bool, data: st.DataObject
) -> None:
    plaintexts = packed(frames, room)
    assume(plaintexts)
    arrived = data.draw(st.lists(st.sampled_from(plaintexts), max_size=len(plaintexts) * 2))
    if data.draw(st.booleans()):
        arrived.sort(key=plaintexts.index)
    # A second copy of a whole fragmented frame is no duplicate but another frame; replay protection stops it.
    assume(sum(1 for plaintext in arrived if plaintext[0] == 3) < 64)
    assert same(unpacked(arrived, uso=uso), naive_unpack(arrived))


@given(frames_lists, rooms, st.booleans(), st.data())
def test_damage_within_the_cipher_never_raises_and_never_passes_the_bounds(
    frames: list[bytes], room: int, uso: bool, data: st.DataObject
) -> None:
    plaintexts = packed(frames, room)[:20]
    for _ in range(data.draw(st.integers(1, 8)) if plaintexts else 0):
        which = data.draw(st.integers(0, len(plaintexts) - 1))
        at = data.draw(st.integers(0, min(len(plaintexts[which]), 80) - 1))
        damaged = bytearray(plaintexts[which])
        damaged[at] = data.draw(st.integers(0, 255))
        plaintexts[which] = bytes(damaged[: data.draw(st.integers(1, len(damaged)))])
    within_bounds(Unpacker(Drops(), uso=uso).unpack(plaintexts, 0.0), uso=uso)
    within_bounds(Unpacker(Drops(), uso=uso).unpack(in_runs(plaintexts), 0.0), uso=uso)


any_plaintext = st.binary(max_size=120) | st.binary(max_size=120).map(lambda end: b"\2\x51\x2a\0" + end)


@given(st.lists(any_plaintext), st.booleans())
def test_any_bytes_are_no_exception(plaintexts: list[bytes], uso: bool) -> None:
    within_bounds(Unpacker(Drops(), uso=uso).unpack(plaintexts, 0.0), uso=uso)
    within_bounds(Unpacker(Drops(), uso=uso).unpack(in_runs(plaintexts), 0.0), uso=uso)


def within_bounds(deliveries: list[Delivery], *, uso: bool) -> None:
    for written in writes(deliveries, uso=uso):
        flags, gso, header_length, size, csum_start, csum_offset = struct.unpack_from("<BBHHHH", written)
        length = len(written) - 10
        assert 14 <= length <= 65535 + 14 + 8
        if flags:
            assert csum_start >= 14
            assert csum_start + csum_offset + 2 <= length
        if gso:
            assert flags == 1
            assert gso & 0x7F in (1, 4, 5)
            assert csum_start < header_length < length
            assert 0 < size < length - header_length
            assert gso != 5 or -(-(length - header_length) // size) <= 64


# --- shapes of the result ---

UDP4 = b"\2\0\0\0\0\x22\2\0\0\0\0\x11\x08\0" + bytes.fromhex(
    "4500000000014000401100000a0000010a000002 0001000900000000"
)
TCP4 = (
    b"\2\0\0\0\0\x22\2\0\0\0\0\x11\x08\0"
    + bytes.fromhex("4500000000014000400600000a0000010a000002")
    + bytes.fromhex("0001000900000001000000055018006400000000")
)


def deliver(plaintexts: list[bytes], *, uso: bool = True) -> list[bytes]:
    return [b"".join(delivery) for delivery in Unpacker(Drops(), uso=uso).unpack(plaintexts, 0.0)]


def test_a_whole_superframe_arrives_as_one_write_with_the_headers_it_had() -> None:
    frame = behind_virtio(TCP4 + filling(60_000), 1300, "partial")
    assert deliver(packed([frame], 1440)) == [frame]


def test_a_lost_segment_splits_a_superframe_in_two() -> None:
    plaintexts = packed([behind_virtio(TCP4 + filling(10_000), 1000, "partial")], 1440)
    del plaintexts[4]
    sizes = [len(written) - 10 - len(TCP4) for written in deliver(plaintexts)]
    assert sizes == [4000, 5000]


def test_a_run_whose_segments_say_other_lengths_of_their_headers_is_joined_one_by_one() -> None:
    """The bytes are alike as far as the first one says that headers go, and it lies."""
    plaintexts = packed([behind_virtio(TCP4 + filling(3000), 1000, "partial")], 1440)
    plaintexts[0] = plaintexts[0][:2] + bytes((20,)) + plaintexts[0][3:]
    drops = Drops()
    deliveries = Unpacker(drops, uso=True).unpack(in_runs(plaintexts), 0.0)
    assert [len(written) - 10 - len(TCP4) for written in writes(deliveries, uso=True)] == [2000]
    assert drops.as_dict() == {DropReason.BAD_SEGMENT: 1}


def test_superframes_with_the_same_id_but_other_headers_stay_apart() -> None:
    first = packed([behind_virtio(TCP4 + filling(3000), 1000, "partial")], 1440)
    second = packed([behind_virtio(TCP4[:-12] + b"\1" + TCP4[-11:] + filling(3000), 1000, "partial")], 1440)
    assert len(deliver([first[0], second[1], first[2]])) == 3


@pytest.mark.parametrize("size", [22, 1300, 1400])
def test_a_burst_of_datagrams_arrives_as_one_write(size: int) -> None:
    frames = [behind_virtio(UDP4 + filling(size), 0, "partial") for _ in range(40)]
    assert len(deliver(packed(frames, 1440))) == 1
    assert len(deliver(packed(frames, 1440), uso=False)) == 40


@pytest.mark.parametrize("checksum", ["complete", "zero"])
def test_datagrams_with_a_complete_or_no_checksum_keep_it(checksum: str) -> None:
    frames = [behind_virtio(UDP4 + filling(1300), 0, checksum) for _ in range(40)]
    assert deliver(packed(frames, 1440)) == frames


def test_datagrams_that_came_in_separate_plaintexts_are_merged() -> None:
    frame = behind_virtio(UDP4 + filling(100), 0, "partial")
    shorter = behind_virtio(UDP4 + filling(50), 0, "partial")
    frames = [frame, frame, frame, shorter, frame]
    merged, after = deliver([plaintext for one in frames for plaintext in packed([one], 1440)])
    assert len(merged) == len(frame) + 250
    assert after == frame


def test_no_write_holds_more_than_64_datagrams() -> None:
    frames = [behind_virtio(UDP4 + filling(1), 0, "partial") for _ in range(200)]
    counts = [len(written) - 10 - len(UDP4) for written in deliver(packed(frames, 1440))]
    assert counts == [64, 64, 64, 8]


def test_an_unknown_kind_is_counted_and_a_keepalive_is_not() -> None:
    drops = Drops()
    assert Unpacker(drops, uso=True).unpack([b"\x63later", b"", bytearray(b"\4control")], 0.0) == []
    assert drops.as_dict() == {DropReason.UNKNOWN_KIND: 2}


def test_merging_what_came_separately_stops_at_64_datagrams_too() -> None:
    plaintexts = packed([behind_virtio(UDP4 + filling(1), 0, "partial")], 1440) * 100
    assert [len(written) - 10 - len(UDP4) for written in deliver(plaintexts)] == [64, 36]


@pytest.mark.parametrize("at", [0, 6, 15, 22], ids=["destination", "source", "ECN", "TTL"])
def test_datagrams_whose_headers_differ_are_not_merged(at: int) -> None:
    frame = behind_virtio(UDP4 + filling(100), 0, "partial")
    headers = bytearray(UDP4)
    headers[at] ^= 1
    other = behind_virtio(bytes(headers) + filling(100), 0, "partial")
    separate = [plaintext for one in (frame, other, other, frame) for plaintext in packed([one], 1440)]
    for plaintexts in (separate, packed([frame, other, other, frame], 1440)):
        assert [len(written) for written in deliver(plaintexts)] == [len(frame), len(frame) + 100, len(frame)]


@pytest.mark.parametrize("at", [0, 6, 15, 22], ids=["destination", "source", "ECN", "TTL"])
def test_a_burst_ends_where_headers_differ(at: int) -> None:
    headers = bytearray(UDP4)
    headers[at] ^= 1
    one, other = (behind_virtio(bytes(front) + filling(22), 0, "partial") for front in (UDP4, headers))
    assert [len(written) for written in deliver(packed([one] * 30 + [other] * 30, 1440))] == [
        len(one) + 29 * 22
    ] * 2
