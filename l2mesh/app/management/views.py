"""What an edge's engine looks like from outside: pure functions from its state to documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from l2mesh import __version__
from l2mesh.app.management import documents
from l2mesh.app.management.nat_views import nat_document
from l2mesh.app.values import format_mac
from l2mesh.core.candidates import Origin, address_of, origin_of
from l2mesh.core.mapping_values import MappingStatus
from l2mesh.core.peer import GIVE_UP_AFTER_S
from l2mesh.core.switch import Port
from l2mesh.crypto.aead import Suite
from l2mesh.crypto.keys import encode_key
from l2mesh.shell.statistics import PortStatistics
from l2mesh.wire.address import format_address, socket_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from l2mesh.app.config import EdgeConfig
    from l2mesh.core.drops import Drops
    from l2mesh.core.edge import EdgeEngine
    from l2mesh.core.fdb import Station
    from l2mesh.core.path import Path
    from l2mesh.core.paths import Paths
    from l2mesh.core.peer import Via
    from l2mesh.core.remote_edge import RemoteEdge
    from l2mesh.core.supernode_link import SupernodeLink
    from l2mesh.wire.control import Candidate

MAC_SIZE = 6
CIPHERS = {Suite.AES_256_GCM: "AES-256-GCM", Suite.CHACHA20_POLY1305: "ChaCha20-Poly1305"}
ORIGINS = {
    Origin.HOST: "host",
    Origin.SERVER_REFLEXIVE: "server-reflexive",
    Origin.PEER_REFLEXIVE: "peer-reflexive",
    Origin.CONFIGURED: "configured",
    Origin.MAPPED: "mapped",
    Origin.PREDICTED: "predicted",
}


def edge_status(
    engine: EdgeEngine,
    config: EdgeConfig,
    statistics: Mapping[str, PortStatistics],
    *,
    unroutable: int,
    uptime: float,
    now: float,
    port_mapping: Callable[[int], MappingStatus] = lambda version: MappingStatus(),
) -> documents.EdgeStatus:
    """`statistics`: the driver's, by port; `uptime` in seconds; `port_mapping`: by IP version."""
    tap = statistics.get("tap", PortStatistics())
    return documents.EdgeStatus(
        name=config.node.name,
        network=config.network.name,
        public_key=encode_key(engine.identity.static.public),
        version=__version__,
        uptime_s=seconds(uptime),
        device=config.tap.device,
        mac=format_mac(engine.settings.mac),
        mtu=config.tap.mtu,
        relay=engine.settings.relay.value,
        relays_for_others=engine.relays_for_others(),
        listen=bound_addresses(config.transport.listen, engine.local_ports),
        nat=nat_document(engine.nat.behaviours[4], now),
        nat_ipv6=nat_document(engine.nat.behaviours[6], now),
        port_mapping=_port_mapping(port_mapping(4)),
        ipv6_firewall=_port_mapping(port_mapping(6)),
        supernodes=[_supernode(link, now) for link in engine.rendezvous.links],
        peers_up=sum(edge.up for edge in engine.edges.values()),
        peers_known=len(engine.edges),
        fdb_stations=len(engine.switch.fdb),
        rx_frames=tap.writes,
        tx_frames=tap.reads,
        rx_bytes=tap.write_bytes,
        tx_bytes=tap.read_bytes,
        relay_pairs=len(engine.member_relay.relay),
        relayed_bytes=engine.member_relay.relay.relayed_bytes,
        relayed_datagrams=engine.member_relay.relay.relayed_datagrams,
        drops=drops_by_reason(engine.drops),
        unroutable=unroutable,
        ports=ports(statistics),
    )


def edge_peers(engine: EdgeEngine, config: EdgeConfig, now: float) -> documents.EdgePeers:
    """By name."""
    edges = sorted(engine.edges.values(), key=lambda edge: (edge.label, edge.public_key))
    return documents.EdgePeers(network=config.network.name, peers=[edge_peer(engine, edge, now) for edge in edges])


def edge_fdb(engine: EdgeEngine, config: EdgeConfig, now: float) -> documents.EdgeFdb:
    """By MAC and VLAN; without what has aged out and was not swept yet."""
    fdb = engine.switch.fdb
    fresh = [
        (key, station) for key, station in fdb.items() if station.static or now - station.seen_at < fdb.ageing_time
    ]
    return documents.EdgeFdb(
        network=config.network.name,
        ageing_time_s=fdb.ageing_time,
        stations=[_station(engine, key, station, now) for key, station in sorted(fresh, key=lambda one: one[0])],
    )


def _port_mapping(status: MappingStatus) -> documents.PortMapping:
    return documents.PortMapping(
        state=status.state.value,
        protocol=None if status.protocol is None else status.protocol.value,
        external=None if status.external is None else format_address(status.external),
        reason=status.reason or None,
        double_nat=status.double_nat,
    )


def peer_state(*, up: bool, wanted: bool, attempts: int, trying_for: float) -> documents.PeerState:
    """ "down": nobody asks for it, or 90 s of attempts were in vain and only a rare one is made now."""
    if up:
        return "up"
    given_up = attempts > 0 and trying_for >= GIVE_UP_AFTER_S
    return "connecting" if wanted and not given_up else "down"


def path_fate(path: Path, paths: Paths) -> str:
    """What became of a path: selected, valid, checking, unanswered or untried."""
    if path is paths.selected:
        return "selected"
    if path.valid_at is not None:
        return "valid"
    if path.checks_from is not None:
        return "checking"
    return "unanswered" if path.probes_sent else "untried"


