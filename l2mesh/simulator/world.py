"""A topology in a few lines.

world = World(seed=7, link=Link(delay=0.02, loss=0.2))
hub = world.supernode("hub:7777", lambda random_bytes: SupernodeEngine(..., random_bytes, now=world.now))
a = world.edge("a", lambda random_bytes: EdgeEngine(..., random_bytes, now=world.now), world.site(nat=HOME))
b = world.edge("b", lambda random_bytes: EdgeEngine(..., random_bytes, now=world.now), world.site())
a.send_frames([frame])
world.run_until(lambda: frame in b.frames, within=1, what="the frame")
hub.kill()
world.run(60)
world.edges["a"].restart()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from l2mesh.simulator.clock import Clock
from l2mesh.simulator.engine import Address, EdgeEngine, SupernodeEngine
from l2mesh.simulator.nat import HOME, Firewall, Nat
from l2mesh.simulator.network import LAN, Internet
from l2mesh.simulator.node import EdgeNode, Node, SupernodeNode
from l2mesh.simulator.numbering import Numbering
from l2mesh.simulator.place import Host, Network, Site

if TYPE_CHECKING:
    from l2mesh.simulator.link import Link

RandomBytes = Callable[[int], bytes]
HubE = TypeVar("HubE", bound=SupernodeEngine)
TapE = TypeVar("TapE", bound=EdgeEngine)

SUPERNODE_PORT = 7777
FIRST_EDGE_PORT = 40_000
"""Each edge gets a port of its own, as real ones draw it at random."""


class World:
    """All there is in one simulation: the clock, the internet, the nodes. A function of its seed.

    Makers of engines get a source of random bytes that depends on the seed and the node's name only, and goes
    on over restarts.
    """

    def __init__(self, seed: int, link: Link | None = None) -> None:
        print(f"simulator: seed {seed}")  # pytest shows it with a failure
        self.seed = seed
        self.clock = Clock()
        self.internet = Internet(self.clock, Random(f"{seed}/network"), link)
        self.names: dict[str, list[Address]] = {}
        """Supernodes: what each edge is told when it starts."""
        self.nodes: dict[str, Node[Any]] = {}
        self.edges: dict[str, EdgeNode[Any]] = {}
        """Those of `nodes` that have a TAP."""
        self._numbering = Numbering(self.internet.root)
        self._sites = 0

    @property
    def now(self) -> float:
        return self.clock.now

    # Topology

    def site(
        self,
        name: str | None = None,
        *,
        nat: Nat | None = HOME,
        firewall: Firewall | None = Firewall(),  # noqa: B008 (a frozen value)
        at: Site | None = None,
        address: str | None = None,
        prefix: str | None = None,
        lan: Link = LAN,
    ) -> Site:
        """A site behind a router, on the internet or (`at`) behind another site's: a carrier's.

        `nat=None`: public addresses inside. The firewall stands before public addresses, so before IPv6.
        `prefix` is "192.168.1" or the like: private addresses inside; else each site has its own.
        """
        self._sites += 1
        if address is None and nat is not None:
            [address] = self._free_addresses(at, (4,))
        site = self.internet.site(
            name or f"site{self._sites}", address=address, nat=nat, firewall=firewall, at=at, lan=lan
        )
        self._numbering.add_site(site.inside, prefix)
        return site

    def host(
        self,
        name: str,
        at: Site | None = None,
        *,
        versions: Sequence[int] = (4,),
        addresses: Sequence[str] | None = None,
    ) -> Host:
        """A host with an address of each IP version, or with the given ones."""
        return self.internet.host(name, addresses or self._free_addresses(at, versions), at)

    def supernode(
        self,
        name: str,
        make: Callable[[RandomBytes], HubE],
        at: Site | None = None,
        *,
        versions: Sequence[int] = (4,),
        addresses: Sequence[str] | int = 1,
        ports: Sequence[int] = (SUPERNODE_PORT,),
    ) -> SupernodeNode[HubE]:
        """Start a supernode that listens on every port of each of its `addresses`: these, or so many of each IP
        version. Edges that start later know the main address of each IP version; `resolve` tells the others.
        """
        given = self._free_addresses(at, versions, addresses) if isinstance(addresses, int) else addresses
        host = self.host(name, at, addresses=given)
        random_bytes = self.random_bytes(name)
        node = SupernodeNode(self.internet, host, lambda: make(random_bytes), ports)
        self.names[name] = node.main_addresses()
        self._start(node)
        return node

    def edge(
        self,
        name: str,
        make: Callable[[RandomBytes], TapE],
        at: Site | None = None,
        *,
        versions: Sequence[int] = (4,),
        addresses: Sequence[str] | None = None,
        port: int | None = None,
    ) -> EdgeNode[TapE]:
        """Start an edge, and tell it the addresses of all supernodes."""
        host = self.host(name, at, versions=versions, addresses=addresses)
        random_bytes = self.random_bytes(name)
        port = port or FIRST_EDGE_PORT + len(self.nodes)
        random = Random(f"{self.seed}/{name}/ports")
        node = EdgeNode(self.internet, host, lambda: make(random_bytes), {4: port, 6: port}, random=random)
        node.supernodes = {name: list(known) for name, known in self.names.items()}
        self._start(node)
        return node

    def _start(self, node: Node[Any]) -> None:
        if node.name in self.nodes:
            raise ValueError(f"two nodes named {node.name}")
        self.nodes[node.name] = node
        if isinstance(node, EdgeNode):
            self.edges[node.name] = node
        with self._named():
            node.start()

    def resolve(self, name: str) -> None:
        """Tell all edges where the supernode `name` is now."""
        supernode = self.nodes[name]
        assert isinstance(supernode, SupernodeNode)
        self.names[name] = supernode.main_addresses()
        for edge in self.edges.values():
            edge.resolve(name, self.names[name])

    def move(
        self,
        node: Node[Any],
        at: Site | None = None,
        *,
        versions: Sequence[int] = (4,),
        addresses: Sequence[str] | None = None,
    ) -> None:
        """Take a node elsewhere, or give it another address where it is."""
        self.internet.move(node.host, addresses or self._free_addresses(at, versions), at)

    def reboot(self, site: Site, *, renumber: bool = False) -> None:
        """Switch a site's router off and on; `renumber`: its provider gives it another address outside."""
        at = site.network.site
        [address] = self._free_addresses(at, (4,)) if renumber else [None]
        site.reboot(address)

    def random_bytes(self, name: str) -> RandomBytes:
        """A source that depends on the seed and `name` only."""
        return Random(f"{self.seed}/{name}").randbytes

    # Time

    def run(self, seconds: float) -> None:
        """Let virtual time pass."""
        with self._named():
            self.clock.run_until(self.now + seconds)

    def run_until(
        self, predicate: Callable[[], bool], within: float, what: str = "it", every: float = 0.0
    ) -> float:
        """Let virtual time pass until `predicate()`, and no longer than `within` seconds.

        It is asked after each single thing that happens, or, if it costs much, `every` so many seconds only.
        Returns the seconds it took. Raises AssertionError when it did not come true.
        """
        start = self.now
        deadline = start + within
        with self._named():
            if every:
                while not (came := predicate()) and self.now < deadline:
                    self.clock.run_until(min(self.now + every, deadline))
            else:
                came = self.clock.run_while(lambda: not predicate(), deadline)
        if not came:
            raise AssertionError(f"{what} did not happen within {within} s\n{self.describe()}")
        return self.now - start

    @contextmanager
    def _named(self) -> Iterator[None]:
        """What goes wrong in an engine says in which world."""
        try:
            yield
        except Exception as error:
            error.add_note(self.describe())
            raise

    # Drawing

    def describe(self) -> str:
        """Seed, instant, what became of datagrams, and the drawing."""
        fates = ", ".join(f"{number} {fate.value}" for fate, number in self.internet.counts.items() if number)
        head = f"seed {self.seed}, virtual time {self.now:.6f}; datagrams: {fates or 'none'}"
        return "\n".join([head, *_draw(self.internet.root, "  ")])

    def _free_addresses(self, at: Site | None, versions: Sequence[int], each: int = 1) -> list[str]:
        network = self.internet.root if at is None else at.inside
        return [self._numbering.next_address(network, version) for version in versions for _ in range(each)]


def _draw(network: Network, indent: str) -> Iterator[str]:
    for place in dict.fromkeys(network.members.values()):
        if isinstance(place, Site):
            yield f"{indent}{place.describe()}"
            yield from _draw(place.inside, indent + "    ")
        elif isinstance(place, Host):
            yield f"{indent}{place.name}  {', '.join(place.addresses)}"
