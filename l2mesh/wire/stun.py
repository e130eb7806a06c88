"""STUN: what a Binding request is, and the three things one can be answered with.

Read this page beside RFC 8489, sections 5 and 14, and RFC 5780, section 7, which adds what tells apart the
behaviours of NATs. Multi-byte integers are big-endian. Nothing here is authenticated: a transaction id that nobody
else saw is all that ties an answer to its request.

    message      type (2) | length of the attributes (2) | 0x2112A442 (4) | transaction id (12) | attributes
    attribute    type (2) | length of the value (2) | value | 0 to 3 bytes up to a multiple of four, ignored
    address      0 | family (1: IPv4, 2: IPv6) | port (2) | address (4 or 16)
    xor address  the same, its port and address xored with what is behind the length in the header

    Binding request    CHANGE-REQUEST?  PADDING?  SOFTWARE?
    Binding success    XOR-MAPPED-ADDRESS or MAPPED-ADDRESS  RESPONSE-ORIGIN?  OTHER-ADDRESS?  PADDING?
    Binding error      ERROR-CODE  UNKNOWN-ATTRIBUTES?
    any of them        ... FINGERPRINT?

Attribute types below 0x8000 must be understood, so an unknown one is told in a request and spoils an answer;
others are ignored when unknown. Of an attribute that is there twice the first counts. FINGERPRINT is a checksum;
where there is one it is last and right. Bytes behind the message spoil it. Messages of before RFC 5389, which have
no magic cookie, are not spoken.
"""

from __future__ import annotations

from binascii import crc32
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct
from typing import Final

from l2mesh.wire.address import Address
from l2mesh.wire.errors import BadPacket

FIRST_BYTE_MAX: Final = 3
"""Of a datagram that is STUN's (RFC 7983)."""
TRANSACTION_SIZE: Final = 12
UNKNOWN_ATTRIBUTE: Final = 420
"""The error to a request with an attribute that the server had to understand and does not."""


class Message(IntEnum):
    REQUEST = 0x0001
    SUCCESS = 0x0101
    ERROR = 0x0111


class Attribute(IntEnum):
    MAPPED_ADDRESS = 0x0001
    CHANGE_REQUEST = 0x0003
    SOURCE_ADDRESS = 0x0004
    """What RFC 3489 called RESPONSE-ORIGIN; servers that serve its clients too send both."""
    CHANGED_ADDRESS = 0x0005
    """The same of OTHER-ADDRESS."""
    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    REALM = 0x0014
    NONCE = 0x0015
    MESSAGE_INTEGRITY_SHA256 = 0x001C
    PASSWORD_ALGORITHM = 0x001D
    USERHASH = 0x001E
    XOR_MAPPED_ADDRESS = 0x0020
    PADDING = 0x0026
    SOFTWARE = 0x8022
    FINGERPRINT = 0x8028
    RESPONSE_ORIGIN = 0x802B
    OTHER_ADDRESS = 0x802C


MAGIC_COOKIE: Final = 0x2112A442
FINGERPRINT_XOR: Final = 0x5354554E
COMPREHENSION_OPTIONAL: Final = 0x8000
CHANGE_HOST: Final = 4
CHANGE_PORT: Final = 2
FAMILY_4: Final = 1
FAMILY_6: Final = 2

HEADER_SIZE: Final = 20
ATTRIBUTE_HEADER_SIZE: Final = 4
FINGERPRINT_SIZE: Final = ATTRIBUTE_HEADER_SIZE + 4
ADDRESS_SIZE_MAX: Final = ATTRIBUTE_HEADER_SIZE + 4 + 16
ANSWER_SIZE_MAX: Final = HEADER_SIZE + 4 * ADDRESS_SIZE_MAX + FINGERPRINT_SIZE
"""Of an answer as `emit_answer` makes it, with its four addresses, without padding."""
REQUEST_SIZE: Final = ANSWER_SIZE_MAX
"""Of a request as we send it: who forges its source gains nothing by it."""
UNKNOWN_MAX: Final = 8
"""Unknown attributes that an error names: enough for a human, and the answer stays short."""

_header = Struct(">HHI12s")
_attribute = Struct(">HH")
_word = Struct(">I")


@dataclass(frozen=True, slots=True)
class BindingRequest:
    """Where do my datagrams come from? `change_...`: answer from another address, or port, of yours.

    `padding`: it has PADDING, so its answer is to have as well. `unknown`: attributes that we had to understand.
    """

    transaction: bytes
    change_host: bool = False
    change_port: bool = False
    padding: bool = False
    unknown: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class BindingAnswer:
    """They come from `mapped`. `origin`: where the server says this answer is from; `other`: where else it is."""

    transaction: bytes
    mapped: Address
    origin: Address | None = None
    other: Address | None = None


