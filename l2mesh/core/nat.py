"""How a NAT treats a node's UDP, in RFC 4787's words; what others are told of it is wire.control.NatReport."""

from __future__ import annotations

from enum import IntEnum


class Mapping(IntEnum):
    """On the wire. Which outside port a datagram leaves by: a new one for each ..."""

    UNKNOWN = 0
    NONE = 1
    """There is no NAT: the outside sees the host's own address."""
    ENDPOINT_INDEPENDENT = 2
    ADDRESS_DEPENDENT = 3
    ADDRESS_AND_PORT_DEPENDENT = 4

    @property
    def depends_on_destination(self) -> bool:
        return self in (Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT)


class Filtering(IntEnum):
    """On the wire. Who may send to a mapped port (or, without a NAT, through a firewall)."""

    UNKNOWN = 0
    ENDPOINT_INDEPENDENT = 1
    ADDRESS_DEPENDENT = 2
    ADDRESS_AND_PORT_DEPENDENT = 3
