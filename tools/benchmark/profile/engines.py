"""Two edge engines with a session, and nothing around them: no TAP, no socket, no clock that moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from l2mesh.core.arena import Arena
from l2mesh.core.edge import EdgeEngine
from l2mesh.core.plain_run import PlainArea
from l2mesh.core.remote_edge import RemoteEdge
from l2mesh.core.session import Keypair
from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import Mesh, frame, mac_of
from l2mesh.wire.outer import Buffer
from l2mesh.wire.receive_area import ReceiveArea

UP_S, SETTLED_S = 5.0, 3.0
"""Of simulated time: by then they have found each other, and the path's MTU."""
SENDER, RECEIVER = "sender", "receiver"
SEED = 3
AREA_SIZE = 1 << 16


class Pair:
    """`sender` has frames for `receiver`. `now` is theirs."""

    def __init__(self) -> None:
        mesh = Mesh(SEED, Link(delay=0.0005))
        mesh.supernode("hub")
        site = mesh.world.site(nat=None)
        nodes = [mesh.edge(name, site) for name in (SENDER, RECEIVER)]
        mesh.world.run_until(mesh.all_up, within=UP_S)
        mesh.world.run(SETTLED_S)
        self.sender_mac, self.receiver_mac = mac_of(SENDER), mac_of(RECEIVER)
        # Each learns the other's station.
        nodes[1].send_frames([frame(self.sender_mac, self.receiver_mac)])
        mesh.world.run(0.1)
        nodes[0].send_frames([frame(self.receiver_mac, self.sender_mac)])
        mesh.world.run(0.1)
        self.now: float = mesh.world.now
        self.sender: EdgeEngine = nodes[0].engine
        self.receiver: EdgeEngine = nodes[1].engine
        self.to_receiver: RemoteEdge = self.sender.edges[mesh.key_of(RECEIVER)]
        self.from_sender: RemoteEdge = self.receiver.edges[mesh.key_of(SENDER)]
        via = self.from_sender.via
        assert via is not None
        self.sender_address = via[0]
        self.arena = Arena()
        self.plain_area = PlainArea()
        self._areas: list[ReceiveArea] = []

    def received(self, trains: Sequence[tuple[Buffer, int]]) -> list[tuple[memoryview, int]]:
        """The trains where a socket would put them, the same memory again each time (shell/mmsg.py)."""
        self._areas += [ReceiveArea.make(AREA_SIZE) for _ in range(len(trains) - len(self._areas))]
        came = []
        for area, (data, size) in zip(self._areas, trains, strict=False):
            area[: len(data)] = bytes(data)
            came.append((memoryview(area)[: len(data)], size))
        return came

    @property
    def sealing(self) -> Keypair:
        return _current(self.to_receiver)

    @property
    def opening(self) -> Keypair:
        return _current(self.from_sender)

    def dropped(self) -> dict[Any, int]:
        """What either engine counted as lost so far."""
        return {**self.sender.drops.as_dict(), **self.receiver.drops.as_dict()}


def _current(edge: RemoteEdge) -> Keypair:
    keypair = edge.session.current
    assert keypair is not None
    return keypair