@dataclass(frozen=True, slots=True)
class BindingError:
    """No: `code` 300 to 699, and which attributes were the trouble with 420. Its text for humans is left out."""

    transaction: bytes
    code: int
    unknown: tuple[int, ...] = ()


Binding = BindingRequest | BindingAnswer | BindingError


def parse_stun(datagram: bytes) -> Binding:
    """Raises BadPacket also for what is no Binding message."""
    if len(datagram) < HEADER_SIZE:
        raise BadPacket("STUN message cut short")
    kind, length, cookie, transaction = _header.unpack_from(datagram)
    if cookie != MAGIC_COOKIE:
        raise BadPacket("no magic cookie")
    if length != len(datagram) - HEADER_SIZE:
        raise BadPacket("STUN message of another length than it says")
    attributes = _parse_attributes(datagram)
    unknown = tuple(
        dict.fromkeys(kind for kind in attributes if kind < COMPREHENSION_OPTIONAL and kind not in _KNOWN)
    )
    if kind == Message.REQUEST:
        return _parse_request(transaction, attributes, unknown)
    if unknown:
        raise BadPacket(f"answer with the unknown attribute {unknown[0]:#06x}")
    if kind == Message.SUCCESS:
        return _parse_answer(transaction, attributes)
    if kind == Message.ERROR:
        return _parse_error(transaction, attributes)
    raise BadPacket(f"STUN message of type {kind:#06x}")


_KNOWN = frozenset(Attribute)


def _parse_attributes(datagram: bytes) -> dict[int, bytes]:
    """The values by type, the first of each."""
    found: dict[int, bytes] = {}
    offset = HEADER_SIZE
    while offset < len(datagram):
        if Attribute.FINGERPRINT in found:
            raise BadPacket("an attribute behind FINGERPRINT")
        if offset + ATTRIBUTE_HEADER_SIZE > len(datagram):
            raise BadPacket("attribute cut short")
        kind, length = _attribute.unpack_from(datagram, offset)
        begin = offset + ATTRIBUTE_HEADER_SIZE
        after = begin + length + -length % 4
        if after > len(datagram):
            raise BadPacket("attribute cut short")
        value = datagram[begin : begin + length]
        if kind == Attribute.FINGERPRINT and value != _fingerprint(datagram[:offset]):
            raise BadPacket("wrong FINGERPRINT")
        found.setdefault(kind, value)
        offset = after
    return found


def _parse_request(transaction: bytes, attributes: dict[int, bytes], unknown: tuple[int, ...]) -> BindingRequest:
    change = attributes.get(Attribute.CHANGE_REQUEST, bytes(4))
    if len(change) != 4:
        raise BadPacket(f"CHANGE-REQUEST of {len(change)} bytes")
    flags = change[3]
    return BindingRequest(
        transaction,
        change_host=bool(flags & CHANGE_HOST),
        change_port=bool(flags & CHANGE_PORT),
        padding=Attribute.PADDING in attributes,
        unknown=unknown,
    )


def _parse_answer(transaction: bytes, attributes: dict[int, bytes]) -> BindingAnswer:
    xored = attributes.get(Attribute.XOR_MAPPED_ADDRESS)
    mapped = attributes.get(Attribute.MAPPED_ADDRESS)
    if xored is not None:
        address = _parse_address(_xor(xored, transaction))
    elif mapped is not None:
        address = _parse_address(mapped)
    else:
        raise BadPacket("answer without a mapped address")
    return BindingAnswer(
        transaction,
        address,
        _address_in(attributes, Attribute.RESPONSE_ORIGIN, Attribute.SOURCE_ADDRESS),
        _address_in(attributes, Attribute.OTHER_ADDRESS, Attribute.CHANGED_ADDRESS),
    )


def _parse_error(transaction: bytes, attributes: dict[int, bytes]) -> BindingError:
    value = attributes.get(Attribute.ERROR_CODE, b"")
    if len(value) < 4:
        raise BadPacket("error without a code")
    code = (value[2] & 7) * 100 + value[3]
    if not (300 <= code <= 699 and value[3] <= 99):
        raise BadPacket(f"error code {code}")
    named = attributes.get(Attribute.UNKNOWN_ATTRIBUTES, b"")
    if len(named) % 2:
        raise BadPacket("UNKNOWN-ATTRIBUTES of an odd length")
    unknown = tuple(int.from_bytes(named[i : i + 2], "big") for i in range(0, len(named), 2))
    return BindingError(transaction, code, unknown)


