"""A router that maps ports by PCP and NAT-PMP, as well or as badly as a test wants."""

from __future__ import annotations

from dataclasses import dataclass, field

from l2mesh.wire import nat_pmp, pcp

PUBLIC = "198.51.100.1"
SOMETHING = bytes((255,)) * 30  # that is neither


@dataclass
class FakeRouter:
    """`handle` is told what comes to its port 5351, and returns what to answer. `maps`: internal -> external port.

    `result`: an error to give (PCP's number). `port`: the external port it insists on.
    """

    pcp: bool = True
    nat_pmp: bool = True
    host: str = PUBLIC
    lifetime: int | None = None
    result: int = 0
    wait: int = 0
    port: int = 0
    garbage: bool = False
    deaf: bool = False
    epoch_at: float = 0.0
    maps: dict[int, int] = field(default_factory=dict)
    nonces: dict[int, bytes] = field(default_factory=dict)
    heard: list[bytes] = field(default_factory=list)

    def handle(self, datagram: bytes, now: float) -> list[bytes]:
        self.heard.append(datagram)
        if self.deaf or not datagram:
            return []
        if self.garbage:
            return [SOMETHING, datagram, b"", bytes((2, 129)), datagram[:1] + bytes((129,)) + datagram[2:]]
        if datagram[0] == pcp.VERSION:
            if self.pcp:
                return [self._pcp(datagram, now)]
            return [self._error(datagram[1], nat_pmp.Result.UNSUPPORTED_VERSION, now)] if self.nat_pmp else []
        return [self._nat_pmp(datagram, now)] if self.nat_pmp else []

    def epoch(self, now: float) -> int:
        return int(now - self.epoch_at)

    def reboot(self, now: float) -> list[bytes]:
        """Forgets all; what it announces."""
        self.maps.clear()
        self.nonces.clear()
        self.epoch_at = now
        return [pcp.emit_response(pcp.Response(pcp.Opcode.ANNOUNCE, 0, 0, 0, None))]

    def _map(self, internal: int, wanted: int, lifetime: int) -> tuple[int, int]:
        """(external port, lifetime)"""
        if lifetime == 0:
            self.maps.pop(internal, None)
            return 0, 0
        external = self.maps.setdefault(internal, self.port or wanted)
        return external, self.lifetime or lifetime

    def _pcp(self, datagram: bytes, now: float) -> bytes:
        _, wish, lifetime = pcp.parse_map_request(datagram)
        internal, result = wish.internal_port, self.result
        if not result and self.nonces.setdefault(internal, wish.nonce) != wish.nonce:
            result = pcp.Result.NOT_AUTHORIZED
        if result:
            return pcp.emit_response(pcp.Response(1, result, self.wait, self.epoch(now), wish))
        external, lifetime = self._map(internal, wish.external[1], lifetime)
        if not lifetime:
            del self.nonces[internal]
        made = pcp.Map(wish.nonce, internal, (self.host, external))
        return pcp.emit_response(pcp.Response(1, 0, lifetime, self.epoch(now), made))

    def _nat_pmp(self, datagram: bytes, now: float) -> bytes:
        if datagram == nat_pmp.emit_address_request():
            return nat_pmp.emit_response(nat_pmp.AddressResponse(self.epoch(now), self.host))
        internal, wanted, lifetime = nat_pmp.parse_map_request(datagram)
        if self.result:
            return self._error(1, self.result, now)
        external, lifetime = self._map(internal, wanted, lifetime)
        return nat_pmp.emit_response(nat_pmp.MapResponse(self.epoch(now), internal, external, lifetime))

    def _error(self, opcode: int, result: int, now: float) -> bytes:
        return nat_pmp.emit_response(nat_pmp.Failure(opcode, result, self.epoch(now)))
