"""What stands on the virtual internet: hosts with sockets, sites behind a router, their networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from l2mesh.simulator.nat import Firewall, FirewallTable, Nat, NatTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from l2mesh.simulator.engine import Address, Burst
    from l2mesh.simulator.link import Link


TTL = 64
"""Of what is sent without another one (net.ipv4.ip_default_ttl)."""


class Run(NamedTuple):
    """Datagrams of one size (the last may be shorter) on their way, with the addresses they bear here."""

    sender: Socket
    target: Address
    """Where the sender sent them to."""
    source: Address
    destination: Address
    data: bytes
    size: int
    ttl: int = TTL


def version_of(host: str) -> int:
    return 6 if ":" in host else 4


class Network:
    """Places that reach one another without a router between: the internet, a LAN, a carrier's inside."""

    def __init__(self, name: str, site: Site | None, link: Link) -> None:
        self.name = name
        self.site = site
        """Whose inside this is: the way out. None for the internet itself."""
        self.link = link
        """Between any two members for which no other is set."""
        self.members: dict[str, Place] = {}
        """By address. A site is a member for its own address and for the public ones inside it."""
        self.links: dict[tuple[Place | None, Place | None], Link] = {}
        """Directed exceptions; None stands for any other member."""

    def link_between(self, sender: Place, receiver: Place) -> Link:
        links = self.links
        if not links:
            return self.link
        exact = links.get((sender, receiver))
        return exact or links.get((sender, None)) or links.get((None, receiver)) or self.link

    def attach(self, address: str, place: Place) -> None:
        """Let `place` be reached at `address`, from here and from as far out as nothing translates it."""
        if address in self.members:
            raise ValueError(f"{address} is taken, by {self.members[address].name}")
        self.members[address] = place
        if self.site is not None and not self.site.translates(version_of(address)):
            self.site.network.attach(address, self.site)

    def detach(self, address: str) -> None:
        del self.members[address]
        if self.site is not None and not self.site.translates(version_of(address)):
            self.site.network.detach(address)


class Place:
    """A host or a site: what has a name and is on a network."""

    def __init__(self, name: str, network: Network) -> None:
        self.name = name
        self.inbox: dict[float, list[Run]] = {}
        """What is on its way here, by the instant of its arrival."""
        self.network = network
        """What it is on: for a site, what is outside."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    def lineage(self) -> list[Place]:
        """Itself and the sites around it, from the inside out."""
        around = self.network.site
        return [self, *(around.lineage() if around is not None else [])]


Receive = Callable[[list["Burst"]], object]
Fail = Callable[["Address", int, bool], object]
"""(address, errno, local): what was sent to `address` came to nothing, as this host says, or an ICMP message."""


class Socket:
    """A UDP port of a host for each IP version; `receive` gets all that arrives at one instant."""

    def __init__(
        self, host: Host, ports: Mapping[int, int], receive: Receive, fail: Fail | None, nth: int | None
    ) -> None:
        self.host = host
        self.ports = dict(ports)
        self.receive = receive
        self.fail = fail
        self.nth = nth
        """Which of the host's addresses of each IP version it is bound to; None: all."""
        self.sources: dict[int, Address] = {}
        """By IP version: what datagrams are sent from."""

    def overlaps(self, other: Socket) -> bool:
        apart = self.nth is not None and other.nth is not None and self.nth != other.nth
        return not apart and bool(set(self.ports.items()) & set(other.ports.items()))


