"""The JSON documents of the management socket. Programs outside depend on the names: add to them, never rename.

Every field has its unit in its name: `_ms`, `_s`, `_bytes`. `null` means not known, or not now. Keys are base64,
endpoints `192.0.2.1:7777` or `[2001:db8::1]:7777`. `…_s` of something that happened is how long ago that was.

`role` tells the document of an edge from that of a supernode. An unknown field is to be ignored: a later version
has more of them.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Port(Struct, kw_only=True, frozen=True):
    """A descriptor of the daemon ("tap", "udp4", "udp6"): what it read from the kernel and wrote to it.

    Reads and writes are frames (superframes count once) or, for UDP, runs of datagrams. `drops`: by reason.
    """

    reads: int
    read_bytes: int
    writes: int
    write_bytes: int
    drops: dict[str, int]


class Supernode(Struct, kw_only=True, frozen=True):
    """An edge's link to a supernode of its file. `observed`: where it sees our datagrams come from.

    `last_registered_s`: since the registration was made or renewed; `members`: of its directory.
    """

    name: str
    state: str
    endpoint: str | None
    observed: str | None
    rtt_ms: float | None
    public_key: str | None
    last_registered_s: float | None
    members: int
    refusal: str | None


class EdgeStatus(Struct, kw_only=True, frozen=True, tag_field="role", tag="edge"):
    """GET /v1/status of an edge. `rx_…` and `tx_…` count what came out of the mesh to the TAP, and went in."""

    name: str
    network: str
    public_key: str
    version: str
    uptime_s: float
    device: str
    mac: str
    mtu: int
    relay: str
    listen: list[str]
    supernodes: list[Supernode]
    peers_up: int
    peers_known: int
    fdb_stations: int
    rx_frames: int
    tx_frames: int
    rx_bytes: int
    tx_bytes: int
    drops: dict[str, int]
    unroutable: int
    ports: dict[str, Port]


class Candidate(Struct, kw_only=True, frozen=True):
    """An address at which a node says it may be reached, and how it knows (`host`, `server-reflexive` ...)."""

    endpoint: str
    origin: str


class Path(Struct, kw_only=True, frozen=True):
    """One way to a peer. `fate`: selected, valid, checking, unanswered, untried.

    `datagram_bytes`: the largest UDP payload that is known to pass.
    """

    path: Literal["direct", "relay"]
    endpoint: str
    origin: str
    fate: str
    rtt_ms: float | None
    datagram_bytes: int
    probes_sent: int
    last_received_s: float | None


PeerState = Literal["up", "connecting", "down"]


class EdgePeer(Struct, kw_only=True, frozen=True):
    """A peer of an edge. `endpoint` is where its datagrams are sent: by relay it is the supernode's.

    Bytes are sealed datagrams', frames are what was inside. `refusal`: why it is no member of this network.
    """

    name: str
    public_key: str
    state: PeerState
    path: Literal["direct", "relay"] | None
    endpoint: str | None
    rtt_ms: float | None
    datagram_bytes: int | None
    rx_bytes: int
    tx_bytes: int
    rx_frames: int
    tx_frames: int
    last_handshake_s: float | None
    last_received_s: float | None
    up_for_s: float | None
    cipher: str | None
    refusal: str | None
    stations: int
    candidates: list[Candidate]
    paths: list[Path]


class EdgePeers(Struct, kw_only=True, frozen=True, tag_field="role", tag="edge"):
    """GET /v1/peers of an edge."""

    network: str
    peers: list[EdgePeer]


class Station(Struct, kw_only=True, frozen=True):
    """An entry of the forwarding database. `port`: the peer's name, or `local`; `vlan` null: untagged.

    `age_s` is null for a static entry, which does not age.
    """

    mac: str
    vlan: int | None
    port: str
    public_key: str | None
    age_s: float | None
    static: bool


class EdgeFdb(Struct, kw_only=True, frozen=True, tag_field="role", tag="edge"):
    """GET /v1/fdb of an edge."""

    network: str
    ageing_time_s: float
    stations: list[Station]


class ServedNetwork(Struct, kw_only=True, frozen=True):
    """A network at a supernode. It has no name there: `network` is the beginning of `authority`."""

    network: str
    authority: str
    members: int


class SupernodeStatus(Struct, kw_only=True, frozen=True, tag_field="role", tag="supernode"):
    """GET /v1/status of a supernode."""

    public_key: str
    version: str
    uptime_s: float
    listen: list[str]
    networks: list[ServedNetwork]
    sessions: int
    relay_pairs: int
    relayed_bytes: int
    relayed_datagrams: int
    drops: dict[str, int]
    unroutable: int
    ports: dict[str, Port]


class SupernodePeer(Struct, kw_only=True, frozen=True):
    """A registered edge at a supernode. Bytes are of its session here, without what is relayed for it.

    `state`, `path` and `rtt_ms` are as for a peer of an edge, so that a program can read both.
    """

    network: str
    name: str
    public_key: str
    state: Literal["up"]
    path: Literal["direct"]
    endpoint: str | None
    rtt_ms: float | None
    rx_bytes: int
    tx_bytes: int
    last_handshake_s: float | None
    last_received_s: float | None
    lease_s: float
    candidates: list[Candidate]


class SupernodePeers(Struct, kw_only=True, frozen=True, tag_field="role", tag="supernode"):
    """GET /v1/peers of a supernode."""

    peers: list[SupernodePeer]


class PingRequest(Struct, kw_only=True, frozen=True):
    """Body of POST /v1/ping. `peer`: its name or its public key."""

    peer: str


class PingReply(Struct, kw_only=True, frozen=True):
    """Answer to POST /v1/ping: the path that was probed."""

    peer: str
    public_key: str
    path: Literal["direct", "relay"]
    endpoint: str
    rtt_ms: float


class Failure(Struct, kw_only=True, frozen=True):
    """Every answer that is not 200."""

    error: str


Status = EdgeStatus | SupernodeStatus
Peers = EdgePeers | SupernodePeers
