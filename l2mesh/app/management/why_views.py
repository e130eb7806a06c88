"""Why a peer is reached as it is: from an edge's engine to a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l2mesh.app.management import documents
from l2mesh.app.management.advice import Facts, advice, reason
from l2mesh.app.management.nat_views import words_of
from l2mesh.app.management.views import candidates, edge_peer, seconds
from l2mesh.core.attempt_plan import Kind
from l2mesh.core.candidates import address_of, is_private
from l2mesh.wire.address import format_address, ip_version

if TYPE_CHECKING:
    from collections.abc import Iterable

    from l2mesh.app.config import EdgeConfig
    from l2mesh.core.attempt import Attempt
    from l2mesh.core.edge import EdgeEngine
    from l2mesh.core.mapping_values import MappingStatus
    from l2mesh.core.remote_edge import RemoteEdge
    from l2mesh.wire.control import Candidate


def edge_why(
    engine: EdgeEngine, config: EdgeConfig, edge: RemoteEdge, mapping: MappingStatus, now: float
) -> documents.Why:
    """`mapping`: of our IPv4 port."""
    facts = _facts(engine, edge, mapping)
    return documents.Why(
        network=config.network.name,
        peer=edge_peer(engine, edge, now),
        reason=reason(facts),
        advice=advice(facts),
        our_nat=words_of(facts.ours),
        peer_nat=words_of(facts.theirs),
        our_candidates=candidates(engine.punching.candidates()),
        observed=sorted({format_address(address) for address in edge.punch.observed.values()}),
        attempts=[_attempt(one, now) for one in edge.punch.attempts],
        changes=[
            documents.PathChange(changed_s=seconds(now - one.at), old=one.old, new=one.new, reason=one.reason)
            for one in edge.paths.changes
        ],
    )


def _facts(engine: EdgeEngine, edge: RemoteEdge, mapping: MappingStatus) -> Facts:
    selected = edge.paths.selected if edge.up else None
    return Facts(
        peer=edge.label,
        path=None if selected is None else selected.path_class,
        refused=edge.refused,
        supernode_reached=any(link.registered_at is not None for link in engine.rendezvous.links),
        policy=engine.settings.relay,
        birthday=engine.settings.birthday,
        ours=engine.nat.report(),
        theirs=edge.punch.nat,
        we_offer=_outside_versions(engine.punching.candidates()),
        they_offer=_outside_versions(edge.candidates),
        port=engine.local_ports.get(4, 0),
        mapping=mapping,
        udp_answered=any(behaviour.answered for behaviour in engine.nat.behaviours.values())
        or any(link.rtt is not None for link in engine.rendezvous.links),
        tried=[one.kind for one in edge.punch.attempts if one.kind is not Kind.PLAIN],
    )


def _outside_versions(offered: Iterable[Candidate]) -> frozenset[int]:
    """IP versions of those that are no LAN's."""
    hosts = (address[0] for candidate in offered if (address := address_of(candidate)) is not None)
    return frozenset(ip_version(host) for host in hosts if not is_private(host))


def _attempt(one: Attempt, now: float) -> documents.Attempt:
    return documents.Attempt(
        kind=one.kind.value,
        round=one.round,
        begun_s=seconds(now - one.begun_at),
        took_s=None if one.ended_at is None else seconds(one.ended_at - one.begun_at),
        openers=one.openers,
        probes=one.probes,
        side_sockets=one.side_sockets,
        result=one.result.value,
    )
