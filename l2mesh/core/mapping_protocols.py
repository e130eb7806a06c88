"""The protocols that make a router open a port: what one conversation of each asks, and what its answers mean.

PCP and NAT-PMP are datagrams, wire/pcp.py and wire/nat_pmp.py. UPnP is HTTP and XML: for it a job is described
here, which somebody else does (shell/upnp.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, Protocol

from l2mesh.wire import nat_pmp, pcp
from l2mesh.wire.address import Address
from l2mesh.wire.errors import BadPacket

WAIT_S: Final = 1800.0
"""RFC 6887, section 7.4, for errors that last (the others last 30 s): where the protocol has no word for it."""
WAIT_LEAST_S: Final = 30.0
WAIT_MOST_S: Final = 3600.0
"""Whatever an error says: its reason may be gone in an hour, and to ask costs one datagram."""
LIFETIME_MOST_S: Final = 86400.0
"""RFC 6887, section 15: a longer one counts as a day."""


class MappingProtocol(StrEnum):
    PCP = "PCP"
    NAT_PMP = "NAT-PMP"
    UPNP = "UPnP"


@dataclass(frozen=True, slots=True)
class Gateway:
    """The router to ask, and the UDP port of ours that shall be reached: the address it is seen at inside."""

    host: str
    own_host: str
    own_port: int


@dataclass(frozen=True, slots=True)
class Granted:
    """For `lifetime` seconds `external` reaches us, it says. `epoch`: seconds since it lost all mappings."""

    external: Address
    lifetime: float
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Denied:
    """`final`: the router understood, so another protocol will hear the same. Ask again after `wait` seconds."""

    reason: str
    wait: float = 0.0
    final: bool = False
    nat_between: bool = False
    """The request did not come from the address that we think we have."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """There is no mapping any more."""


@dataclass(frozen=True, slots=True)
class Silent:
    """No answer came, or none that can be used."""

    reason: str


Outcome = Granted | Denied | Deleted | Silent


class Conversation(Protocol):
    """Requests of one mapping, repeated as they are until `receive` has an outcome."""

    def requests(self, external_port: int, lifetime: int) -> list[bytes]:
        """To open (or renew) the mapping; with lifetime 0, to delete it."""

    def receive(self, datagram: bytes) -> Outcome | None:
        """None: there is more to come. Raises BadPacket for what is no answer to us."""


class PcpConversation:
    """`nonce` proves that a renewal or deletion comes from who made the mapping."""

    def __init__(self, gateway: Gateway, nonce: bytes) -> None:
        self._gateway = gateway
        self._nonce = nonce

    def requests(self, external_port: int, lifetime: int) -> list[bytes]:
        own_host, own_port = self._gateway.own_host, self._gateway.own_port
        # Of the external address all is wanted: the unspecified one says so (RFC 6887, section 11.1). A firewall
        # without translation gives our own.
        suggested = (own_host, own_port) if ":" in own_host else ("0.0.0.0", external_port)
        return [pcp.emit_map_request(own_host, pcp.Map(self._nonce, own_port, suggested), lifetime)]

    def receive(self, datagram: bytes) -> Outcome | None:
        if datagram[:1] == bytes((nat_pmp.VERSION,)):
            return Denied("the router speaks NAT-PMP only")
        response = pcp.parse_response(datagram)
        if response.result == pcp.Result.UNSUPP_VERSION:
            return Denied("the router speaks another version")
        mapping = response.map
        if mapping is None:
            return None
        if (mapping.nonce, mapping.internal_port) != (self._nonce, self._gateway.own_port):
            raise BadPacket("PCP response to somebody else")
        if response.result != pcp.Result.SUCCESS:
            return _denied_by_pcp(response)
        if response.lifetime == 0:
            return Deleted()
        return Granted(mapping.external, min(response.lifetime, LIFETIME_MOST_S), response.epoch)


_PCP_FINAL: Final[dict[int, str]] = {
    pcp.Result.NOT_AUTHORIZED: "not authorized",
    pcp.Result.NETWORK_FAILURE: "the router has no address outside",
    pcp.Result.NO_RESOURCES: "the router has no room for a mapping",
    pcp.Result.USER_EX_QUOTA: "this host has as many mappings as it may",
    pcp.Result.CANNOT_PROVIDE_EXTERNAL: "the router has no such address or port",
}
_PCP_OTHER: Final[dict[int, str]] = {
    pcp.Result.UNSUPP_OPCODE: "the router maps nothing by PCP",
    pcp.Result.ADDRESS_MISMATCH: "there is a NAT between this host and the router",
}


def _denied_by_pcp(response: pcp.Response) -> Denied:
    result = response.result
    final = result in _PCP_FINAL
    reason = _PCP_FINAL.get(result) or _PCP_OTHER.get(result) or _named(pcp.Result, result)
    wait = min(max(response.lifetime, WAIT_LEAST_S), WAIT_MOST_S)
    return Denied(reason, wait, final, nat_between=result == pcp.Result.ADDRESS_MISMATCH)


class NatPmpConversation:
    """Two requests: one for the router's address, one for the port."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._host: str | None = None
        self._mapped: nat_pmp.MapResponse | None = None

    def requests(self, external_port: int, lifetime: int) -> list[bytes]:
        own_port = self._gateway.own_port
        if lifetime == 0:
            return [nat_pmp.emit_map_request(own_port, 0, 0)]
        map_request = nat_pmp.emit_map_request(own_port, external_port, lifetime)
        return [nat_pmp.emit_address_request(), map_request]

    def receive(self, datagram: bytes) -> Outcome | None:
        if datagram[:1] == bytes((pcp.VERSION,)):
            return Denied("the router speaks PCP only")
        response = nat_pmp.parse_response(datagram)
        if isinstance(response, nat_pmp.Failure):
            return _denied_by_nat_pmp(response)
        if isinstance(response, nat_pmp.AddressResponse):
            self._host = response.host
        elif response.internal_port != self._gateway.own_port:
            raise BadPacket("NAT-PMP response to somebody else")
        elif response.lifetime == 0:
            return Deleted()
        else:
            self._mapped = response
        if self._host is None or self._mapped is None:
            return None
        host, mapped, self._host, self._mapped = self._host, self._mapped, None, None
        return Granted((host, mapped.external_port), min(mapped.lifetime, LIFETIME_MOST_S), response.epoch)


