"""The virtual internet: carries datagrams through NATs and bad links, and says what became of each.

A datagram goes up from its host through the routers around it until the destination is in sight, crosses the
link of the network where the two sides meet, and goes down to the host. Only that link takes time and harms;
routers cost nothing. NATs translate outwards at the instant of sending, and inwards at that of arrival.

Hops are those of the lab: each router on the way up, the core in the middle of the internet, each router on the
way down. One that gets a packet with TTL 1 drops it, before it translates outwards but after it did so inwards. So
what leaves with TTL 2 makes a mapping in the site's own router, and with TTL 3 in a carrier's outside it too.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

from l2mesh.simulator.burst import clean_size, count, cut, join
from l2mesh.simulator.engine import Address, Train
from l2mesh.simulator.link import Link, pass_through
from l2mesh.simulator.place import TTL, Host, Network, Place, Run, Site, Socket, version_of

if TYPE_CHECKING:
    from random import Random

    from l2mesh.simulator.clock import Clock
    from l2mesh.simulator.nat import Firewall, Nat

LAN = Link(delay=0.0002)
"""Inside a site, if nothing else is said."""


class Fate(Enum):
    """What became of a datagram."""

    DELIVERED = "delivered"
    LOST = "lost on the link"
    TOO_BIG = "larger than the MTU of the link"
    NO_ROUTE = "nobody has that address"
    NO_SOCKET = "nobody listens there"
    FILTERED = "not let in by a NAT or firewall"
    NO_HAIRPIN = "to the NAT's own outside, from inside"
    NO_PORT = "the NAT has no port left"
    BLOCKED = "blocked"
    TTL_EXPIRED = "its TTL ended under way"
    NOT_SENT = "its own host has no route there"

    __hash__ = object.__hash__  # Enum's own is a Python function, and every datagram is counted


ICMP = {
    Fate.NO_SOCKET: errno.ECONNREFUSED,
    Fate.NO_ROUTE: errno.EHOSTUNREACH,
    Fate.TTL_EXPIRED: errno.EHOSTUNREACH,
}
"""The error that the sender's socket gets, where anybody tells of it at all."""

Tap = Callable[[float, Address, Address, bytes, Fate], object]
"""(instant, from, to, datagram, fate), called once for each datagram, when its fate is decided.

The addresses are those it bears there: a delivered one comes from the outside of the sender's NAT and goes to
the receiving host's own address; one lost under way goes to the outside of the receiver's NAT.
"""


