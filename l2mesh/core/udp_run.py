"""The receiver's side of core/udp_flow.py: consecutive frames of one flow are written as one superframe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from l2mesh.core.run_headers import run_headers
from l2mesh.core.udp_flow import Flow, comparands, read_flow
from l2mesh.wire import ip
from l2mesh.wire.plaintext import ITEM_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from l2mesh.core.run_headers import Delivery


class Item(NamedTuple):
    """A frame in a bundle. `at`: where its item header begins; `length`: of the frame."""

    bundle: bytes
    at: int
    length: int
    csum_start: int

    @property
    def transport(self) -> bytes:
        """The UDP header: ports, length, partial checksum."""
        start = self.at + ITEM_SIZE + self.csum_start
        return self.bundle[start : start + ip.UDP_HEADER_SIZE]

    def flow(self) -> Flow | None:
        start = self.at + ITEM_SIZE
        return read_flow(self.bundle[start : start + self.csum_start + ip.UDP_HEADER_SIZE], self.length)

    def payload(self, flow: Flow) -> bytes:
        end = self.at + ITEM_SIZE + self.length
        return self.bundle[end - self.length + flow.shape.length : end]


class UdpRuns:
    """Finds the runs among frames that are offered one after the other.

    The reader of bundles sees by itself whether a frame is one more of the open run (`length` and `compare`
    say so), and adds the payload to `run`. It offers any other UDP frame here, and calls close() before
    anything else is delivered, and in the end.
    """

    __slots__ = (
        "_candidate",
        "_deliveries",
        "_flow",
        "busy",
        "comparand",
        "compare",
        "full",
        "length",
        "payload_at",
        "run",
    )

    def __init__(self, deliveries: list[Delivery]) -> None:
        self._deliveries = deliveries
        self._candidate: Item | None = None  # the frame before, which may turn out to begin a run
        self._flow: Flow | None = None  # of the open run
        self.run: Delivery = []  # the delivery of the candidate or of the open run
        self.busy = False  # whether the next frame may continue something
        self.length = 0  # of the frames of the open run; 0: none is open
        self.full = 0  # len(run) when it has as many datagrams as there may be
        self.payload_at = 0  # from an item's beginning
        self.compare: Callable[..., tuple[Any, ...]] = lambda *_: ()
        self.comparand: tuple[Any, ...] = ()

    def offer(self, item: Item, delivery: Delivery) -> None:
        """A frame that is not one more of the open run. `delivery`: it by itself."""
        candidate = self._candidate
        if self._flow:
            if self._ends(self._flow, item):
                return
        elif candidate and candidate.length == item.length and candidate.transport == item.transport:
            flow = candidate.flow()
            if flow and self._begins(flow, candidate, item):
                return
        if self._flow:
            self.close()
        self._candidate = item
        self.busy = True
        self.run = delivery
        self._deliveries.append(delivery)

    def close(self) -> None:
        """End the open run: now its headers can be written."""
        flow = self._flow
        if flow:
            total = sum(map(len, self.run))
            self.run[0] = run_headers(flow.headers, flow.shape, flow.size, 0, total, True)
        self._candidate = None
        self._flow = None
        self.busy = False
        self.length = 0

    def _ends(self, flow: Flow, item: Item) -> bool:
        """Whether `item` is a shorter last datagram of the open run; if so the run is complete."""
        if item.length >= self.length or len(self.run) >= self.full:
            return False
        other = item.flow()
        if not other or not other.is_flow_of(flow):
            return False
        self.run.append(item.payload(other))
        self.close()
        return True

    def _begins(self, flow: Flow, first: Item, second: Item) -> bool:
        """Whether a run begins with these two; if so it is open now."""
        compare = comparands(flow.shape)
        comparand = compare(first.bundle, first.at)
        if compare(second.bundle, second.at) != comparand or flow.datagrams_max < 2:
            return False
        self._flow = flow
        self.compare = compare
        self.comparand = comparand
        self.length = first.length
        self.full = 1 + flow.datagrams_max
        self.payload_at = ITEM_SIZE + flow.shape.length
        self.run[:] = [b"", first.payload(flow), second.payload(flow)]
        return True
