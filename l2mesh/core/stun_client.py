"""Binding requests under way: sent, repeated, matched with what answers them, given up.

An answer counts when it has the transaction id of a request, which nobody off the way can know, and came to the
socket that the request left by: from where that went, or, when the request asked for it, from elsewhere.

RFC 8489, section 6.2.1, in short: the first repeat after 500 ms where no round trip is known, then after twice as
long each time, seven sends in all. Where an answer from elsewhere is awaited, which mostly a filter withholds, the
round trip is known, and the requests follow one another more closely: six of them say that it was no accident.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from l2mesh.wire.address import Address, socket_number
from l2mesh.wire.stun import TRANSACTION_SIZE, BindingAnswer, BindingError, BindingRequest, emit_request

RTO_S: Final = 0.5
RTO_MAX_S: Final = 1.6
SENDS: Final = 7
CONTROL_SENDS: Final = 6
"""At 10 % loss each way, one in 20 000 such tests finds a filter that is not there."""
RTTS_PER_SEND: Final = 3.0
"""A repeat comes after so many round trips, where one is known: RFC 6298's time-out after a first measurement."""
RTO_MIN_S: Final = 0.1
REQUESTS_MAX: Final = 128
"""Under way at once; a survey has about forty."""

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class Request(Generic[K]):
    """`gaps`: seconds from each send to the next, and from the last one to giving up."""

    key: K
    address: Address
    datagram: bytes
    gaps: tuple[float, ...]
    elsewhere: bool
    sent: int
    sent_at: float
    due_at: float


@dataclass(frozen=True, slots=True)
class Outcome(Generic[K]):
    """What became of a request. `answer` None: nothing. `rtt` None: it was repeated, so which one was answered?"""

    key: K
    address: Address
    answer: BindingAnswer | BindingError | None
    source: Address
    rtt: float | None = None


class StunClient(Generic[K]):
    """Doors: ask, receive, cancel; handle_timer, next_at. `K` says what a request is for."""

    def __init__(self, send: Callable[[bytes, Address], None], random_bytes: Callable[[int], bytes]) -> None:
        self._send = send
        self._random_bytes = random_bytes
        self._requests: dict[bytes, Request[K]] = {}

    def ask(self, address: Address, key: K, now: float, rtt: float | None = None) -> None:
        """Where does this server see the socket that the address belongs to?"""
        self._begin(address, key, BindingRequest(self._fresh_id()), _plain_gaps(rtt), now)

    def ask_from_elsewhere(
        self, address: Address, key: K, now: float, rtt: float | None, *, host: bool, port: bool
    ) -> None:
        """The same, to be answered from another host, or port, or both."""
        request = BindingRequest(self._fresh_id(), host, port)
        self._begin(address, key, request, (_timeout(rtt),) * CONTROL_SENDS, now)

    def ask_nobody(self, address: Address, key: K, now: float, rtt: float | None) -> None:
        """A request that is to come back in to us, and that no answer is awaited to."""
        self._begin(address, key, BindingRequest(self._fresh_id()), (_timeout(rtt),) * CONTROL_SENDS, now)

    def own(self, request: BindingRequest) -> K | None:
        """What a request that came in is for, if we sent it."""
        ours = self._requests.get(request.transaction)
        return ours.key if ours is not None else None

    def under_way(self) -> list[K]:
        """What requests are for, in the order of asking."""
        return [request.key for request in self._requests.values()]

    def cancel(self, unwanted: Callable[[K], bool]) -> None:
        """Forget requests: their answers come too late."""
        self._requests = {id_: request for id_, request in self._requests.items() if not unwanted(request.key)}

    def receive(self, source: Address, answer: BindingAnswer | BindingError, now: float) -> Outcome[K] | None:
        """What this answers; None when it answers nothing of ours."""
        request = self._requests.get(answer.transaction)
        if request is None:
            return None
        if request.elsewhere and not isinstance(answer, BindingError):
            expected = socket_number(source) == socket_number(request.address)
        else:
            expected = source == request.address
        if not expected:
            return None
        del self._requests[answer.transaction]
        rtt = now - request.sent_at if request.sent == 1 else None
        return Outcome(request.key, request.address, answer, source, rtt)

    def handle_timer(self, now: float) -> list[Outcome[K]]:
        """Repeat what is due; what is given up."""
        given_up = []
        for transaction, request in list(self._requests.items()):
            if request.due_at > now:
                continue
            if request.sent < len(request.gaps):
                self._transmit(request, now)
            else:
                del self._requests[transaction]
                given_up.append(Outcome(request.key, request.address, None, request.address))
        return given_up

    def next_at(self) -> float | None:
        if not self._requests:
            return None
        return min(request.due_at for request in self._requests.values())

    def _begin(
        self, address: Address, key: K, message: BindingRequest, gaps: tuple[float, ...], now: float
    ) -> None:
        if len(self._requests) >= REQUESTS_MAX:
            return
        elsewhere = message.change_host or message.change_port
        request = Request(key, address, emit_request(message), gaps, elsewhere, 0, now, now)
        self._requests[message.transaction] = request
        self._transmit(request, now)

    def _transmit(self, request: Request[K], now: float) -> None:
        self._send(request.datagram, request.address)
        request.due_at = now + request.gaps[request.sent]
        request.sent += 1
        request.sent_at = now

    def _fresh_id(self) -> bytes:
        return self._random_bytes(TRANSACTION_SIZE)


def _timeout(rtt: float | None) -> float:
    if rtt is None:
        return RTO_S
    return min(max(rtt * RTTS_PER_SEND, RTO_MIN_S), RTO_MAX_S)


def _plain_gaps(rtt: float | None) -> tuple[float, ...]:
    first = _timeout(rtt)
    return tuple(min(first * 2**repeat, RTO_MAX_S) for repeat in range(SENDS))
