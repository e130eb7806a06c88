"""Control messages: what edges and supernodes say to each other inside a session.

A control plaintext is the kind byte (see plaintext.py) and one msgpack array: the message's tag, then its
fields in the order written here. Elements behind the last known field are ignored, so fields can be added;
an unknown tag is a BadPacket, which is counted and nothing else. Sizes are bounded by the annotations.

    edge to supernode    Register, Unregister, DirectoryRequest, ChannelRequest, ReachRequest
    supernode to edge    Registered, Refused, DirectoryPage, DirectoryHint, Channel, ReachReply, ReachProbe
    edge to edge         Call; ChannelRequest to a member that relays, and from it Channel, NoChannel
    any to any           Goodbye

Nothing here is acknowledged by a transport: requests are repeated until answered, hints may be lost.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from l2mesh.wire.errors import BadPacket

CANDIDATES_MAX: Final = 16
CERTIFICATE_MAX: Final = 640
"""Bytes of DER: with so many candidates a Register stays below CONTROL_SIZE_MAX."""
CONTROL_SIZE_MAX: Final = 1152
"""Bytes of a control message: with all overhead inside the 1280 bytes that every IPv6 path carries."""

Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
Instance = Annotated[bytes, Meta(min_length=8, max_length=8)]
ChannelId = Annotated[bytes, Meta(min_length=8, max_length=8)]
Ip = Annotated[bytes, Meta(min_length=4, max_length=16)]
Port = Annotated[int, Meta(ge=0, le=65535)]
Transaction = Annotated[bytes, Meta(min_length=8, max_length=8)]
# Both come to logs and screens: no control characters.
Name = Annotated[str, Meta(max_length=63, pattern=r"^[a-z0-9-]*\Z")]
Reason = Annotated[str, Meta(max_length=200, pattern=r"^[ -~]*\Z")]
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class Candidate(Struct, array_like=True, frozen=True):
    """A UDP address a node may be reached at (`ip`: 4 or 16 bytes), and how it was found (candidates.Origin)."""

    ip: Ip
    port: Port
    origin: Annotated[int, Meta(ge=0, le=255)]


Candidates = Annotated[tuple[Candidate, ...], Meta(max_length=CANDIDATES_MAX)]


class NatReport(Struct, array_like=True, frozen=True):
    """What a node found out about the NAT before it; the words are core/nat.py's. All zero: nothing yet.

    `low` to `high` are the outside ports it allocates from, `step` the distance from one to the next where it
    takes them in order, `last` the one it took last.
    """

    mapping: Annotated[int, Meta(ge=0, le=255)] = 0
    filtering: Annotated[int, Meta(ge=0, le=255)] = 0
    low: Port = 0
    high: Port = 0
    step: Annotated[int, Meta(ge=-255, le=255)] = 0
    last: Port = 0


UNKNOWN_NAT: Final = NatReport()


class Register(Struct, array_like=True, frozen=True, tag=1):
    """I am a member of the network of `authority`, as `certificate` shows, and can be reached there.

    `relays`: it forwards sealed datagrams between other members, if its certificate says that it may.
    """

    sequence: Count
    authority: Key
    certificate: Annotated[bytes, Meta(max_length=CERTIFICATE_MAX)]
    instance: Instance
    candidates: Candidates
    nat: NatReport = UNKNOWN_NAT
    relays: bool = False


class Registered(Struct, array_like=True, frozen=True, tag=2):
    """Answer to Register: where your datagrams come from, for how many seconds it holds."""

    sequence: Count
    ip: Ip
    port: Port
    lease: Annotated[int, Meta(ge=1, le=86400)]
    epoch: Instance
    version: Count


class Refused(Struct, array_like=True, frozen=True, tag=3):
    """Answer to Register: no, because."""

    sequence: Count
    reason: Reason


class Unregister(Struct, array_like=True, frozen=True, tag=4):
    """I leave: tell the others."""


class DirectoryRequest(Struct, array_like=True, frozen=True, tag=5):
    """What changed since this version of this epoch (a network's life at one supernode)?

    `base` is the latest version there was when the full copy that we have, or are reading, began: of those who
    left before that we know nothing.
    """

    epoch: Instance
    since: Count
    base: Count = 0


class Entry(Struct, array_like=True, frozen=True):
    """One line of a directory. `instance` is empty when the node has left.

    `observed` is where the supernode itself hears the node from; the rest is what the node says of itself.
    """

    public_key: Key
    name: Name
    instance: Annotated[bytes, Meta(max_length=8)]
    candidates: Candidates
    nat: NatReport = UNKNOWN_NAT
    observed: Candidate | None = None
    relays: bool = False


class DirectoryPage(Struct, array_like=True, frozen=True, tag=6):
    """All changes after version `since` up to `version`; `latest` > `version` means: ask on.

    `since` = 0 is the start of a full copy: who is not in it is gone.
    """

    epoch: Instance
    since: Count
    version: Count
    latest: Count
    entries: Annotated[tuple[Entry, ...], Meta(max_length=64)]


class DirectoryHint(Struct, array_like=True, frozen=True, tag=7):
    """The directory has a newer version."""

    epoch: Instance
    version: Count


class ChannelRequest(Struct, array_like=True, frozen=True, tag=8):
    """A relay channel to this member, please."""

    public_key: Key


class Channel(Struct, array_like=True, frozen=True, tag=9):
    """Datagrams with this channel come from, and go to, this member."""

    public_key: Key
    channel: ChannelId


class NoChannel(Struct, array_like=True, frozen=True, tag=12):
    """There is no relay channel to this member: answer to a request, and news when there was one."""

    public_key: Key


class Call(Struct, array_like=True, frozen=True, tag=10):
    """I start connectivity checks now; these are my candidates.

    `answer` asks for yours. `moved` says that what worked before may not work now. `round` counts the attempts
    of the caller since it last moved: both ends are to make the same kind of attempt at once.
    """

    candidates: Candidates
    answer: bool
    moved: bool
    nat: NatReport = UNKNOWN_NAT
    round: Annotated[int, Meta(ge=0, le=65535)] = 0


class Goodbye(Struct, array_like=True, frozen=True, tag=11):
    """This session ends now."""


class ReachRequest(Struct, array_like=True, frozen=True, tag=13):
    """Am I reached at this address? It is said to be mapped to me. Probe it once, please."""

    ip: Ip
    port: Port
    transaction: Transaction


class ReachReply(Struct, array_like=True, frozen=True, tag=14):
    """Answer to ReachRequest: the probe was sent, or (`refusal` is not empty) why none was."""

    transaction: Transaction
    refusal: Reason


class ReachProbe(Struct, array_like=True, frozen=True, tag=15):
    """Sent to the address of a ReachRequest: who gets it is reached there."""

    transaction: Transaction


Control = (
    Register
    | Registered
    | Refused
    | Unregister
    | DirectoryRequest
    | DirectoryPage
    | DirectoryHint
    | ChannelRequest
    | Channel
    | NoChannel
    | Call
    | Goodbye
    | ReachRequest
    | ReachReply
    | ReachProbe
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Control] = msgspec.msgpack.Decoder(Control)


def emit_control(message: Control) -> bytes:
    return _encoder.encode(message)


def parse_control(data: bytes | memoryview) -> Control:
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadPacket(f"control message: {error}") from None
