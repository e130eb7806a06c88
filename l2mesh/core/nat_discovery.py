"""What kind of NAT this edge is behind: asked of its supernodes, and of STUN servers that the file names.

    addresses known, or moved     a survey (nat_survey.py) of each IP version that has a socket and servers
    every 10 minutes              another one: providers renumber, routers are replaced
    nobody answered               another one after a minute
    sample(now)                   one more port of a NAT that counts, just before it is to be guessed

Nothing waits for it: frames flow by the relay meanwhile. What was known holds until a survey knows better; after a
move that is when it ends, or when it has found how we are mapped. Where the relay is to be used always, nothing is
asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import structs

from l2mesh.core.drops import DropReason, Drops
from l2mesh.core.events import Event, NatFound
from l2mesh.core.nat import UNKNOWN_BEHAVIOUR, AllocationKind, Mapping, NatBehaviour
from l2mesh.core.nat_questions import Ask, Question, first_number, nearest_server
from l2mesh.core.nat_survey import Survey
from l2mesh.core.stun_client import Outcome, StunClient
from l2mesh.core.token_bucket import TokenBucket
from l2mesh.wire.address import Address, SideAddress, ip_version, is_sendable
from l2mesh.wire.stun import BindingAnswer, BindingRequest, parse_stun

if TYPE_CHECKING:
    from l2mesh.core.reach import Reach
    from l2mesh.wire.control import NatReport

SURVEY_EVERY_S: Final = 600.0
SURVEY_JITTER: Final = 0.1
ASK_AGAIN_S: Final = 60.0
SURVEYS_APART_S: Final = 5.0
SURVEYS_BURST: Final = 3.0
"""A move is often noticed twice or thrice within a second: by netlink, by a supernode. But a supernode that lies
about our address makes us ask no more often than each 5 s."""
NAMES_MAX: Final = 32
"""A file has at most 64 supernodes, of which a survey asks eight addresses anyway."""
ADDRESSES_PER_NAME: Final = 2
"""Of each IP version: a name of many servers is for sharing their load, not to ask them all."""
SAMPLES_APART_S: Final = 0.1
SAMPLE_NUMBERS: Final = 8
SAMPLE_OFFSET: Final = 100
"""Side sockets of single samples are numbered behind those of a survey, in turns: one that was just closed is not
to be used again, for its mapping is still there."""


class DiscoveryNode(Protocol):
    """What the discovery needs of its edge."""

    drops: Drops
    local_hosts: list[str]
    local_ports: dict[int, int]

    def send_plain(self, datagram: bytes, address: Address) -> None: ...
    def close_side_sockets(self, numbers: list[int]) -> None: ...
    def random_bytes(self, size: int) -> bytes: ...
    def chance(self) -> float: ...
    def nat_changed(self, now: float) -> None: ...
    def nat_sampled(self, now: float) -> None: ...
    def tell(self, event: Event) -> None: ...


class NatDiscovery:
    """Doors: set_servers, receive, moved, sample; handle_timer, next_at; report, behaviours, more_addresses."""

    def __init__(self, node: DiscoveryNode, reach: Reach, now: float) -> None:
        self.behaviours: dict[int, NatBehaviour] = {4: UNKNOWN_BEHAVIOUR, 6: UNKNOWN_BEHAVIOUR}
        """By IP version."""
        self._node = node
        self._reach = reach
        self._client: StunClient[Question] = StunClient(node.send_plain, node.random_bytes)
        self._servers: dict[str, list[Address]] = {}
        self._surveys: dict[int, Survey] = {}
        self._survey_at = float("inf")
        self._budget = TokenBucket(1 / SURVEYS_APART_S, SURVEYS_BURST, now)
        self._moved = False
        self._stale: set[int] = set()
        """IP versions of which nothing is known since we moved."""
        self._told: object = self._what_others_need()
        self._classes = {version: _class_of(behaviour) for version, behaviour in self.behaviours.items()}
        """That were told."""
        self._sampled_at = float("-inf")
        self._samples_taken = 0

    # ---- doors

    def set_servers(self, name: str, addresses: list[Address], now: float) -> None:
        """What DNS says of a server's name."""
        kept = [
            address
            for version in (4, 6)
            for address in sorted(one for one in addresses if ip_version(one[0]) == version)[:ADDRESSES_PER_NAME]
        ]
        if kept == self._servers.get(name) or (name not in self._servers and len(self._servers) >= NAMES_MAX):
            return
        self._servers[name] = kept
        if self._surveys:
            self._add_servers(name, kept, now)
        else:
            self._plan(now)

    def moved(self, now: float) -> None:
        """Our addresses or routes changed, or the NAT's: what is under way would mix the old with the new."""
        self._moved = True
        self._stale = {4, 6}
        self._client.cancel(lambda question: question.survey is not None)
        for survey in self._surveys.values():
            self._node.close_side_sockets(survey.numbers())
        self._surveys.clear()
        self._plan(now)

    def sample(self, now: float) -> bool:
        """Take a fresh port from a NAT that counts: node.nat_sampled says when `report().last` is it.

        False: the allocation is no sequence, or no server answers, so there is nothing to wait for.
        """
        version = self._version()
        behaviour = self.behaviours[version]
        server = nearest_server(behaviour.servers)
        if behaviour.allocation.kind is not AllocationKind.SEQUENTIAL or server is None:
            return False
        under_way = any(question.survey is None for question in self._client.under_way())
        if now - self._sampled_at >= SAMPLES_APART_S and not under_way:
            self._sampled_at = now
            self._samples_taken += 1
            number = first_number(version) + SAMPLE_OFFSET + self._samples_taken % SAMPLE_NUMBERS
            question = Question(None, Ask.SAMPLE, number)
            self._client.ask(SideAddress(*server.address, number), question, now, server.rtt)
        return True

    def receive(self, source: Address, datagram: bytes, now: float) -> None:
        """Raises BadPacket."""
        message = parse_stun(datagram)
        if isinstance(message, BindingRequest):
            question = self._client.own(message)
            if question is None:
                self._node.drops.count(DropReason.UNKNOWN_TYPE)  # an edge is nobody's STUN server
            elif question.survey is not None:
                question.survey.received_own(question, now)
        else:
            outcome = self._client.receive(source, message, now)
            if outcome is None:
                self._node.drops.count(DropReason.UNASKED)
            else:
                self._concluded(outcome, now)
        self._look_at_surveys(now)

    def handle_timer(self, now: float) -> None:
        for outcome in self._client.handle_timer(now):
            self._concluded(outcome, now)
        self._look_at_surveys(now)
        if now >= self._survey_at:
            if self._budget.take(1, now):
                self._begin_surveys(now)
            else:
                self._survey_at = now + SURVEYS_APART_S

    def next_at(self) -> float:
        repeat_at = self._client.next_at()
        return self._survey_at if repeat_at is None else min(self._survey_at, repeat_at)

    # ---- what is known

    def report(self) -> NatReport:
        """For calls: of IPv4, where most NATs are, if its servers answer, else of IPv6."""
        return self.behaviours[self._version()].report()

    def lasting_report(self) -> NatReport:
        """For the directory: without the last port, which would be news all the time, and old when it is read."""
        return structs.replace(self.report(), last=0)

    def more_addresses(self, known: list[Address]) -> list[Address]:
        """Where servers see our main sockets, beside what is known.

        Where the mapping depends on the destination, each server sees another port, which is good for nobody
        else: so one address of each host will do.
        """
        more: list[Address] = []
        for version, behaviour in self.behaviours.items():
            for address in behaviour.reflexive_addresses() if version not in self._stale else ():
                if address in known:  # mostly, and asked for each peer
                    continue
                hosts = {host for host, _ in known + more}
                dependent = behaviour.mapping.depends_on_destination
                if is_sendable(address) and not (dependent and address[0] in hosts):
                    more.append(address)
        return more

    def _version(self) -> int:
        waiting = 4 in self._surveys
        return 6 if self.behaviours[6].answered and not self.behaviours[4].answered and not waiting else 4

    # ---- surveys

    def _plan(self, now: float) -> None:
        if self._reach.direct and any(self._servers.values()):
            self._survey_at = now

    def _begin_surveys(self, now: float) -> None:
        self._survey_at = float("inf")
        for version in self._node.local_ports:
            survey = Survey(self._client, version, self._own_addresses(version), self._may_ask)
            survey.moved = self._moved
            self._surveys[version] = survey
        self._moved = False
        for name, addresses in self._servers.items():
            self._add_servers(name, [one for one in addresses if ip_version(one[0]) in self._surveys], now)
        self._look_at_surveys(now)

    def _add_servers(self, name: str, addresses: list[Address], now: float) -> None:
        """To the surveys under way; where there is none, there is to be one."""
        for address in addresses:
            survey = self._surveys.get(ip_version(address[0]))
            if survey is None:
                self._plan(now)
            elif not self._reach.is_overlay(address[0]):
                survey.add_server(name, address, now)

    def _concluded(self, outcome: Outcome[Question], now: float) -> None:
        survey = outcome.key.survey
        if survey is not None:
            survey.concluded(outcome, now)
        else:
            self._fresh_sample(outcome, now)

    def _fresh_sample(self, outcome: Outcome[Question], now: float) -> None:
        number = outcome.key.number
        self._node.close_side_sockets([number])
        if isinstance(outcome.answer, BindingAnswer):
            version = ip_version(outcome.address[0])
            before = self.behaviours[version]
            allocation = replace(before.allocation, last=outcome.answer.mapped[1])
            self.behaviours[version] = replace(before, allocation=allocation)
            self._node.nat_sampled(now)

    def _look_at_surveys(self, now: float) -> None:
        """Take what is known, and tell it."""
        for version, survey in list(self._surveys.items()):
            if survey.presentable or survey.ended:
                self.behaviours[version] = survey.behaviour(self.behaviours[version], now)
                self._stale.discard(version)
            if survey.ended:
                del self._surveys[version]
                self._tell_class(version)
                self._node.close_side_sockets(survey.numbers())
                if not self._surveys:
                    self._plan_next(now)
        told = self._what_others_need()
        if told != self._told:
            self._told = told
            self._node.nat_changed(now)

    def _tell_class(self, version: int) -> None:
        behaviour = self.behaviours[version]
        found = _class_of(behaviour)
        if found != self._classes[version] and behaviour.mapping is not Mapping.UNKNOWN:
            self._classes[version] = found
            self._node.tell(NatFound(version, behaviour))

    def _plan_next(self, now: float) -> None:
        answered = any(behaviour.answered for behaviour in self.behaviours.values())
        every = SURVEY_EVERY_S if answered else ASK_AGAIN_S
        self._survey_at = min(self._survey_at, now + every * (1 - SURVEY_JITTER * self._node.chance()))

    def _what_others_need(self) -> object:
        """When this changes, registrations and calls are to say so."""
        reflexive = [behaviour.reflexive_addresses() for behaviour in self.behaviours.values()]
        return self.lasting_report(), reflexive

    def _own_addresses(self, version: int) -> Callable[[], set[Address]]:
        def own() -> set[Address]:
            port = self._node.local_ports.get(version, 0)
            return {(host, port) for host in self._node.local_hosts if ip_version(host) == version}

        return own

    def _may_ask(self, address: Address) -> bool:
        return is_sendable(address) and self._reach.may_try(address)


def _class_of(behaviour: NatBehaviour) -> object:
    """What is worth a line of the log: not each port."""
    return behaviour.mapping, behaviour.filtering, behaviour.allocation.kind