class Internet:
    """Hosts, sites and what is between them. All chance comes from `random`."""

    def __init__(self, clock: Clock, random: Random, link: Link | None = None) -> None:
        self.clock = clock
        self.root = Network("internet", None, link or Link())
        self.taps: list[Tap] = []
        self.icmp = False
        """Whether senders are told what became of a datagram that met a fate of `ICMP`."""
        self.counts = dict.fromkeys(Fate, 0)
        """Datagrams by fate."""
        self._random = random
        self._blocked: set[tuple[Place, Place | None]] = set()

    # What stands on it

    def host(self, name: str, addresses: Sequence[str], at: Site | None = None) -> Host:
        """A host, on the internet or inside a site. Canonical addresses; ValueError if one is taken."""
        return Host(name, self._inside(at), addresses)

    def site(
        self,
        name: str,
        *,
        address: str | None = None,
        nat: Nat | None = None,
        firewall: Firewall | None = None,
        at: Site | None = None,
        lan: Link = LAN,
    ) -> Site:
        """A router and what is behind it; `at` puts it behind another one, as carriers do."""
        inside = self._inside(at)
        return Site(name, inside, address=address, nat=nat, firewall=firewall, lan=lan, random=self._random)

    def move(self, host: Host, addresses: Sequence[str], at: Site | None = None) -> None:
        """Give a host other addresses, maybe elsewhere."""
        host.move(self._inside(at), addresses)

    def _inside(self, site: Site | None) -> Network:
        return self.root if site is None else site.inside

    # What goes wrong

    def set_link(self, a: Place, b: Place | None, link: Link, *, both: bool = True) -> None:
        """Set the link from `a` to `b` (None: to all others on the internet), and back if `both`.

        That is the link between the sites the two are in, or, within one site, between the two.
        """
        network, one, other = _meeting(a, b)
        network.links[one, other] = link
        if both:
            network.links[other, one] = link

    def block(self, a: Place, b: Place | None = None) -> None:
        """Let nothing through between `a` and `b`, hosts or sites, or between `a` and all others."""
        self._blocked |= {(a, b)}

    def unblock(self, a: Place, b: Place | None = None) -> None:
        self._blocked -= {(a, b)} if b is None else {(a, b), (b, a)}

    def partition(self, *groups: Iterable[Place]) -> None:
        """Block every pair of places from two different groups."""
        lists = [list(group) for group in groups]
        for index, group in enumerate(lists):
            for later in lists[index + 1 :]:
                self._blocked |= {(a, b) for a in group for b in later}

    def heal(self) -> None:
        """Undo every `block` and `partition`."""
        self._blocked.clear()

    def _is_blocked(self, sender: Place, receiver: Place) -> bool:
        here, there = sender.lineage(), receiver.lineage()
        pairs = {pair for a in here for b in there for pair in ((a, b), (b, a))}
        alone = {(place, None) for place in set(here) ^ set(there)}
        return not self._blocked.isdisjoint(pairs) or not self._blocked.isdisjoint(alone)

    # The way of a datagram

    def send(self, socket: Socket, trains: Iterable[Train], ttl: int = TTL) -> None:
        """Send trains of datagrams; their buffers are copied here."""
        host = socket.host
        for destination, buffer, size in trains:
            target = (destination[0], destination[1])
            source = socket.sources.get(version_of(destination[0]))
            data = bytes(buffer)
            run = Run(socket, target, source or ("", 0), target, data, clean_size(data, size), ttl)
            if source is None or destination[0] in host.no_route_to:
                self._tell(run, Fate.NOT_SENT)
                self._fail(run, errno.ENETUNREACH, 0.0, local=True)
            else:
                self._rise(host, host.network, run)

    def _rise(self, sender: Place, network: Network, run: Run) -> None:
        """Go out through routers until the destination is in sight."""
        receiver = network.members.get(run.destination[0])
        if receiver is not None:
            if network is self.root:
                run = run._replace(ttl=run.ttl - 1)
            if run.ttl < 1:
                self._end(run, Fate.TTL_EXPIRED)
            else:
                self._cross(network.link_between(sender, receiver), receiver, run)
            return
        site = network.site
        if site is None:
            self._end(run, Fate.NO_ROUTE)
            return
        if run.ttl < 2:
            self._end(run, Fate.TTL_EXPIRED)
            return
        source = site.outbound(run.source, run.destination, self.clock.now)
        if source is None:
            self._tell(run, Fate.NO_PORT)
            return
        outside = run._replace(source=source, ttl=run.ttl - 1)
        if run.destination[0] == site.address:
            self._turn_back(site, sender, outside)
        else:
            self._rise(site, site.network, outside)

    def _turn_back(self, site: Site, sender: Place, run: Run) -> None:
        """Hairpin: from inside the NAT, translated, and in again."""
        if site.nat is None or not site.nat.nat.hairpin:
            self._tell(run, Fate.NO_HAIRPIN)
            return
        entered = self._enter(site, run._replace(ttl=run.ttl + 1))  # one router, so one hop
        if entered is not None:
            receiver, run = entered
            self._cross(site.inside.link_between(sender, receiver), receiver, run)

    def _cross(self, link: Link, receiver: Place, run: Run) -> None:
        """Put the run on the link: lose, hold back and double what chance wants."""
        if run.size > link.safe_payload and run.size > link.largest_payload(run.destination[0]):
            self._cross_if_small(link, receiver, run)
        elif not link.shuffles:
            self._schedule(link.run_delay(self._random), receiver, run)
        else:
            passage = pass_through(link, run.data, run.size, self._random)
            for datagram in passage.lost:
                self._tell(run._replace(data=datagram, size=clean_size(datagram, run.size)), Fate.LOST)
            for delay, data, size in passage.arriving:
                self._schedule(delay, receiver, run._replace(data=data, size=size))

    def _cross_if_small(self, link: Link, receiver: Place, run: Run) -> None:
        """Of a run of too large datagrams, a short last one may fit."""
        largest = link.largest_payload(run.destination[0])
        for datagram in cut(run.data, run.size):
            single = run._replace(data=datagram, size=clean_size(datagram, run.size))
            if len(datagram) > largest:
                self._tell(single, Fate.TOO_BIG)
            else:
                self._cross(link, receiver, single)

    def _schedule(self, delay: float, receiver: Place, run: Run) -> None:
        """All that reaches one place at one instant is one callback."""
        at = self.clock.now + delay
        runs = receiver.inbox.get(at)
        if runs is None:
            receiver.inbox[at] = [run]
            self.clock.call_at(at, partial(self._arrive, receiver, at))
        else:
            runs.append(run)

    def _arrive(self, place: Place, at: float) -> None:
        self._sink(place, place.inbox.pop(at))

    def _sink(self, place: Place, runs: list[Run]) -> None:
        """Go in through routers down to the host."""
        if isinstance(place, Host):
            self._deliver(place, runs)
        elif isinstance(place, Site):
            inner: dict[Place, list[Run]] = {}
            for run in runs:
                entered = self._enter(place, run)
                if entered is not None:
                    inner.setdefault(entered[0], []).append(entered[1])
            for member, entering in inner.items():
                self._sink(member, entering)

    def _enter(self, site: Site, run: Run) -> tuple[Place, Run] | None:
        """Pass the router inwards: where to and what, or None if that ended here."""
        inside = site.inbound(run.source, run.destination, self.clock.now)
        if inside is None:
            self._tell(run, Fate.FILTERED)
            return None
        member = site.inside.members.get(inside[0])
        if member is None:
            self._end(run, Fate.NO_ROUTE)
            return None
        if run.ttl < 2:
            self._end(run, Fate.TTL_EXPIRED)
            return None
        return member, run._replace(destination=inside, ttl=run.ttl - 1)

    def _deliver(self, host: Host, runs: list[Run]) -> None:
        received: dict[Socket, list[tuple[Address, bytes, int]]] = {}
        for run in runs:
            socket = host.sockets.get(run.destination)
            if self._blocked and self._is_blocked(run.sender.host, host):
                self._tell(run, Fate.BLOCKED)
            elif socket is None:
                self._end(run, Fate.NO_SOCKET)
            else:
                self._tell(run, Fate.DELIVERED)
                received.setdefault(socket, []).append((run.source, run.data, run.size))
        for socket, pieces in received.items():
            socket.receive([(source, memoryview(buffer), size) for source, buffer, size in join(pieces)])

    def _end(self, run: Run, fate: Fate) -> None:
        """It goes no further, and an ICMP message may say so."""
        self._tell(run, fate)
        if self.icmp:
            self._fail(run, ICMP[fate], self.root.link.delay, local=False)

    def _fail(self, run: Run, number: int, delay: float, *, local: bool) -> None:
        if run.sender.fail is not None:
            self.clock.call_at(self.clock.now + delay, partial(run.sender.fail, run.target, number, local))

    def _tell(self, run: Run, fate: Fate) -> None:
        self.counts[fate] += count(run.data, run.size)
        if self.taps:
            for datagram in cut(run.data, run.size):
                for tap in self.taps:
                    tap(self.clock.now, run.source, run.destination, datagram, fate)


def _meeting(a: Place, b: Place | None) -> tuple[Network, Place, Place | None]:
    """The innermost network that both are on or in, and the member of it that each is or is in."""
    if b is None:
        outermost = a.lineage()[-1]
        return outermost.network, outermost, None
    by_network = {place.network: place for place in b.lineage()}
    for place in a.lineage():
        other = by_network.get(place.network)
        if other is not None and other is not place:
            return place.network, place, other
    raise ValueError(f"there is no link between {a} and {b}")