class Host(Place):
    """A machine with one address or several on one network."""

    def __init__(self, name: str, network: Network, addresses: Sequence[str]) -> None:
        super().__init__(name, network)
        self.addresses: list[str] = []
        self.sockets: dict[Address, Socket] = {}
        self.on_move: list[Callable[[], object]] = []
        """Called after each change of network or address, as netlink tells of it."""
        self.no_route_to: set[str] = set()
        """Hosts that this one's routing table, or its own firewall, lets nothing be sent to."""
        self._bound: list[Socket] = []
        self._attach(network, addresses)

    def bind(
        self, ports: Mapping[int, int], receive: Receive, fail: Fail | None = None, *, nth: int | None = None
    ) -> Socket:
        """Open a socket on `ports`: {4: port, 6: port}, on all addresses or on the `nth` (0 and up) of each IP
        version. ValueError if one of the ports is taken there.
        """
        socket = Socket(self, ports, receive, fail, nth)
        if any(socket.overlaps(other) for other in self._bound):
            raise ValueError(f"{self.name}: port in use: {socket.ports}")
        self._bound.append(socket)
        self._place_sockets()
        return socket

    def close(self, socket: Socket) -> None:
        self._bound.remove(socket)
        self._place_sockets()

    def move(self, network: Network, addresses: Sequence[str]) -> None:
        """Change network or address; what is under way to an old address is lost."""
        for address in self.addresses:
            self.network.detach(address)
        self._attach(network, addresses)
        for tell in self.on_move:
            tell()

    def _attach(self, network: Network, addresses: Sequence[str]) -> None:
        self.network = network
        self.addresses = list(addresses)
        for address in addresses:
            network.attach(address, self)
        self._place_sockets()

    def _place_sockets(self) -> None:
        self.sockets.clear()
        for socket in self._bound:
            socket.sources.clear()
            for version, port in socket.ports.items():
                addresses = [address for address in self.addresses if version_of(address) == version]
                for address in addresses if socket.nth is None else addresses[socket.nth : socket.nth + 1]:
                    self.sockets[address, port] = socket
                    socket.sources.setdefault(version, (address, port))


class Site(Place):
    """A network behind a router: a NAT for IPv4, a firewall for public addresses, both or neither."""

    def __init__(
        self,
        name: str,
        network: Network,
        *,
        address: str | None,
        nat: Nat | None,
        firewall: Firewall | None,
        lan: Link,
        random: Random,
    ) -> None:
        super().__init__(name, network)
        if nat is not None and address is None:
            raise ValueError(f"{name}: a NAT needs an address outside")
        self.inside = Network(name, self, lan)
        self.address = address
        self.firewall = None if firewall is None else FirewallTable(firewall)
        self.nat = None if nat is None or address is None else NatTable(nat, address, random)
        self._random = random
        if address is not None:
            network.attach(address, self)

    def translates(self, version: int) -> bool:
        return version == 4 and self.nat is not None

    def outbound(self, source: Address, destination: Address, now: float) -> Address | None:
        """What `source` becomes outside; None if the NAT has no port left."""
        if self.nat is not None and ":" not in source[0]:
            return self.nat.outbound(source, destination, now)
        if self.firewall is not None:
            self.firewall.outbound(source, destination, now)
        return source

    def inbound(self, source: Address, destination: Address, now: float) -> Address | None:
        """What `destination` becomes inside; None if it does not pass."""
        if destination[0] == self.address:
            return None if self.nat is None else self.nat.inbound(source, destination[1], now)
        if self.firewall is not None and not self.firewall.admits(source, destination, now):
            return None
        return destination

    def describe(self) -> str:
        """One line for a drawing."""
        words = [self.name]
        if self.nat is not None:
            nat = self.nat.nat
            words.append(f"{self.address}  NAT: mapping {nat.mapping.name}, filtering {nat.filtering.name}")
        if self.firewall is not None:
            words.append(f"firewall: {self.firewall.firewall.filtering.name}")
        return "  ".join(words)

    def reboot(self, address: str | None = None) -> None:
        """Switched off and on: nothing is remembered, and the provider may give another outside `address`."""
        self.flush()
        if address is not None:
            self.renumber(address)

    def flush(self) -> None:
        """Forget all mappings and permissions: conntrack -F."""
        if self.nat is not None:
            self.nat.flush()
        if self.firewall is not None:
            self.firewall.flush()

    def renumber(self, address: str) -> None:
        """Get another address outside, as from DHCP; the NAT starts anew."""
        if self.nat is None or self.address is None:
            raise ValueError(f"{self.name} has no NAT")
        self.network.detach(self.address)
        self.network.attach(address, self)
        self.address = address
        self.nat = NatTable(self.nat.nat, address, self._random)
