"""What an edge found out about the NAT before it, in words: from the engine's values to documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from l2mesh.app.management import documents
from l2mesh.core.nat import AllocationKind, Filtering, Mapping, allocation_of, filtering_of, mapping_of
from l2mesh.wire.address import format_address

if TYPE_CHECKING:
    from l2mesh.core.nat import NatBehaviour, ServerFinding
    from l2mesh.wire.control import NatReport

MAPPINGS: Final = {
    Mapping.UNKNOWN: "unknown",
    Mapping.NONE: "none",
    Mapping.ENDPOINT_INDEPENDENT: "endpoint-independent",
    Mapping.ADDRESS_DEPENDENT: "address-dependent",
    Mapping.ADDRESS_AND_PORT_DEPENDENT: "address-and-port-dependent",
    Mapping.DESTINATION_DEPENDENT: "destination-dependent",
}
FILTERINGS: Final = {
    Filtering.UNKNOWN: "unknown",
    Filtering.ENDPOINT_INDEPENDENT: "endpoint-independent",
    Filtering.ADDRESS_DEPENDENT: "address-dependent",
    Filtering.ADDRESS_AND_PORT_DEPENDENT: "address-and-port-dependent",
}


def words_of(report: NatReport) -> str:
    """What a node says of its NAT, in a few words."""
    mapping, allocation = mapping_of(report), allocation_of(report)
    if mapping is Mapping.UNKNOWN:
        return "an unknown NAT"
    if mapping is Mapping.NONE:
        return "no NAT"
    words = f"{MAPPINGS[mapping]} mapping"
    if mapping.depends_on_destination and allocation.kind is not AllocationKind.UNKNOWN:
        words += {
            AllocationKind.SEQUENTIAL: f", ports in steps of {allocation.step}",
            AllocationKind.BLOCK: f", any port from {allocation.low} to {allocation.high}",
            AllocationKind.RANDOM: ", any port",
        }[allocation.kind]
    filtering = filtering_of(report)
    return words if filtering is Filtering.UNKNOWN else f"{words}, {FILTERINGS[filtering]} filtering"


def nat_document(behaviour: NatBehaviour, now: float) -> documents.Nat:
    allocation = behaviour.allocation
    known = allocation.kind is not AllocationKind.UNKNOWN
    sequential = allocation.kind is AllocationKind.SEQUENTIAL
    return documents.Nat(
        mapping=MAPPINGS[behaviour.mapping],
        filtering=FILTERINGS[behaviour.filtering],
        allocation=allocation.kind.value,
        port_low=allocation.low if known else None,
        port_high=allocation.high if known else None,
        port_step=allocation.step if sequential else None,
        hairpin=behaviour.hairpin,
        servers=[_server(one) for one in behaviour.servers],
        age_s=None if behaviour.found_at is None else round(now - behaviour.found_at, 3),
    )


def _server(finding: ServerFinding) -> documents.NatServer:
    return documents.NatServer(
        name=finding.name,
        endpoint=format_address(finding.address),
        observed=None if finding.reflexive is None else format_address(finding.reflexive),
        rtt_ms=None if finding.rtt is None else round(finding.rtt * 1000, 3),
        other=None if finding.other is None else format_address(finding.other),
    )
