"""Where those who wait for a probe's answer and the events of the engine meet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from l2mesh.core.events import ProbeAnswered


class PingBoard:
    """Doors: answered(event), from the daemon's on_event; answer_to(transaction), from a route. One loop."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, asyncio.Future[float]] = {}

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def answered(self, event: ProbeAnswered) -> None:
        """A probe came back; nobody may be waiting for it any more."""
        waiting = self._waiting.get(event.transaction)
        if waiting is not None and not waiting.done():
            waiting.set_result(event.rtt)

    async def answer_to(self, transaction: bytes, timeout: float) -> float:
        """The round-trip time of a probe, in seconds. TimeoutError after `timeout` seconds.

        Call it before the loop runs again after the probe was sent, or the answer may be missed.
        """
        waiting: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting[transaction] = waiting
        try:
            async with asyncio.timeout(timeout):
                return await waiting
        finally:
            del self._waiting[transaction]
