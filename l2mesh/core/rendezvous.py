"""An edge's dealings with its supernodes: links, directory, relay channels.

    listed     a directory names a peer. Who comes new to a directory begins the handshakes; who was there waits a
               second for it, so one of two begins.
    channel    asked for when a handshake to a peer is due and no relay to it is known, or the first try had no
               answer, and when a supernode lists a peer again; both ends are told
    unlisted   no directory names it any more: forgotten, unless the session with it lives

What a supernode says is a hint. It can name peers and addresses that do not exist, which costs a few datagrams; it
cannot make a peer of anybody, for that takes a certificate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from l2mesh.core.deadlines import Deadlines
from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.supernode_link import LinkNode, SupernodeLink
from l2mesh.wire.control import (
    Channel,
    ChannelRequest,
    Control,
    DirectoryPage,
    Entry,
    Goodbye,
    Registered,
    Unregister,
)
from l2mesh.wire.outer import parse_key_reply, relay_header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from l2mesh.core.peer import Peer, Via
    from l2mesh.core.punching import Punching
    from l2mesh.core.remote_edge import RemoteEdge
    from l2mesh.wire.address import Address

LEAVE_TO_NEWCOMER_S: Final = 1.0
"""Who is there already begins no handshake before, and after a random time up to as long again."""


class RendezvousNode(LinkNode, Protocol):
    """What the rendezvous needs of its edge, beside what its links need."""

    drops: Drops
    edges: dict[bytes, RemoteEdge]

    def edge_for(self, public_key: bytes, now: float) -> RemoteEdge | None: ...
    def let_go(self, edge: RemoteEdge, now: float) -> None: ...
    def hinted(self, edge: RemoteEdge, now: float) -> None: ...
    def try_initiation_on(self, peer: RemoteEdge, via: Via, now: float) -> None: ...


class Rendezvous:
    """Doors: set_addresses, receive, receive_key_reply, request_channels, moved, close; handle_timer, next_at."""

    def __init__(
        self,
        node: RendezvousNode,
        punching: Punching,
        supernodes: Sequence[tuple[str, bytes | None]],
        *,
        relays: bool,
    ) -> None:
        """`supernodes`: name and known key of each. `relays`: whether frames may be relayed."""
        self.links = [SupernodeLink(node, name, key) for name, key in supernodes]
        self.by_peer: dict[Peer, SupernodeLink] = {}
        self._node = node
        self._punching = punching
        self._relays = relays
        self._deadlines: Deadlines[SupernodeLink] = Deadlines()

    def observed_addresses(self) -> list[Address]:
        return [link.observed for link in self.links if link.observed is not None]

    def set_addresses(self, name: str, addresses: list[Address], now: float) -> None:
        """What DNS says of a supernode's name."""
        for link in self.links:
            if link.name == name and addresses:
                link.set_addresses(addresses, now)

    def moved(self, now: float) -> None:
        """Our addresses changed, or we slept: register anew."""
        for link in self.links:
            link.renew(now)
            self.wake(link, now)

    def close(self, now: float) -> None:
        for link in self.links:
            if link.peer is not None:
                self._node.send_control(link.peer, Unregister(), now)
                self._node.send_control(link.peer, Goodbye(), now)

    # ---- timers

    def wake(self, link: SupernodeLink, at: float) -> None:
        self._deadlines.wake(link, at)

    def handle_timer(self, now: float) -> None:
        for link in self._deadlines.pop_due(now):
            self.wake(link, link.turn(now))

    def next_at(self) -> float:
        return self._deadlines.first_at

    # ---- messages

    def receive(self, link: SupernodeLink, message: Control, now: float) -> None:
        if isinstance(message, Registered) and message.epoch != link.directory.epoch:
            self.renew_channels(link, now)
        if isinstance(message, DirectoryPage):
            self._receive_page(link, message, now)
        elif isinstance(message, Channel):
            self._receive_channel(link, message, now)
        elif isinstance(message, Goodbye):
            link.left(now)
        elif not link.receive(message, now):
            self._node.drops.count(DropReason.UNKNOWN_KIND)
        self.wake(link, now)

    def receive_key_reply(self, source: Address, datagram: bytes, now: float) -> None:
        """Raises BadPacket."""
        nonce, public_key = parse_key_reply(datagram)
        asked = [link for link in self.links if source in link.addresses]
        if not any(link.receive_key(nonce, public_key, now) for link in asked):
            self._node.drops.count(DropReason.NOT_AUTHENTIC)

    def is_relay(self, source: Address) -> bool:
        """Whether relayed datagrams may come from there."""
        return self._relays and any(source in link.addresses for link in self.links)

    def request_channels(self, edge: RemoteEdge, now: float) -> bool:
        """Ask every supernode that lists a peer for a relay to it; False when there is none."""
        asked = [self._request_channel(link, edge, now) for link in self.links if link in edge.listed_by]
        return any(asked)

    def _request_channel(self, link: SupernodeLink, edge: RemoteEdge, now: float) -> bool:
        if not self._relays or link.peer is None:
            return False
        return self._node.send_control(link.peer, ChannelRequest(edge.public_key), now)

    def renew_channels(self, link: SupernodeLink, now: float) -> None:
        """This supernode forgot its channels, or is reached at another address: ask for them anew.

        One that restarted answers for those who have registered again; the others it will list later.
        """
        for edge in self._node.edges.values():
            via = edge.channels.pop(link, None)
            if via is not None:
                edge.paths.remove(via)
                self._request_channel(link, edge, now)

    # ---- directory

    def _receive_page(self, link: SupernodeLink, page: DirectoryPage, now: float) -> None:
        we_are_new = not link.directory.synchronized
        changes = link.directory.receive(page)
        if changes is None:
            return
        link.page_received(now)
        for entry in changes.changed:
            self._listed(link, entry, now, we_are_new=we_are_new)
        for entry in page.entries:
            edge = self._node.edges.get(entry.public_key)
            if (
                edge is not None
                and entry.instance
                and link not in edge.channels
                and (edge.up or edge.attempts > 1)
            ):
                self._request_channel(link, edge, now)
        for key in changes.gone:
            self._unlisted(link, key, now)

    def _listed(self, link: SupernodeLink, entry: Entry, now: float, *, we_are_new: bool) -> None:
        edge = self._node.edge_for(entry.public_key, now)
        if edge is None:
            return
        edge.listed_by.add(link)
        edge.name = edge.name or entry.name
        known = [one.directory.entries.get(entry.public_key) for one in self.links]
        edge.says_it_relays = any(one is not None and one.relays for one in known)
        self._node.hinted(edge, now)
        self._punching.listed(edge, link, entry, now)
        if edge.wanted_at is None:
            edge.attempts = 0
            edge.wanted_at = now if we_are_new else now + LEAVE_TO_NEWCOMER_S * (1 + self._node.chance())
        self._node.wake_peer(edge, max(now, edge.wanted_at))

    def _unlisted(self, link: SupernodeLink, key: bytes, now: float) -> None:
        edge = self._node.edges.get(key)
        if edge is None:
            return
        edge.listed_by.discard(link)
        self._punching.unlisted(edge, link)
        via = edge.channels.pop(link, None)
        if via is not None:
            edge.paths.remove(via)
        if not edge.listed_by and not edge.up:
            self._node.let_go(edge, now)

    # ---- relay channels

    def _receive_channel(self, link: SupernodeLink, message: Channel, now: float) -> None:
        edge = self._node.edge_for(message.public_key, now)
        if edge is None or not self._relays or link.peer is None or link.peer.via is None:
            return
        via: Via = (link.peer.via[0], relay_header(message.channel))
        before = edge.channels.get(link)
        if before == via:
            return
        if before is not None:
            edge.paths.remove(before)
        edge.channels[link] = via
        path = edge.paths.add_relay(via, now)
        if path is not None and edge.up:
            edge.paths.check(path, now)
        if not edge.up and edge.wanted_at is not None and edge.wanted_at <= now:
            self._node.try_initiation_on(edge, via, now)
        self._node.wake_peer(edge, now)
