"""Thousands of registrants in one process: edges of a hundred networks, started and watched on command."""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any, Final

from l2mesh.shell.clock import now
from scaling.figures import spread
from scaling.identities import Network
from scaling.registrant import Registrant, Tally
from scaling.swarm import Answer, Member, Swarm

SPARE_DESCRIPTORS: Final = 64


class Registrants:
    def __init__(self, settings: dict[str, Any]) -> None:
        self._host: str = settings["host"]
        self._supernode = (settings["supernode"][0], int(settings["supernode"][1]))
        self._supernode_key = bytes.fromhex(settings["supernode_key"])
        self._networks = [Network.of_secret(os.urandom(32)) for _ in range(settings["networks"])]
        self._members: list[Member[Registrant]] = []
        self._tally = Tally()
        self._swarm = Swarm[Registrant](Path(settings["control"]), self._answer, lambda member: None)
        self._to_start: list[Member[Registrant]] = []
        self._made = 0
        limit = settings["most"] + SPARE_DESCRIPTORS
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (limit, max(limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        )

    def run(self) -> None:
        self._swarm.run()

    # ---- commands

    def _answer(self, question: Answer) -> Answer:
        what = question.pop("what")
        answer: Answer = getattr(self, what)(**question)
        return answer

    def make(self, count: int) -> Answer:
        """Keys, certificates and sockets for `count` more, which are not started yet."""
        made = [self._make_one() for _ in range(count)]
        self._to_start += made
        gc.freeze()  # a look at millions of objects would be half a second of everybody's latency
        return {"waiting": len(self._to_start)}

    def start(self, per_second: float) -> Answer:
        """Start all that were made, at an even pace."""
        begun_at, batch = now(), self._to_start
        self._to_start = []
        started = 0

        def go_on(moment: float) -> float | None:
            nonlocal started
            due = min(len(batch), 1 + int((moment - begun_at) * per_second))
            for member in batch[started:due]:
                member.engine.start(moment)
                self._swarm.flush(member)
            started = due
            return begun_at + started / per_second if started < len(batch) else None

        self._members += batch
        self._swarm.start_task(go_on)
        return {"starting": len(batch)}

    def leave(self, count: int) -> Answer:
        """The last `count` unregister and are gone."""
        leaving, self._members = self._members[-count:], self._members[:-count]
        for member in leaving:
            member.engine.close(now())
            self._swarm.flush(member)
            self._swarm.remove(member)
        return {"members": len(self._members)}

    def state(self) -> Answer:
        registered = sum(member.engine.registered for member in self._members)
        behind = sum(member.engine.link.directory.request() is not None for member in self._members)
        return {"registered": registered, "behind": behind}

    def tally(self) -> Answer:
        """What was counted since the last call."""
        tally = self._tally
        answer = {
            "initiations": sum(tally.initiations.values()),
            "initiations_peak": max(tally.initiations.values(), default=0),
            "cookies": tally.cookies,
            "pages": tally.pages,
            "joined": spread(tally.joined),
            "renewed": spread(tally.renewed),
            "returned_at": spread(tally.returned_at),
            "unsent": self._swarm.unsent,
        }
        tally.clear()
        return answer

    # ---- members

    def _make_one(self) -> Member[Registrant]:
        number = self._made
        self._made += 1
        network = self._networks[number % len(self._networks)]
        identity = network.member(f"edge{number}")
        authority = network.authority.public
        moment = now()
        engine = Registrant(identity, authority, self._supernode, self._supernode_key, self._tally, moment)
        member = Member(engine, (self._host, 0))
        engine.set_local_addresses([self._host], {4: member.port}, moment)
        self._swarm.add(member)
        return member


if __name__ == "__main__":
    Registrants(json.loads(sys.argv[1])).run()
