"""What a demo found: the document of `--json`. Fields are filled in as it goes; `null` means never seen."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field


class Ping(Struct, kw_only=True, frozen=True):
    """ICMP echo through the mesh, as `ping` saw it."""

    sent: int
    received: int
    min_ms: float | None
    mean_ms: float | None
    max_ms: float | None


class Pair(Struct, kw_only=True, rename={"source": "from", "destination": "to"}):
    """One direction. `…_s` count from when both edges were ready; `rtt_ms` is the mesh's own probe."""

    source: str
    destination: str
    first_frame_s: float | None = None
    began_by_relay: bool = False
    path: Literal["direct", "relay"] | None = None
    endpoint: str | None = None
    direct_s: float | None = None
    rtt_ms: float | None = None
    cipher: str | None = None
    ping: Ping | None = None


class Broadcast(Struct, kw_only=True, frozen=True, rename={"source": "from"}):
    """One broadcast frame. `reflected`: its sender got it back, which a switch must not do."""

    source: str
    ethertype: str
    received_by: list[str]
    reflected: bool


class Transfer(Struct, kw_only=True, frozen=True, rename={"source": "from", "destination": "to"}):
    """TCP through the mesh, as the receiver counts."""

    source: str
    destination: str
    tool: str
    transferred_bytes: int
    transfer_s: float
    mbit_per_s: float


class Member(Struct, kw_only=True, frozen=True):
    """A party: its address in the mesh, on its LAN, and its router's outside. `start_s`: until it was ready."""

    name: str
    address: str
    lan_address: str
    nat_address: str
    namespace: str
    file: str
    log: str
    start_s: float


class Result(Struct, kw_only=True):
    """`ok`: there are no `failures`, a sentence each; with some, `logs` has the end of every daemon's log.

    `kept`: it is still up; `directory` has its files, `shells` the command for a shell at each party; `peers` is
    the one that shows what the first sees, `take_down` the one that ends it.
    """

    ok: bool = False
    total_s: float = 0.0
    failures: list[str] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    supernode: str = ""
    parties: list[Member] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    broadcast: Broadcast | None = None
    transfer: Transfer | None = None
    commands: list[str] = field(default_factory=list)
    namespaces: int = 0
    kept: bool = False
    directory: str | None = None
    shells: dict[str, str] = field(default_factory=dict)
    peers: str | None = None
    take_down: str | None = None
