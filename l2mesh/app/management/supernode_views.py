"""What a supernode's engine looks like from outside: pure functions from its state to documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2mesh import __version__
from l2mesh.app.management import documents
from l2mesh.app.management.views import (
    candidates,
    drops_by_reason,
    ports,
    seconds,
    since,
)
from l2mesh.crypto.keys import encode_key
from l2mesh.wire.address import format_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from l2mesh.core.registry import Registration
    from l2mesh.core.supernode import RegisteredPeer, SupernodeEngine
    from l2mesh.shell.statistics import PortStatistics


def supernode_status(
    engine: SupernodeEngine,
    statistics: Mapping[str, PortStatistics],
    *,
    unroutable: int,
    uptime: float,
) -> documents.SupernodeStatus:
    """`statistics`: the driver's, by port; `uptime` in seconds."""
    return documents.SupernodeStatus(
        public_key=encode_key(engine.identity.static.public),
        version=__version__,
        uptime_s=seconds(uptime),
        listen=[format_address(address) for address in engine.listening],
        networks=[
            documents.ServedNetwork(
                network=network.label,
                authority=encode_key(network.authority),
                members=len(network.registry.members),
            )
            for network in sorted(engine.networks.values(), key=lambda network: network.label)
        ],
        sessions=len(engine.peers),
        relay_pairs=len(engine.relay),
        relayed_bytes=engine.relay.relayed_bytes,
        relayed_datagrams=engine.relay.relayed_datagrams,
        drops=drops_by_reason(engine.drops),
        unroutable=unroutable,
        ports=ports(statistics),
    )


def supernode_peers(engine: SupernodeEngine, now: float) -> documents.SupernodePeers:
    """By network and name."""
    members = [
        _member(network.label, registration, now)
        for network in engine.networks.values()
        for registration in network.registry.members.values()
    ]
    return documents.SupernodePeers(peers=sorted(members, key=lambda one: (one.network, one.name, one.public_key)))


def _member(network: str, registration: Registration[RegisteredPeer], now: float) -> documents.SupernodePeer:
    peer = registration.peer
    return documents.SupernodePeer(
        network=network,
        name=registration.name,
        public_key=encode_key(registration.public_key),
        state="up",
        path="direct",
        endpoint=None if peer.via is None else format_address(peer.via[0]),
        rtt_ms=None,
        rx_bytes=peer.rx_bytes,
        tx_bytes=peer.tx_bytes,
        last_handshake_s=since(peer.handshake_at, now),
        last_received_s=since(peer.last_received_at, now),
        lease_s=seconds(registration.expires_at - now),
        candidates=candidates(registration.candidates),
    )
