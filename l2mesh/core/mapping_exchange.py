"""One request to a router and what becomes of it: repeated until there is an outcome, or nothing comes."""

from __future__ import annotations

from typing import Final

from l2mesh.core.mapping_protocols import (
    Conversation,
    Deleted,
    Gateway,
    Granted,
    MappingProtocol,
    NatPmpConversation,
    Outcome,
    PcpConversation,
    Silent,
    UpnpJob,
)
from l2mesh.wire.errors import BadPacket

TRY_AGAIN_S: Final = (0.25, 0.5, 1.0, 2.0)
"""RFC 6886's beginning. A router on our own LAN answers within milliseconds: RFC 6887's 3 s and more are for
servers across a carrier's network, and would keep the next protocol waiting."""
JOB_MOST_S: Final = 30.0
"""A UPnP job that was never heard of again."""


class Exchange:
    """At most one is under way. Doors: ask, stop, receive, refused, job_done, handle_timer; take_datagrams,
    take_job, next_at. Those that take something in return the outcome, or None while there is none.
    """

    def __init__(self, nonce: bytes) -> None:
        self.next_at = float("inf")
        self.bad_answers = 0
        """Datagrams that were no answer to us."""
        self._nonce = nonce
        self._conversation: Conversation | None = None
        self._port = 0
        self._lifetime = 0
        self._tries = 0
        self._bad_before = 0
        self._datagrams: list[bytes] = []
        self._job: UpnpJob | None = None
        self._jobs: list[UpnpJob] = []

    @property
    def under_way(self) -> bool:
        return self.next_at != float("inf")

    # ---- doors

    def ask(
        self, protocol: MappingProtocol, gateway: Gateway, ports: tuple[int, ...], lifetime: int, now: float
    ) -> None:
        """Map one of these ports outside (PCP and NAT-PMP: the first, as a wish); with lifetime 0, unmap it."""
        self.stop()
        if protocol is MappingProtocol.UPNP:
            self._job = UpnpJob(
                "map" if lifetime else "delete", gateway.own_host, gateway.own_port, ports, lifetime
            )
            self._jobs.append(self._job)
            self.next_at = now + JOB_MOST_S
            return
        self._conversation = (
            PcpConversation(gateway, self._nonce)
            if protocol is MappingProtocol.PCP
            else NatPmpConversation(gateway)
        )
        self._port, self._lifetime = ports[0], lifetime
        self._tries, self._bad_before = 0, self.bad_answers
        self._send(now)

    def stop(self) -> None:
        """Nobody waits for an outcome any more."""
        self._conversation = self._job = None
        self.next_at = float("inf")

    def add_job(self, job: UpnpJob) -> None:
        """One more thing to do, whose outcome nobody waits for."""
        self._jobs.append(job)

    def receive(self, datagram: bytes) -> Outcome | None:
        """From the router's port."""
        if self._conversation is None:  # it comes late, or nobody asked for it
            self.bad_answers += 1
            return None
        try:
            outcome = self._conversation.receive(datagram)
        except BadPacket:
            self.bad_answers += 1
            return None
        late = Deleted if self._lifetime else Granted  # the answer to what was asked before
        return None if outcome is None or isinstance(outcome, late) else self._ended(outcome)

    def refused(self) -> Outcome | None:
        """An ICMP error: nothing listens at the router's port."""
        return self._ended(Silent("no answer")) if self._conversation is not None else None

    def job_done(self, job: UpnpJob, outcome: Outcome) -> Outcome | None:
        return self._ended(outcome) if job is self._job else None

    def handle_timer(self, now: float) -> Outcome | None:
        if now < self.next_at:
            return None
        if self._conversation is None or self._tries == len(TRY_AGAIN_S):
            bad = self._conversation is not None and self.bad_answers > self._bad_before
            return self._ended(Silent("no usable answer" if bad else "no answer"))
        self._send(now)
        return None

    def take_datagrams(self) -> list[bytes]:
        datagrams, self._datagrams = self._datagrams, []
        return datagrams

    def take_job(self) -> UpnpJob | None:
        return self._jobs.pop(0) if self._jobs else None

    # ---- details

    def _send(self, now: float) -> None:
        assert self._conversation is not None
        self._datagrams += self._conversation.requests(self._port, self._lifetime)
        self.next_at = now + TRY_AGAIN_S[self._tries]
        self._tries += 1

    def _ended(self, outcome: Outcome) -> Outcome:
        self.stop()
        return outcome
