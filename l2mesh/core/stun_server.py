"""What a supernode answers to STUN Binding requests, on the ports it has anyway (RFC 8489; RFC 5780, section 6).

    where from?                XOR-MAPPED-ADDRESS and MAPPED-ADDRESS; RESPONSE-ORIGIN and OTHER-ADDRESS where known
    from elsewhere, please     the same by another of our sockets, or error 420 if there is no such
    what is not understood     error 420

OTHER-ADDRESS is a socket with another IP and another port where there is one, else one that differs in either:
that serves the tests by port, or by address, alone. A socket that is bound to no address has the host's one, if
there is but one that it may be.

Answers are larger than the 20 bytes that a request may have, and a request's source may be forged: so each source
has a token bucket, and all together one. A request as large as our edges send it gains an attacker nothing, so it
costs a tenth.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

from l2mesh.core.candidates import is_private
from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.token_bucket import TokenBucket
from l2mesh.wire.address import Address, SideAddress, ip_version, is_sendable, socket_number
from l2mesh.wire.stun import (
    UNKNOWN_ATTRIBUTE,
    Attribute,
    BindingAnswer,
    BindingError,
    BindingRequest,
    emit_answer,
    emit_error,
    parse_stun,
)

ANSWERS_PER_SECOND: Final = 2000.0
"""In all: a tenth of a core, and less than 2 Mbit/s that we could be made to send somewhere."""
ANSWERS_BURST: Final = 4000.0
SOURCE_RATE: Final = 200.0
SOURCE_BURST: Final = 2000.0
"""Tokens of one source: the survey of an edge is 30 requests, and fifty edges may start at once behind one NAT."""
SMALL_REQUEST_COST: Final = 10.0
"""Tokens for a request that is smaller than its answer: 20 of them a second, so forged ones bring their victim no
more than 2 kB/s; any other client asks less."""
SOURCES_MAX: Final = 4096
"""Sources with a bucket of their own; a further one displaces the oldest."""

Reply = tuple[bytes, Address]
"""Datagram, and where to: by the socket that the address names."""


class StunServer:
    """Doors: set_addresses; answer."""

    def __init__(self, drops: Drops, now: float) -> None:
        self._drops = drops
        self._listening: list[Address] = []
        self._all = TokenBucket(ANSWERS_PER_SECOND, ANSWERS_BURST, now)
        self._sources: dict[str, TokenBucket] = {}

    def set_addresses(self, listening: Sequence[Address], local_hosts: Sequence[str]) -> None:
        """What our sockets are bound to, and this host's addresses."""
        self._listening = known_addresses(listening, local_hosts)

    def answer(self, source: Address, datagram: bytes, now: float) -> Reply | None:
        """None: no answer, and why is counted. Raises BadPacket."""
        request = parse_stun(datagram)
        if not isinstance(request, BindingRequest):
            self._drops.count(DropReason.UNKNOWN_TYPE)  # we ask nobody, so it answers nothing
            return None
        reply, to = self._reply(request, source, len(datagram))
        cost = 1.0 if len(datagram) >= len(reply) else SMALL_REQUEST_COST
        if not (self._bucket(source, now).take(cost, now) and self._all.take(1, now)):
            self._drops.count(DropReason.STUN_LIMIT)
            return None
        return reply, to

    def _reply(self, request: BindingRequest, source: Address, size: int) -> Reply:
        listening = self._listening
        if request.unknown:
            return emit_error(BindingError(request.transaction, UNKNOWN_ATTRIBUTE, request.unknown)), source
        here = _socket_of(source, listening)
        answering = here
        if request.change_host or request.change_port:
            answering = _other(here, listening, host=request.change_host, port=request.change_port)
            if answering is None:
                unknown = (int(Attribute.CHANGE_REQUEST),)
                return emit_error(BindingError(request.transaction, UNKNOWN_ATTRIBUTE, unknown)), source
        answer = BindingAnswer(
            request.transaction, (source[0], source[1]), _told(answering), _told(alternate(here, listening))
        )
        to = source if answering is None else _seen_from(answering, source)
        return emit_answer(answer, size if request.padding else 0), to

    def _bucket(self, source: Address, now: float) -> TokenBucket:
        key = _site_of(source[0])
        bucket = self._sources.get(key)
        if bucket is None:
            if len(self._sources) >= SOURCES_MAX:
                del self._sources[next(iter(self._sources))]
            bucket = self._sources[key] = TokenBucket(SOURCE_RATE, SOURCE_BURST, now)
        return bucket


def known_addresses(listening: Sequence[Address], local_hosts: Sequence[str]) -> list[Address]:
    """What we listen on, with this host's address in place of an unspecified one where there can be but one: the
    only public one, or the only one. Where there are several, the unspecified one stays.
    """
    return [_with_host(address, _only_host(address[0], local_hosts)) for address in listening]


def alternate(here: Address | None, listening: Sequence[Address]) -> Address | None:
    """The socket that is OTHER-ADDRESS, as seen from another: best one that differs in both."""
    return (
        _other(here, listening, host=True, port=True)
        or _other(here, listening, host=False, port=True)
        or _other(here, listening, host=True, port=False)
    )


def _socket_of(source: Address, listening: Sequence[Address]) -> Address | None:
    """The socket of ours that a source is seen from."""
    number, version = socket_number(source), ip_version(source[0])
    for address in listening:
        if socket_number(address) == number and ip_version(address[0]) == version:
            return address
    return None


def _other(here: Address | None, listening: Sequence[Address], *, host: bool, port: bool) -> Address | None:
    """The first socket of the same IP version that differs from this one in just these ways."""
    if here is None:
        return None
    for address in listening:
        same_version = ip_version(address[0]) == ip_version(here[0])
        if same_version and (address[0] != here[0], address[1] != here[1]) == (host, port):
            return address
    return None


def _told(address: Address | None) -> Address | None:
    """As others are told of it: not at all, when we do not know its address."""
    if address is None or ip_address(address[0]).is_unspecified:
        return None
    return (address[0], address[1])


def _seen_from(socket: Address, source: Address) -> Address:
    """The source as seen from a socket of ours: what we send to it leaves by that one."""
    number = socket_number(socket)
    return SideAddress(source[0], source[1], number) if number else (source[0], source[1])


def _only_host(host: str, local_hosts: Sequence[str]) -> str:
    if not ip_address(host).is_unspecified:
        return host
    may_be = [one for one in local_hosts if ip_version(one) == ip_version(host) and is_sendable((one, 1))]
    public = [one for one in may_be if not is_private(one)]
    for known in (public, may_be):
        if len(known) == 1:
            return known[0]
    return host


def _with_host(address: Address, host: str) -> Address:
    number = socket_number(address)
    return SideAddress(host, address[1], number) if number else (host, address[1])


def _site_of(host: str) -> str:
    """What has a bucket: an IPv4 address, the /64 of an IPv6 one, of which its owner has all."""
    return host if ip_version(host) == 4 else ip_address(host).packed[:8].hex()
