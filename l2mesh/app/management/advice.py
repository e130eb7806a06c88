"""Why a peer is reached as it is, and what would make the path direct: sentences from what both ends know."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from l2mesh.app.management.nat_views import words_of
from l2mesh.core.attempt_plan import Kind, kind_of, side_of
from l2mesh.core.mapping_values import MappingState, MappingStatus
from l2mesh.core.path import PathClass
from l2mesh.core.reach import RelayPolicy
from l2mesh.wire.control import UNKNOWN_NAT, NatReport

if TYPE_CHECKING:
    from collections.abc import Sequence

CLASSES: Final = {
    PathClass.SAME_LAN: "a private address that both are near: the same LAN",
    PathClass.IPV6: "IPv6",
    PathClass.IPV4: "IPv4",
}
CLASS_ATTEMPTS: Final = {
    Kind.PREDICTION: "by guessing the next ports of a NAT that takes them in order",
    Kind.BIRTHDAY: "by opening many ports here or there and searching for one of them",
    Kind.BLOCKS: "by opening many ports on both sides until two meet",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the sentences are made of.

    `…_offer`: IP versions of the outside addresses that an end tells the other. `port`: of our own IPv4 socket.
    `udp_answered`: some supernode or STUN server answers over UDP. `tried`: kinds of attempts that were made.
    """

    peer: str
    path: PathClass | None
    refused: str = ""
    supernode_reached: bool = True
    policy: RelayPolicy = RelayPolicy.AUTO
    birthday: bool = True
    ours: NatReport = UNKNOWN_NAT
    theirs: NatReport = UNKNOWN_NAT
    we_offer: frozenset[int] = frozenset({4})
    they_offer: frozenset[int] = frozenset({4})
    port: int = 0
    mapping: MappingStatus = field(default_factory=MappingStatus)
    udp_answered: bool = True
    tried: Sequence[Kind] = ()

    @property
    def kind(self) -> Kind:
        return kind_of(side_of(self.ours), side_of(self.theirs))

    @property
    def classes_known(self) -> bool:
        return side_of(self.ours).known and side_of(self.theirs).known


def reason(facts: Facts) -> str:
    """Why the path is what it is."""
    if facts.path is None:
        return _why_none(facts)
    if facts.path in CLASSES:
        return f"direct, over {CLASSES[facts.path]}: no relay is as good"
    by = "a member of the network" if facts.path is PathClass.MEMBER_RELAY else "a supernode"
    return f"relayed by {by}, for {_why_not_direct(facts)}"


def _why_none(facts: Facts) -> str:
    if facts.refused:
        return f"no session: {facts.refused}"
    if not facts.supernode_reached:
        return "no session, and no supernode is reached that could tell where the peer is"
    if facts.policy is RelayPolicy.NEVER:
        return "no session: no direct path was found, and the file forbids to use a relay"
    return f"no session: {facts.peer} does not answer, neither directly nor by a relay"


def _why_not_direct(facts: Facts) -> str:
    if facts.policy is RelayPolicy.ALWAYS:
        return 'the file says so: [transport] relay = "always"'
    if not facts.they_offer:
        return f"{facts.peer} tells no address of its own: its file may want a relay always"
    if not facts.we_offer & facts.they_offer:
        return "one end has only IPv4, and the other only IPv6"
    if not facts.classes_known:
        return f"no probe was answered, and what NATs there are is not known: {_classes(facts)}"
    if facts.kind is Kind.HOPELESS:
        return f"neither end can know which port the other's NAT takes for it: {_classes(facts)}"
    if facts.kind is Kind.PLAIN:
        return f"no probe was answered, though these NATs can be passed: {_classes(facts)}"
    if not facts.birthday and facts.kind is not Kind.PREDICTION:
        return f"many ports would have to be tried, and the file forbids it: {_classes(facts)}"
    how = CLASS_ATTEMPTS[facts.kind]
    state = "had no luck so far" if facts.kind in facts.tried else "was not made yet"
    return f"an attempt {how} {state}: {_classes(facts)}"


def _classes(facts: Facts) -> str:
    return f"here {words_of(facts.ours)}; there {words_of(facts.theirs)}"


def advice(facts: Facts) -> list[str]:
    """What would make it direct, the surest first; nothing if it is."""
    if facts.path in CLASSES:
        return []
    if facts.path is None and (facts.refused or not facts.supernode_reached):
        return ["see `l2mesh status`, and the log of both ends"]
    if facts.policy is RelayPolicy.ALWAYS:
        return ['set [transport] relay = "auto" in the file']
    found = []
    if not facts.udp_answered:
        found.append("allow UDP out of this network: no supernode or STUN server answers")
    found += _about_class(facts)
    found += _about_ports(facts)
    found += _about_ipv6(facts)
    return found


def _about_class(facts: Facts) -> list[str]:
    if not facts.classes_known:
        return ["let a supernode listen on two ports, or name a server in [transport] stun: then NATs are known"]
    if facts.kind is Kind.PLAIN:
        return [
            f"allow UDP between the two hosts: a firewall on the way seems to drop it (our port is {facts.port})"
        ]
    if not facts.birthday and facts.kind in (Kind.BIRTHDAY, Kind.BLOCKS):
        return ["set [transport] birthday = true at both ends"]
    return []


def _about_ports(facts: Facts) -> list[str]:
    mapping = facts.mapping
    if mapping.state is MappingState.OPEN:
        return []
    if mapping.double_nat:
        return ["make one of the two NATs before this host a bridge, or ask the provider for a public address"]
    forward = f"forward UDP port {facts.port} to this host on its router"
    if mapping.state is MappingState.OFF:
        return [f"{forward}, or set [transport] port_mapping = true"]
    if mapping.state is MappingState.NONE:
        return [f"{forward}, or allow PCP, NAT-PMP or UPnP there", f"or do so on the router of {facts.peer}"]
    return []


def _about_ipv6(facts: Facts) -> list[str]:
    lacking = [
        name
        for name, offer in (("here", facts.we_offer), (f"at {facts.peer}", facts.they_offer))
        if 6 not in offer
    ]
    if not lacking:
        return ["allow UDP over IPv6 between the two: both have it, and no probe was answered"]
    return [f"get IPv6 {' and '.join(lacking)}: it needs no NAT"]
