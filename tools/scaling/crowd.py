"""The peers of the measured edge: whole edge engines, which know nobody but it.

They are members of one network, and were they to find each other there would be half a million sessions.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from l2mesh.core.directory import Directory
from l2mesh.core.edge import Delivery, EdgeEngine, EdgeSettings, SupernodeName
from l2mesh.core.events import PeerDown, PeerUp
from l2mesh.core.remote_edge import RemoteEdge
from l2mesh.core.session_node import Surroundings
from l2mesh.crypto.tai64n import ReplayGuard
from l2mesh.shell.clock import now, wall_offset
from l2mesh.wire.control import DirectoryRequest
from scaling.identities import Network, timestamps
from scaling.swarm import Answer, Member, Swarm

ETHER_TYPE: Final = b"\x88\xb5"
"""Local experimental (IEEE 802, table of public EtherTypes): nothing else in the TAP has it."""
TYPE_AT: Final = slice(10 + 12, 10 + 14)
NUMBER_AT: Final = slice(10 + 14, 10 + 22)


class Incurious(Directory):
    """Never asks who else is in the network."""

    def request(self) -> DirectoryRequest | None:
        return None


class PeerOfOne(EdgeEngine):
    """Has one peer. That one comes to us: who is new begins the handshakes."""

    only: bytes

    def edge_for(self, public_key: bytes, now: float) -> RemoteEdge | None:
        return super().edge_for(public_key, now) if public_key == self.only else None


class Crowd:
    def __init__(self, settings: dict[str, Any]) -> None:
        self._host: str = settings["host"]
        self._only = bytes.fromhex(settings["edge_key"])
        self._supernode = (settings["supernode"][0], int(settings["supernode"][1]))
        self._supernode_key = bytes.fromhex(settings["supernode_key"])
        self._network = Network.of_secret(bytes.fromhex(settings["secret"]))
        self._members: list[Member[PeerOfOne]] = []
        self._up: dict[bytes, float] = {}
        self._broadcasts: dict[
            int, tuple[int, float, float]
        ] = {}  # number -> how many, last arrived, last delivered
        self._swarm = Swarm[PeerOfOne](Path(settings["control"]), self._answer, self._after)

    def run(self) -> None:
        self._swarm.run()

    # ---- commands

    def _answer(self, question: Answer) -> Answer:
        what = question.pop("what")
        answer: Answer = getattr(self, what)(**question)
        return answer

    def add(self, count: int) -> Answer:
        for _ in range(count):
            self._add_one()
        gc.freeze()  # a look at all objects takes longer than a broadcast
        return {"members": len(self._members)}

    def registered(self) -> Answer:
        links = (member.engine.rendezvous.links[0] for member in self._members)
        return {"registered": sum(link.registered_at is not None for link in links)}

    def sessions(self) -> Answer:
        """How many are up, and when the last of them came up."""
        return {"up": len(self._up), "last_at": max(self._up.values(), default=0.0)}

    def paths(self) -> Answer:
        kinds: dict[str, int] = {}
        for member in self._members:
            edge = member.engine.edges.get(self._only)
            selected = edge.paths.selected if edge else None
            kind = selected.describe().split()[0] if selected else "none"
            kinds[kind] = kinds.get(kind, 0) + 1
        return kinds

    def broadcasts(self) -> Answer:
        """By number: how many delivered it, when the last datagram was there, when the last was delivered."""
        found, self._broadcasts = self._broadcasts, {}
        return {str(number): values for number, values in found.items()}

    # ---- members

    def _add_one(self) -> None:
        moment = now()
        identity = self._network.member(f"peer{len(self._members)}")
        settings = EdgeSettings(
            self._network.authority.public,
            b"\x02" + os.urandom(5),
            supernodes=(SupernodeName("supernode", self._supernode_key),),
        )
        engine = PeerOfOne(
            identity,
            settings,
            Surroundings(os.urandom, timestamps(), ReplayGuard()),
            moment,
        )
        engine.only = self._only
        engine.rendezvous.links[0].directory = Incurious()
        engine.set_wall_clock(wall_offset())
        member = Member(engine, (self._host, 0))
        self._members.append(member)
        self._swarm.add(member)
        engine.set_local_addresses([self._host], {4: member.port}, moment)
        engine.start(moment)
        engine.set_supernode_addresses("supernode", [self._supernode], moment)
        self._swarm.flush(member)

    def _after(self, member: Member[PeerOfOne]) -> None:
        engine = member.engine
        for event in engine.take_events():
            if isinstance(event, PeerUp):
                self._up[engine.identity.static.public] = now()
            elif isinstance(event, PeerDown):
                self._up.pop(engine.identity.static.public, None)
        for delivery in engine.take_frames():
            self._delivered(member, delivery)

    def _delivered(self, member: Member[PeerOfOne], delivery: Delivery) -> None:
        first = bytes(delivery[0])
        if first[TYPE_AT] == ETHER_TYPE:
            number = int.from_bytes(first[NUMBER_AT], "big")
            count, arrived_at, _ = self._broadcasts.get(number, (0, 0.0, 0.0))
            self._broadcasts[number] = (count + 1, max(arrived_at, member.arrived_at), now())


if __name__ == "__main__":
    Crowd(json.loads(sys.argv[1])).run()
