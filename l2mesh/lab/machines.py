"""The machines of a lab: hosts, routers, and the sites they form."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from enum import Enum

from l2mesh.lab import nat as nats
from l2mesh.lab.errors import LabError
from l2mesh.lab.namespace import Namespace, Shared

PREFIX4, PREFIX6 = 24, 64
OTHER_HALF = 128  # of a /24, where nobody lives: .10 becomes .138


class IPv6(Enum):
    """What a site has of IPv6. Without it, hosts still have link-local addresses (and a TAP can have any)."""

    NONE = "none"
    FIREWALL = "firewall"  # global addresses; only what belongs to a flow from inside gets in
    OPEN = "open"


@dataclass(slots=True)
class Uplink:
    """A machine's place on the link it has its default route on. Addresses as text; [0] is the main one."""

    interface: str
    addresses4: list[str] = field(default_factory=list)
    gateway4: str | None = None
    addresses6: list[str] = field(default_factory=list)
    gateway6: str | None = None

    def addresses(self, version: int) -> list[str]:
        return self.addresses4 if version == 4 else self.addresses6

    def lines(self) -> list[str]:
        """The `ip` commands that set it up."""
        up = [f"link set dev {self.interface} up"]
        add = [f"address add {with_prefix(address)} dev {self.interface}" for address in self.addresses4]
        add += [f"address add {with_prefix(address)} dev {self.interface} nodad" for address in self.addresses6]
        return [*up, *add, *self.route_lines()]

    def route_lines(self) -> list[str]:
        routes = []
        if self.gateway4:
            routes.append(f"route replace default via {self.gateway4} dev {self.interface}")
        if self.gateway6:
            routes.append(f"route replace default via {self.gateway6} dev {self.interface}")
        return routes


def with_prefix(address: str) -> str:
    """With its prefix length: every link of the lab is a /24 and a /64."""
    return f"{address}/{PREFIX6 if ':' in address else PREFIX4}"


class Host(Namespace):
    """A machine with one link, `eth0`."""

    INTERFACE = "eth0"

    def __init__(self, shared: Shared, name: str) -> None:
        super().__init__(shared, name)
        self.uplink = Uplink(self.INTERFACE)
        self.other_ends: list[tuple[Namespace, str]] = []
        """The interfaces across the link, whose MTU goes with ours."""
        self.prefixes: list[str] = []
        """What the core knows it by, IPv4 and IPv6 (on a LAN: the router's)."""

    @property
    def address4(self) -> str:
        """Its main IPv4 address."""
        return self.uplink.addresses4[0]

    @property
    def address6(self) -> str:
        """Its main global IPv6 address. LabError if it has none."""
        if not self.uplink.addresses6:
            raise LabError(f"{self.name} has no IPv6")
        return self.uplink.addresses6[0]

    @property
    def addresses4(self) -> list[str]:
        return list(self.uplink.addresses4)

    @property
    def addresses6(self) -> list[str]:
        return list(self.uplink.addresses6)

    def connect(self, uplink: Uplink) -> None:
        """Brings up loopback and the link, whose other ends are up, and waits for it."""
        self.uplink = uplink
        self.ip(["link set dev lo up", *uplink.lines()])
        self._wait_for_link()

    def _wait_for_link(self) -> None:
        for namespace, interface in [(self, self.uplink.interface), *self.other_ends]:
            namespace.wait_for_link(interface)

    def change_address(self, address: str | None = None, version: int = 4) -> str:
        """Its main address becomes another on the same link, as after a new DHCP lease. Returns that.

        By default one of two in turn. The old one is gone when this returns.
        """
        addresses = self.uplink.addresses(version)
        old = addresses[0]
        ip = ipaddress.ip_address(old)
        new = address or str(type(ip)(int(ip) ^ OTHER_HALF))
        self.ip(
            [
                f"address add {with_prefix(new)} dev {self.uplink.interface}" + " nodad" * (version == 6),
                f"address del {with_prefix(old)} dev {self.uplink.interface}",
                *self.uplink.route_lines(),
            ]
        )
        addresses[0] = new
        return new

    def set_link_mtu(self, mtu: int) -> None:
        """On both ends of its link, so that the router across it says "too big" to what does not fit."""
        for namespace, interface in [(self, self.uplink.interface), *self.other_ends]:
            namespace.ip([f"link set dev {interface} mtu {mtu}"])

    def link_down(self) -> None:
        """Pulls the cable: the kernel drops the routes and the IPv6 addresses."""
        self.ip([f"link set dev {self.uplink.interface} down"])

    def link_up(self) -> None:
        """Plugs it in again, with all addresses and routes."""
        flush = f"address flush dev {self.uplink.interface} scope global"
        self.ip([flush, *self.uplink.lines()])
        self._wait_for_link()


class Router(Host):
    """A router: `wan` outside, `lan` (a bridge) inside; a carrier's has one inner link per customer."""

    INTERFACE = "wan"

    def __init__(self, shared: Shared, name: str) -> None:
        super().__init__(shared, name)
        self.nat = nats.HOME
        self.ipv6 = IPv6.NONE
        self.udp_only_to: tuple[str, ...] | None = None
        """None lets all UDP pass; else only to and from these addresses."""
        self.sysctls({"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"})

    def load_rules(self) -> None:
        """Loads `nat`, `ipv6` and `udp_only_to` afresh; what a NAT has learned is forgotten."""
        rules = nats.rule_set(self.nat, self.address4)
        rules += nats.replacing("ip6 lab", nats.IPV6_FIREWALL if self.ipv6 is IPv6.FIREWALL else "")
        rules += nats.replacing(
            "inet lab_udp", "" if self.udp_only_to is None else nats.udp_only_to(self.udp_only_to)
        )
        self.nft(rules)

    def change_address(self, address: str | None = None, version: int = 4) -> str:
        """A new outer address, as a DSL line gets each night."""
        if version == 6 or not self.nat.private:
            raise LabError(f"{self.name}: the LAN's addresses are routed by way of the old one")
        new = super().change_address(address, version)
        self.load_rules()
        return new

    def flush_conntrack(self) -> None:
        """Forgets every mapping, as a reboot does."""
        self.run(["conntrack", "-F"])
        self.load_rules()

    def set_udp_timeouts(self, one_way_s: int, two_way_s: int) -> None:
        """How long a mapping lives that was used one way, or for more than 2 s both ways (30 and 120)."""
        prefix = "net.netfilter.nf_conntrack_udp_timeout"
        self.sysctls({prefix: str(one_way_s), f"{prefix}_stream": str(two_way_s)})


@dataclass(slots=True)
class Site:
    """A router and the hosts on its LAN."""

    name: str
    router: Router
    lan: Uplink
    """The router's end of the LAN: the bridge, its addresses."""

    hosts: list[Host] = field(default_factory=list)
    ports: int = 0
    """How many LAN ports were ever used."""

    @property
    def host(self) -> Host:
        """The first, and often the only one."""
        return self.hosts[0]


@dataclass(slots=True)
class Carrier:
    """A carrier's NAT: sites connect behind it (`Lab.site(..., behind=carrier)`), in 100.64.0.0/10."""

    name: str
    router: Router
