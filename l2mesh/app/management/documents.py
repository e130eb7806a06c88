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
    """A descriptor of the daemon ("tap", "udp4", "udp6"; "udp4.1" of a supernode that listens
    on more, "side" for all further sockets of an edge): what it read from the kernel and wrote to it.

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


class PortMapping(Struct, kw_only=True, frozen=True):
    """What the router before an edge lets in for it. `state`: off, asking (the router), checking (whether it lets
    a supernode in, as it promised), open, none. `protocol`: PCP, NAT-PMP or UPnP; `reason` in words.

    `double_nat`: there seems to be one more NAT before the router.
    """

    state: str
    protocol: str | None
    external: str | None
    reason: str | None
    double_nat: bool


class NatServer(Struct, kw_only=True, frozen=True):
    """A supernode, or a STUN server of the file, that was asked about the NAT. `name`: as in the file.

    `observed`: where it sees our datagrams come from; null: it does not answer. `other`: where else it says it is.
    """

    name: str
    endpoint: str
    observed: str | None
    rtt_ms: float | None
    other: str | None


class Nat(Struct, kw_only=True, frozen=True):
    """What is known of the NAT before an edge, for one IP version, in the words of RFC 4787.

    `mapping`: none (there is no NAT), endpoint-independent, address-dependent, address-and-port-dependent,
    destination-dependent (one of the last two), unknown. `filtering`: endpoint-independent, address-dependent,
    address-and-port-dependent, unknown. `allocation`, where the mapping depends on the destination: sequential by
    `port_step`, block or random from `port_low` to `port_high`, unknown. `age_s`: since it was looked at.
    """

    mapping: str
    filtering: str
    allocation: str
    port_low: int | None
    port_high: int | None
    port_step: int | None
    hairpin: bool | None
    servers: list[NatServer]
    age_s: float | None


class EdgeStatus(Struct, kw_only=True, frozen=True, tag_field="role", tag="edge"):
    """GET /v1/status of an edge. `rx_…` and `tx_…` count what came out of the mesh to the TAP, and went in.

    `relay_pairs` and `relayed_…`: of other members, when this one relays for them. `port_mapping` is IPv4's;
    `ipv6_firewall`: the router was asked to let in what is sent to our own IPv6 address. `nat` is IPv4's.
    """

    name: str
    network: str
    public_key: str
    version: str
    uptime_s: float
    device: str
    mac: str
    mtu: int
    relay: str
    relays_for_others: bool
    listen: list[str]
    nat: Nat
    nat_ipv6: Nat
    port_mapping: PortMapping
    ipv6_firewall: PortMapping
    supernodes: list[Supernode]
    peers_up: int
    peers_known: int
    fdb_stations: int
    rx_frames: int
    tx_frames: int
    rx_bytes: int
    tx_bytes: int
    relay_pairs: int
    relayed_bytes: int
    relayed_datagrams: int
    drops: dict[str, int]
    unroutable: int
    ports: dict[str, Port]


class Candidate(Struct, kw_only=True, frozen=True):
    """An address at which a node says it may be reached, and how it knows (`host`, `server-reflexive` ...)."""

    endpoint: str
    origin: str


class Path(Struct, kw_only=True, frozen=True):
    """One way to a peer. `fate`: selected, valid, checking, unanswered, untried.

    `datagram_bytes`: the largest UDP payload that is known to pass. `socket`: our own, 0 is the main one.
    `loss`: part of the probes without an answer, of the selected path. `last_error`: why it failed last.
    """

    path: Literal["direct", "relay"]
    relay: str | None = None
    endpoint: str
    origin: str
    fate: str
    rtt_ms: float | None
    datagram_bytes: int
    probes_sent: int
    last_received_s: float | None
    socket: int = 0
    loss: float | None = None
    answers: int = 0
    first_probe_s: float | None = None
    last_error: str | None = None


PeerState = Literal["up", "connecting", "down"]


class EdgePeer(Struct, kw_only=True, frozen=True):
    """A peer of an edge. `endpoint` is where its datagrams are sent: by relay it is the relay's, and `relay` names
    that: the supernode as in the file, or a member. `relays`: it relays for other members.

    Bytes are sealed datagrams', frames are what was inside. `refusal`: why it is no member of this network.
    `path_for_s`: since when it is this path; `loss`: part of its probes that had no answer.
    """

    name: str
    public_key: str
    state: PeerState
    path: Literal["direct", "relay"] | None
    relay: str | None = None
    relays: bool = False
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
    path_for_s: float | None = None
    loss: float | None = None


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


class WhyRequest(Struct, kw_only=True, frozen=True):
    """Body of POST /v1/why. `peer`: its name or its public key."""

    peer: str


class Attempt(Struct, kw_only=True, frozen=True):
    """An attempt to find a direct path: plain checks of all candidates, or one by the class of both NATs
    (prediction, birthday, blocks). `result`: under way, direct, no answer ... `took_s`: null while under way.
    """

    kind: str
    round: int
    begun_s: float
    took_s: float | None
    openers: int
    probes: int
    side_sockets: int
    result: str


class PathChange(Struct, kw_only=True, frozen=True):
    """The selected path was another one before."""

    changed_s: float
    old: str
    new: str
    reason: str


class Why(Struct, kw_only=True, frozen=True):
    """Answer to POST /v1/why: why a peer is reached as it is.

    `advice`: what would make it direct, nothing if it is. `our_nat`, `peer_nat`: in words. `observed`: where
    supernodes see the peer.
    """

    network: str
    peer: EdgePeer
    reason: str
    advice: list[str]
    our_nat: str
    peer_nat: str
    our_candidates: list[Candidate]
    observed: list[str]
    attempts: list[Attempt]
    changes: list[PathChange]


class NetCheck(Struct, kw_only=True, frozen=True):
    """What `l2mesh netcheck --json` prints. `udp`, `ipv6`: whether some server answers over it.

    `nat` is IPv4's. `port_mapping`: null when no edge was asked. `rtt_ms`: by server; null: no answer.
    `verdicts`: what it means for direct paths, in sentences.
    """

    udp: bool
    ipv6: bool
    nat: Nat
    nat_ipv6: Nat
    port_mapping: PortMapping | None
    rtt_ms: dict[str, float | None]
    verdicts: list[str]


class Failure(Struct, kw_only=True, frozen=True):
    """Every answer that is not 200."""

    error: str


Status = EdgeStatus | SupernodeStatus
Peers = EdgePeers | SupernodePeers