_NAT_PMP_FINAL: Final[dict[int, str]] = {
    nat_pmp.Result.NOT_AUTHORIZED: "not authorized",
    nat_pmp.Result.NETWORK_FAILURE: "the router has no address outside",
    nat_pmp.Result.OUT_OF_RESOURCES: "the router has no room for a mapping",
}


def _denied_by_nat_pmp(response: nat_pmp.Failure) -> Denied:
    result = response.result
    final = result in _NAT_PMP_FINAL
    reason = _NAT_PMP_FINAL.get(result) or _named(nat_pmp.Result, result)
    return Denied(reason, WAIT_S if final else 0.0, final)


def _named(results: type[pcp.Result] | type[nat_pmp.Result], result: int) -> str:
    try:
        return results(result).name.lower().replace("_", " ")
    except ValueError:
        return f"error {result}"


def parse_announcement(datagram: bytes) -> tuple[int, str | None]:
    """(epoch, address outside where it says so) of what a router tells everybody. Raises BadPacket."""
    if datagram[:1] == bytes((pcp.VERSION,)):
        announcement = pcp.parse_response(datagram)
        if (announcement.opcode, announcement.result) == (pcp.Opcode.ANNOUNCE, pcp.Result.SUCCESS):
            return announcement.epoch, None
    else:
        response = nat_pmp.parse_response(datagram)
        if isinstance(response, nat_pmp.AddressResponse):
            return response.epoch, response.host
    raise BadPacket("no announcement")


class EpochWatch:
    """Whether a router lost its mappings, by its epoch: RFC 6887, section 8.5; RFC 6886, section 3.6, is alike."""

    SLACK_S: Final = 2.0
    """Datagrams take time, and both clocks tick in whole seconds."""
    DRIFT: Final = 1 / 8
    """RFC 6886's, the wider of the two: a router's clock may be as wrong as that."""

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None

    def restarted(self, epoch: int, now: float) -> bool:
        """Told of each epoch the router sends. False for the first."""
        last, self._last = self._last, (epoch, now)
        if last is None:
            return False
        theirs, ours = epoch - last[0], now - last[1]
        if theirs < -1:
            return True
        return ours + self.SLACK_S < theirs * (1 - self.DRIFT) or theirs + self.SLACK_S < ours * (1 - self.DRIFT)


@dataclass(frozen=True, slots=True)
class UpnpJob:
    """Map the first free one of `ports` (for `lifetime` seconds, or until deleted where the router knows nothing
    else), or delete those mappings.
    """

    action: Literal["map", "delete"]
    own_host: str
    own_port: int
    ports: tuple[int, ...]
    lifetime: int
