"""Names to addresses, patiently: at boot the network and its DNS may be minutes away."""

from __future__ import annotations

import asyncio

# getaddrinfo wants this codec and finds it at its first call. Then we are nobody, who may not read Python's files
# where those are in somebody's home directory.
import encodings.idna  # noqa: F401
import logging
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Address = tuple[str, int]
    Lookup = Callable[[str, int], Awaitable[list[tuple[Any, ...]]]]

log = logging.getLogger(__name__)

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0


async def resolve(
    host: str,
    port: int,
    *,
    lookup: Lookup | None = None,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> list[Address]:
    """-> all addresses of host, IPv4 and IPv6, in the system's order (RFC 6724); at least one.

    Tries for ever, more and more slowly. Says once that it fails, and once that it then succeeded.
    """
    lookup = lookup or _system_lookup
    failures, seconds = 0, FIRST_PAUSE
    while True:
        try:
            found = await lookup(host, port)
            addresses = list(dict.fromkeys((entry[4][0].partition("%")[0], entry[4][1]) for entry in found))
            if addresses:
                break
            reason = "it has no address"
        except (OSError, UnicodeError) as error:  # UnicodeError: a label that IDNA cannot encode
            reason = getattr(error, "strerror", None) or str(error)
        if not failures:
            log.warning("cannot resolve %s: %s: trying on", host, reason)
        failures += 1
        await pause(seconds)
        seconds = min(2 * seconds, LONGEST_PAUSE)
    if failures:
        log.info("resolved %s after %d failures: %s", host, failures, ", ".join(a for a, _ in addresses))
    return addresses


async def _system_lookup(host: str, port: int) -> list[tuple[Any, ...]]:
    loop = asyncio.get_running_loop()
    return list(await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP))