def _address_in(attributes: dict[int, bytes], *kinds: Attribute) -> Address | None:
    """The first of these that is there."""
    for kind in kinds:
        if kind in attributes:
            return _parse_address(attributes[kind])
    return None


def _parse_address(value: bytes) -> Address:
    if len(value) == 8 and value[1] == FAMILY_4:
        return str(IPv4Address(value[4:])), int.from_bytes(value[2:4], "big")
    if len(value) == 20 and value[1] == FAMILY_6:
        return str(IPv6Address(value[4:])), int.from_bytes(value[2:4], "big")
    raise BadPacket(f"address of {len(value)} bytes")


def _xor(value: bytes, transaction: bytes) -> bytes:
    """There and back: port and address of an address attribute xored with the magic cookie and the id."""
    key = _word.pack(MAGIC_COOKIE)
    pad = (bytes(2) + key[:2] + key + transaction)[: len(value)]
    return bytes(one ^ other for one, other in zip(value, pad, strict=False))


def _fingerprint(before: bytes) -> bytes:
    """Of a message whose bytes before FINGERPRINT these are; its length field counts FINGERPRINT already."""
    length = len(before) - HEADER_SIZE + FINGERPRINT_SIZE
    counted = before[:2] + (length & 0xFFFF).to_bytes(2, "big") + before[4:]
    return _word.pack(crc32(counted) ^ FINGERPRINT_XOR)


def emit_request(request: BindingRequest, size: int = REQUEST_SIZE) -> bytes:
    """Brought to at least `size` bytes (a multiple of four) by a SOFTWARE of spaces: every server knows that one,
    and may not refuse it, as it may PADDING."""
    body = b""
    if request.change_host or request.change_port:
        flags = CHANGE_HOST * request.change_host + CHANGE_PORT * request.change_port
        body += _emit_attribute(Attribute.CHANGE_REQUEST, _word.pack(flags))
    lacking = size - HEADER_SIZE - len(body) - FINGERPRINT_SIZE
    if lacking > 0:
        body += _emit_attribute(Attribute.SOFTWARE, b" " * (lacking - ATTRIBUTE_HEADER_SIZE))
    return _emit_message(Message.REQUEST, request.transaction, body)


def emit_answer(answer: BindingAnswer, size: int = 0) -> bytes:
    """With both kinds of mapped address (RFC 5780, section 6.1), and PADDING up to at most `size` bytes."""
    mapped = _emit_address(answer.mapped)
    body = _emit_attribute(Attribute.XOR_MAPPED_ADDRESS, _xor(mapped, answer.transaction))
    body += _emit_attribute(Attribute.MAPPED_ADDRESS, mapped)
    if answer.origin is not None:
        body += _emit_attribute(Attribute.RESPONSE_ORIGIN, _emit_address(answer.origin))
    if answer.other is not None:
        body += _emit_attribute(Attribute.OTHER_ADDRESS, _emit_address(answer.other))
    room = size - HEADER_SIZE - len(body) - FINGERPRINT_SIZE - ATTRIBUTE_HEADER_SIZE
    if room >= 0:
        body += _emit_attribute(Attribute.PADDING, bytes(room - room % 4))
    return _emit_message(Message.SUCCESS, answer.transaction, body)


def emit_error(error: BindingError) -> bytes:
    body = _emit_attribute(Attribute.ERROR_CODE, bytes((0, 0, error.code // 100, error.code % 100)))
    if error.unknown:
        named = b"".join(kind.to_bytes(2, "big") for kind in error.unknown[:UNKNOWN_MAX])
        body += _emit_attribute(Attribute.UNKNOWN_ATTRIBUTES, named)
    return _emit_message(Message.ERROR, error.transaction, body)


def _emit_message(kind: Message, transaction: bytes, body: bytes) -> bytes:
    length = len(body) + FINGERPRINT_SIZE
    message = _header.pack(kind, length, MAGIC_COOKIE, transaction) + body
    return message + _emit_attribute(Attribute.FINGERPRINT, _fingerprint(message))


def _emit_attribute(kind: Attribute, value: bytes) -> bytes:
    return _attribute.pack(kind, len(value)) + value + bytes(-len(value) % 4)


def _emit_address(address: Address) -> bytes:
    ip = ip_address(address[0])
    family = FAMILY_4 if ip.version == 4 else FAMILY_6
    return bytes((0, family)) + address[1].to_bytes(2, "big") + ip.packed
