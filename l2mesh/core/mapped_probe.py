"""A supernode's half of the check of a port mapping: one probe from outside, to whom it is safe to send one.

The probe goes only to the IP address that the edge's own session comes from, so nobody can have another one
probed; it is small, sealed, and not answered. It leaves by another socket than the session's where there is one:
by the session's own, the NAT might let it in although nothing is mapped.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from l2mesh.wire.address import Address, SideAddress, ip_version, is_sendable, socket_number

REQUESTS_PER_SECOND: Final = 0.2
REQUESTS_BURST: Final = 12.0
"""Of one edge, which asks six times for one check, and checks twice a minute at most."""

NOT_YOURS: Final = "your session does not come from that address"


def refusal(target: Address, session: Address) -> str:
    """Why `target` is not probed for an edge whose session comes from `session`; empty: it is."""
    if not is_sendable(target):
        return "nobody can send there"
    return "" if target[0] == session[0] else NOT_YOURS


def seen_from(target: Address, session: Address, listening: Iterable[Address]) -> Address:
    """`target` as an address to send to, by the socket whose probe proves most: one of another host address than
    the session's socket, else of another port, else that one.
    """
    version, number = ip_version(target[0]), socket_number(session)
    sockets = [one for one in listening if ip_version(one[0]) == version]
    own = next((one for one in sockets if socket_number(one) == number), None)
    others = [one for one in sockets if one is not own]
    others.sort(key=lambda one: own is not None and one[0] == own[0])
    best = socket_number(others[0]) if others else number
    return SideAddress(*target, best) if best else target
