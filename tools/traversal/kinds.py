"""The kinds of sites: the table of connectivity.md, and the pairs that share a place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from l2mesh.lab import Host, IPv6, Lab, Nat, Site, nat

FIXED_PORT: Final = 7000
FAST_ONE_WAY_S, FAST_TWO_WAY_S = 2, 4
"""Seconds after which a mapping of a fast-expiring NAT is gone: of a flow that was one-way, and two-way."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A site with one edge. `blocked`: UDP passes to and from the supernode only. `neighbour`: another host of the
    LAN runs an edge, of another network, with the same local port.
    """

    name: str
    title: str
    nat: Nat
    carrier: Nat | None = None
    ipv6: IPv6 = IPv6.NONE
    blocked: bool = False
    fast_expiry: bool = False
    neighbour: bool = False

    @property
    def port(self) -> int:
        """The edge's local port; 0 is a random one."""
        return FIXED_PORT if self.neighbour else 0

    def build(self, lab: Lab, name: str, supernode: Host) -> Site:
        behind = lab.carrier(f"{name}-carrier", self.carrier) if self.carrier else None
        only = (*supernode.addresses4, *supernode.addresses6) if self.blocked else None
        site = lab.site(name, self.nat, hosts=1 + self.neighbour, ipv6=self.ipv6, behind=behind, udp_only_to=only)
        if self.fast_expiry:
            site.router.set_udp_timeouts(FAST_ONE_WAY_S, FAST_TWO_WAY_S)
        return site


ROUTED: Final = Kind("routed", "public, no NAT", nat.ROUTED)
FIREWALL: Final = Kind("firewall", "public, stateful firewall", nat.FIREWALL)
CONE: Final = Kind("cone", "EIM/EIF", nat.CONE)
HAIRPIN: Final = Kind("hairpin", "EIM/EIF, hairpin", nat.HAIRPIN)
RESTRICTED_CONE: Final = Kind("restricted_cone", "EIM/ADF", nat.RESTRICTED_CONE)
HOME: Final = Kind("home", "EIM/APDF, the ordinary home", nat.HOME)
HOME_ACCEPT: Final = Kind("home_accept", "EIM/APDF, input accept: the race", nat.HOME_ACCEPT)
CARRIER: Final = Kind("carrier", "a home behind a carrier's NAT", nat.HOME, carrier=nat.HOME)
FAST_EXPIRY: Final = Kind("fast_expiry", "EIM/APDF that forgets in 2 to 4 s", nat.HOME, fast_expiry=True)
SAME_PORT: Final = Kind("same_port", "EIM/APDF, a neighbour has our port", nat.HOME, neighbour=True)
ADDRESS_DEPENDENT: Final = Kind("address_dependent", "ADM/APDF", nat.ADDRESS_DEPENDENT)
SEQUENTIAL: Final = Kind("sequential", "APDM, the next port", nat.SEQUENTIAL)
BLOCK_512: Final = Kind("block_512", "APDM, of 512 ports", nat.BLOCK_512)
BLOCK_1024: Final = Kind("block_1024", "APDM, of 1024 ports", nat.BLOCK_1024)
BLOCK_2048: Final = Kind("block_2048", "APDM, of 2048 ports", nat.BLOCK_2048)
SYMMETRIC: Final = Kind("symmetric", "APDM, any port", nat.SYMMETRIC)
IPV6_OPEN: Final = Kind("ipv6_open", "APDM, and IPv6", nat.SYMMETRIC, ipv6=IPv6.OPEN)
IPV6_FIREWALL: Final = Kind("ipv6_firewall", "APDM, and IPv6 with a firewall", nat.SYMMETRIC, ipv6=IPv6.FIREWALL)
BLOCKED: Final = Kind("blocked", "UDP to the supernode only", nat.HOME, blocked=True)

KINDS: Final = (
    ROUTED,
    FIREWALL,
    CONE,
    HAIRPIN,
    RESTRICTED_CONE,
    HOME,
    HOME_ACCEPT,
    CARRIER,
    FAST_EXPIRY,
    SAME_PORT,
    ADDRESS_DEPENDENT,
    SEQUENTIAL,
    BLOCK_512,
    BLOCK_1024,
    BLOCK_2048,
    SYMMETRIC,
    IPV6_OPEN,
    IPV6_FIREWALL,
    BLOCKED,
)
QUICK: Final = (ROUTED, HOME, HOME_ACCEPT, SEQUENTIAL, BLOCK_1024, SYMMETRIC)


@dataclass(frozen=True, slots=True)
class Place:
    """Two edges that share a router, or a carrier's. `isolated`: hosts of the LAN do not hear each other."""

    name: str
    title: str
    nat: Nat = nat.HOME
    carrier: Nat | None = None
    isolated: bool = False
    port: int = 0

    def build(self, lab: Lab) -> tuple[Site, Site, list[Host]]:
        """The sites of both, which may be one, and their hosts."""
        if self.carrier:
            carrier = lab.carrier("carrier", self.carrier)
            alice, bob = (lab.site(name, self.nat, behind=carrier) for name in ("alice", "bob"))
            return alice, bob, [alice.host, bob.host]
        site = lab.site("alice", self.nat, hosts=2)
        if self.isolated:
            ports = [port for host in site.hosts for _, port in host.other_ends]
            site.router.ip([f"link set dev {port} type bridge_slave isolated on" for port in ports])
        return site, site, site.hosts


PLACES: Final = (
    Place("lan", "two hosts behind one router"),
    Place("lan_hairpin", "the same, with hairpin", nat.HAIRPIN),
    Place("lan_same_port", "the same, with the same local port", port=FIXED_PORT),
    Place("isolated", "two hosts of one router that keeps them apart", isolated=True),
    Place("isolated_hairpin", "the same, with hairpin", nat.HAIRPIN, isolated=True),
    Place("one_carrier", "two homes behind one carrier's NAT", carrier=nat.HOME),
    Place("one_carrier_hairpin", "the same, with hairpin", carrier=nat.HAIRPIN),
)

ALL: Final = {each.name: each for each in (*KINDS, *PLACES)}
