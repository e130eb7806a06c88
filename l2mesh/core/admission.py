"""The cheap checks in front of every initiation, before any public-key operation.

    mac1 wrong                          drop: to a stranger the port is silent
    not under load                      let in
    under load, mac2 wrong or missing   answer with a cookie: prove that you receive where you send from
    under load, mac2 right              let in, at most 20 a second per source (burst 5), and `limit` in all

After WireGuard's section 5.3. Sources are limited only under load: without a cookie a source can be forged, so
a limit on it would only let a stranger shut others out.

The limit in all is for honest peers: when ten thousand edges find their supernode again at once, those it answers
must be answered before they ask again, or it works for answers that nobody awaits any more.
"""

from __future__ import annotations

from typing import Final

from l2mesh.core.drops import DropReason
from l2mesh.core.token_bucket import TokenBucket
from l2mesh.crypto import mac
from l2mesh.crypto.keys import RandomBytes
from l2mesh.wire.outer import MAC_SIZE, MACS_SIZE, emit_cookie_reply

SOURCE_RATE: Final = 20.0
SOURCE_BURST: Final = 5.0
LIMIT: Final = 10_000.0
SOURCES_MAX: Final = 4096
"""Sources with a rate of their own; a further one displaces the oldest."""


class Admission:
    """`rate`: initiations a second that this node answers without feeling loaded. `limit`: how many more, then."""

    def __init__(
        self,
        own_public: bytes,
        psk: bytes,
        random_bytes: RandomBytes,
        *,
        rate: float,
        limit: float = LIMIT,
        now: float,
    ) -> None:
        self._mac1_key = mac.mac1_key(own_public, psk)
        self._cookie_key = mac.cookie_key(own_public, psk)
        self._random_bytes = random_bytes
        self._cookies = mac.CookieJar(random_bytes)
        self._load = TokenBucket(rate, rate, now)
        self._proven = TokenBucket(limit, limit, now)
        self._sources: dict[bytes, TokenBucket] = {}

    def mac1_is_right(self, datagram: bytes) -> bool:
        return mac.verify(self._mac1_key, datagram[:-MACS_SIZE], datagram[-MACS_SIZE:-MAC_SIZE])

    def check(self, datagram: bytes, index: int, source: bytes, now: float) -> DropReason | bytes | None:
        """None: let in. Bytes: a cookie reply to send back. Otherwise the reason to drop the initiation."""
        if not self.mac1_is_right(datagram):
            return DropReason.WRONG_MAC1
        if self._load.take(1, now):
            return None
        if not self._cookies.accepts(source, datagram[:-MAC_SIZE], datagram[-MAC_SIZE:], now):
            return self._cookie_reply(datagram, index, source, now)
        if not (self._bucket(source, now).take(1, now) and self._proven.take(1, now)):
            return DropReason.RATE_LIMITED
        return None

    def _cookie_reply(self, datagram: bytes, index: int, source: bytes, now: float) -> bytes:
        salt = self._random_bytes(mac.SALT_SIZE)
        cause = datagram[-MACS_SIZE:-MAC_SIZE]
        cookie = self._cookies.cookie(source, now)
        return emit_cookie_reply(index, salt, mac.seal_cookie(self._cookie_key, cookie, cause, salt))

    def _bucket(self, source: bytes, now: float) -> TokenBucket:
        bucket = self._sources.get(source)
        if bucket is None:
            if len(self._sources) >= SOURCES_MAX:
                del self._sources[next(iter(self._sources))]
            bucket = self._sources[source] = TokenBucket(SOURCE_RATE, SOURCE_BURST, now)
        return bucket