def path_kind(via: Via) -> Literal["direct", "relay"]:
    return "relay" if via[1] else "direct"


# What the views of edge and supernode share.


def milliseconds(duration: float) -> float:
    return round(duration * 1000, 3)


def seconds(duration: float) -> float:
    return round(duration, 3)


def since(instant: float | None, now: float) -> float | None:
    """Seconds from an instant to now; None if it never was (None, or minus infinity)."""
    return None if instant is None or instant == float("-inf") else seconds(now - instant)


def candidates(known: Iterable[Candidate]) -> list[documents.Candidate]:
    """Those that can be sent to."""
    return [
        documents.Candidate(endpoint=format_address(address), origin=ORIGINS[origin_of(candidate)])
        for candidate in known
        if (address := address_of(candidate)) is not None
    ]


def bound_addresses(listen: Sequence[tuple[str, int]], bound: Mapping[int, int]) -> list[str]:
    """The addresses of a file, with the port that was bound where port 0 left it open. `bound`: by IP version."""
    ports_by_host = {host: port or bound.get(6 if ":" in host else 4, 0) for host, port in listen}
    return [format_address((host, port)) for host, port in ports_by_host.items() if port]


def ports(statistics: Mapping[str, PortStatistics]) -> dict[str, documents.Port]:
    return {
        name: documents.Port(
            reads=one.reads,
            read_bytes=one.read_bytes,
            writes=one.writes,
            write_bytes=one.write_bytes,
            drops=dict(one.drops),
        )
        for name, one in statistics.items()
    }


def drops_by_reason(drops: Drops) -> dict[str, int]:
    return {reason.value: count for reason, count in sorted(drops.as_dict().items())}


# Parts of an edge.


def _supernode(link: SupernodeLink, now: float) -> documents.Supernode:
    via = link.peer.via if link.peer is not None else None
    # Before a handshake: the address it is tried on first.
    address = via[0] if via is not None else next(iter(link.addresses), None)
    return documents.Supernode(
        name=link.name,
        state=link.state.value,
        endpoint=None if address is None else format_address(address),
        observed=None if link.observed is None else format_address(link.observed),
        rtt_ms=None if link.rtt is None else milliseconds(link.rtt),
        public_key=None if link.key is None else encode_key(link.key),
        last_registered_s=since(link.registered_at, now),
        members=len(link.directory.entries),
        refusal=link.refusal or None,
    )


def edge_peer(engine: EdgeEngine, edge: RemoteEdge, now: float) -> documents.EdgePeer:
    via = edge.via if edge.up else None
    selected = edge.paths.selected if edge.up else None
    keypair = edge.session.current
    return documents.EdgePeer(
        name=edge.label,
        public_key=encode_key(edge.public_key),
        state=peer_state(
            up=edge.up,
            wanted=edge.wanted_at is not None,
            attempts=edge.attempts,
            trying_for=now - edge.first_attempt_at,
        ),
        path=None if via is None else path_kind(via),
        relay=None if via is None else engine.relay_name(via),
        relays=edge.relays,
        endpoint=None if via is None else format_address(via[0]),
        rtt_ms=None if selected is None or selected.rtt is None else milliseconds(selected.rtt),
        datagram_bytes=None if selected is None else selected.size,
        rx_bytes=edge.rx_bytes,
        tx_bytes=edge.tx_bytes,
        rx_frames=edge.rx_frames,
        tx_frames=edge.tx_frames,
        last_handshake_s=since(edge.handshake_at, now),
        last_received_s=since(edge.last_received_at, now),
        up_for_s=since(edge.up_since, now),
        cipher=None if keypair is None else CIPHERS[keypair.suite],
        refusal=edge.refused or None,
        stations=engine.switch.fdb.count_of(edge.public_key),
        candidates=candidates(edge.candidates),
        paths=[_path(engine, path, edge.paths, now) for path in edge.paths.by_via.values()],
        path_for_s=None if selected is None else since(selected.selected_since, now),
        loss=None if selected is None else _loss(selected),
    )


def _path(engine: EdgeEngine, path: Path, paths: Paths, now: float) -> documents.Path:
    return documents.Path(
        path=path_kind(path.via),
        relay=engine.relay_name(path.via),
        endpoint=format_address(path.via[0]),
        origin="relay" if path.relayed else ORIGINS[path.origin],
        fate=path_fate(path, paths),
        rtt_ms=None if path.rtt is None else milliseconds(path.rtt),
        datagram_bytes=path.size,
        probes_sent=path.probes_sent,
        last_received_s=since(path.heard_at, now),
        socket=socket_number(path.via[0]),
        loss=_loss(path),
        answers=path.answers,
        first_probe_s=since(path.first_probe_at, now),
        last_error=path.last_error or None,
    )


def _loss(path: Path) -> float | None:
    """Of probes; there is an estimate only while it is selected."""
    return None if path.selected_since is None else round(path.loss, 4)


def _station(engine: EdgeEngine, key: bytes, station: Station[bytes | Port], now: float) -> documents.Station:
    port = station.port
    edge = engine.edges.get(port) if isinstance(port, bytes) else None
    return documents.Station(
        mac=format_mac(key[:MAC_SIZE]),
        vlan=int.from_bytes(key[MAC_SIZE:], "big") or None,
        port=edge.label if edge is not None else "local",
        public_key=encode_key(port) if isinstance(port, bytes) else None,
        age_s=None if station.static else seconds(now - station.seen_at),
        static=station.static,
    )
