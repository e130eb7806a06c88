"""One look at the NAT before us, for one IP version: what is asked of STUN servers, one thing after the other.

    SERVER      every server, from the main socket: where do you see me?
    ALTERNATE   the other addresses and ports of the first servers that have such, from the main socket
    OPEN        one that has, from a side socket that has sent nowhere else; then from there:
    OTHER_HOST, OTHER_PORT    answer me from your other host, or port: what gets in, the filter lets in
    CONTROL     answer me plainly again: else the silence was not the filter's
    HAIRPIN     from main and side socket to the other's outside address: does it come back in?
    SAMPLE      from eight side sockets, when mappings depend on the destination: which ports do they get?

About 40 datagrams each way, most of them in the second round trip; nothing else waits for any of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from l2mesh.core import nat_classes
from l2mesh.core.candidates import is_private
from l2mesh.core.nat import (
    NO_ALLOCATION,
    Allocation,
    Filtering,
    Mapping,
    NatBehaviour,
    ServerFinding,
)
from l2mesh.core.nat_questions import (
    FILTERING_QUESTIONS,
    MAPPING_QUESTIONS,
    Ask,
    FilterTest,
    Question,
    Sample,
    first_number,
    nearest_server,
    other_address,
    with_rtt,
)
from l2mesh.core.stun_client import Outcome, StunClient
from l2mesh.wire.address import Address, SideAddress, ip_version, is_sendable
from l2mesh.wire.stun import BindingAnswer

SERVERS_MAX: Final = 8
ASKED_FOR_ALTERNATES: Final = 2
SAMPLES: Final = 8
SAMPLE_ROUNDS: Final = 2
"""A second one when so many requests were lost in the first that their order is not known."""


class Survey:
    """Doors: add_server, concluded, received_own; mapping, presentable, ended, behaviour, numbers."""

    def __init__(
        self,
        client: StunClient[Question],
        version: int,
        own: Callable[[], set[Address]],
        may_ask: Callable[[Address], bool],
    ) -> None:
        """`own`: the main socket's addresses on this host; `may_ask`: whether to send to what a server names."""
        self.version = version
        self.moved = False
        """Whether what was known before it began is of another place."""
        self._client = client
        self._own = own
        self._may_ask = may_ask
        self._servers: dict[Address, ServerFinding] = {}
        self._seen: dict[Address, Address] = {}
        self._others_of: set[Address] = set()
        self._test: FilterTest | None = None
        self._samples: dict[int, Sample] = {}
        self._sample_rounds = 0
        self._hairpin: bool | None = None
        self._hairpin_tried = False

    # ---- doors

    def add_server(self, name: str, address: Address, now: float) -> None:
        if address not in self._servers and len(self._servers) < SERVERS_MAX:
            self._servers[address] = ServerFinding(name, address)
            self._client.ask(address, Question(self, Ask.SERVER), now)

    def concluded(self, outcome: Outcome[Question], now: float) -> None:
        """A request of ours was answered, or given up."""
        answer = outcome.answer if isinstance(outcome.answer, BindingAnswer) else None
        match outcome.key.ask:
            case Ask.SERVER:
                self._server_concluded(outcome, answer, now)
            case Ask.ALTERNATE:
                self._saw(outcome.address, answer)
            case Ask.OPEN:
                self._opened(answer, now)
            case Ask.OTHER_HOST | Ask.OTHER_PORT:
                self._tested(outcome, answer, now)
            case Ask.CONTROL:
                self._controlled(answer)
            case Ask.SAMPLE:
                self._sampled(outcome, answer)
            case Ask.HAIRPIN:
                self._hairpin = bool(self._hairpin)
        self._advance(now)

    def received_own(self, question: Question, now: float) -> None:
        """A request of ours came in to us."""
        if question.ask is Ask.HAIRPIN:
            self._hairpin = True
            self._client.cancel(lambda key: key.survey is self and key.ask is Ask.HAIRPIN)
        self._advance(now)

    # ---- what is known so far

    @property
    def mapping(self) -> Mapping:
        return nat_classes.classify_mapping(self._seen, self._own())

    @property
    def filtering(self) -> Filtering:
        test = self._test
        if test is None or test.other is None or self._pending(FILTERING_QUESTIONS):
            return Filtering.UNKNOWN
        port_only = (test.server[0], test.other[1])
        return nat_classes.classify_filtering(
            other_host=test.result(Ask.OTHER_HOST, there=test.other in self._seen),
            other_port=test.result(Ask.OTHER_PORT, there=port_only in self._seen),
        )

    @property
    def allocation(self) -> Allocation:
        if not self.mapping.depends_on_destination:
            return NO_ALLOCATION
        in_order = [sample.port for _, sample in sorted(self._samples.items()) if sample.prompt]
        others = [sample.port for sample in self._samples.values() if not sample.prompt]
        return nat_classes.estimate_allocation(in_order, others)

    @property
    def hairpin(self) -> bool | None:
        """That nothing came back says something only when what we sent to was our mapping for everybody."""
        known = self._hairpin or self.mapping is Mapping.ENDPOINT_INDEPENDENT
        return self._hairpin if known else None

    @property
    def presentable(self) -> bool:
        """Whether what decides how to reach us is known, though the rest may not be."""
        if not self._mapping_is_settled():
            return False
        return not self.mapping.depends_on_destination or not self._pending({Ask.SAMPLE})

    @property
    def ended(self) -> bool:
        return not any(key.survey is self for key in self._client.under_way())

    def behaviour(self, previous: NatBehaviour, now: float) -> NatBehaviour:
        """What is known now. `previous`: what is true until something else is known, if it is of this place."""
        before = NatBehaviour() if self.moved else previous
        mapping = self.mapping or before.mapping
        samples = tuple(sample.port for _, sample in sorted(self._samples.items()))
        allocation = NO_ALLOCATION
        if mapping.depends_on_destination:
            allocation = nat_classes.update_allocation(before.allocation, self.allocation, samples)
        round_trips = {finding.address: finding.rtt for finding in previous.servers}
        return NatBehaviour(
            mapping,
            self.filtering or (before if self.ended else previous).filtering,
            allocation,
            tuple(with_rtt(finding, round_trips) for finding in self._servers.values()),
            samples or before.samples,
            before.hairpin if self.hairpin is None else self.hairpin,
            now if self.ended else previous.found_at,
        )

    def numbers(self) -> list[int]:
        """Of the side sockets it used."""
        used = [self._filter_number] if self._test else []
        return used + [self._sample_number(i) for i in range(self._sample_rounds * SAMPLES)]

    # ---- mapping

    def _server_concluded(self, outcome: Outcome[Question], answer: BindingAnswer | None, now: float) -> None:
        if answer is None:
            return
        server = outcome.address
        other = other_address(server, answer)
        self._servers[server] = replace(
            self._servers[server], reflexive=answer.mapped, rtt=outcome.rtt, other=other
        )
        self._saw(server, answer)
        if other is None or not self._may_ask(other):
            return
        if len(self._others_of) < ASKED_FOR_ALTERNATES and not self._mapping_is_settled():
            self._ask_alternates(server, other, now)
        if self._test is None and other[0] != server[0] and other[1] != server[1]:
            self._begin_filter_test(server, other, now)

    def _ask_alternates(self, server: Address, other: Address, now: float) -> None:
        if server in self._others_of:
            return
        self._others_of.add(server)
        for address in ((server[0], other[1]), (other[0], server[1]), other):
            if address not in self._servers and address not in self._seen:
                self._client.ask(address, Question(self, Ask.ALTERNATE), now, self._servers[server].rtt)

    def _saw(self, server: Address, answer: BindingAnswer | None) -> None:
        if answer is not None and is_sendable(answer.mapped) and ip_version(answer.mapped[0]) == self.version:
            self._seen[server] = answer.mapped

    def _mapping_is_settled(self) -> bool:
        if not self._pending(MAPPING_QUESTIONS):
            return True
        if self.mapping is Mapping.NONE:
            return any(not is_private(host) for host, _ in self._seen)  # it looked from outside of any LAN
        return self.mapping not in (Mapping.UNKNOWN, Mapping.DESTINATION_DEPENDENT)

    def _pending(self, asks: frozenset[Ask] | set[Ask]) -> bool:
        return any(key.survey is self and key.ask in asks for key in self._client.under_way())

    def _advance(self, now: float) -> None:
        """Begin what can be begun now."""
        nearest = nearest_server(self._servers.values())
        if self._test is None and nearest is not None and not self._pending({Ask.SERVER}):
            partial = [one for one in self._servers.values() if one.other and self._may_ask(one.other)]
            chosen = partial[0] if partial else replace(nearest, other=None)
            self._begin_filter_test(chosen.address, chosen.other, now)
        if self.mapping.depends_on_destination and not self._pending({Ask.SAMPLE}):
            prompt = sum(sample.prompt for sample in self._samples.values())
            wanted = self._sample_rounds == 0 or prompt < nat_classes.SAMPLES_LEAST
            if wanted and self._sample_rounds < SAMPLE_ROUNDS:
                self._take_samples(now)
        self._try_hairpin(now)

    # ---- filtering

    @property
    def _filter_number(self) -> int:
        return first_number(self.version)

    def _begin_filter_test(self, server: Address, other: Address | None, now: float) -> None:
        self._test = FilterTest(server, other)
        if other is not None:
            self._ask_alternates(server, other, now)  # what does not answer plainly either is not filtered
        from_side = SideAddress(*server, self._filter_number)
        self._client.ask(from_side, Question(self, Ask.OPEN), now, self._servers[server].rtt)

    def _opened(self, answer: BindingAnswer | None, now: float) -> None:
        test = self._test
        if test is None or answer is None:
            return
        test.side = answer.mapped
        if test.other is None:
            return
        address = SideAddress(*test.server, self._filter_number)
        rtt = self._servers[test.server].rtt
        host, port = test.other[0] != test.server[0], test.other[1] != test.server[1]
        if host:
            question = Question(self, Ask.OTHER_HOST)
            self._client.ask_from_elsewhere(address, question, now, rtt, host=True, port=port)
        if port:
            question = Question(self, Ask.OTHER_PORT)
            self._client.ask_from_elsewhere(address, question, now, rtt, host=False, port=True)

    def _tested(self, outcome: Outcome[Question], answer: BindingAnswer | None, now: float) -> None:
        test, ask = self._test, outcome.key.ask
        if test is None:
            return
        if answer is not None:
            from_host, from_port = outcome.source
            same_host, same_port = from_host == test.server[0], from_port == test.server[1]
            if not same_host if ask is Ask.OTHER_HOST else same_host and not same_port:
                test.passed |= {ask}
        elif outcome.answer is None:  # an error says that the server cannot, which says nothing of the filter
            test.silent |= {ask}
        if test.silent and not self._pending({Ask.OTHER_HOST, Ask.OTHER_PORT}):
            address = SideAddress(*test.server, self._filter_number)
            self._client.ask(address, Question(self, Ask.CONTROL), now, self._servers[test.server].rtt)

    def _controlled(self, answer: BindingAnswer | None) -> None:
        test = self._test
        if test is not None and answer is not None:
            test.controlled = answer.mapped == test.side

    # ---- hairpin

    def _try_hairpin(self, now: float) -> None:
        """Both sockets send, so that a filter that knows only where they sent to lets it in."""
        test, own = self._test, self._own()
        main = next((seen for seen in self._seen.values() if seen not in own), None)
        if self._hairpin_tried or main is None or test is None or test.side is None:
            return
        if not self._mapping_is_settled() or self.mapping.depends_on_destination:
            return
        if not (self._may_ask(main) and self._may_ask(test.side)):
            return
        self._hairpin_tried = True
        rtt = self._servers[test.server].rtt
        for address in (test.side, SideAddress(*main, self._filter_number)):
            self._client.ask_nobody(address, Question(self, Ask.HAIRPIN), now, rtt)

    # ---- allocation

    def _sample_number(self, index: int) -> int:
        return first_number(self.version) + 1 + index

    def _take_samples(self, now: float) -> None:
        own = self._own()
        servers = [server for server, reflexive in self._seen.items() if reflexive not in own]
        first = self._sample_rounds * SAMPLES
        self._sample_rounds += 1
        nearest = nearest_server(self._servers.values())
        for index in range(first, first + SAMPLES):
            number = self._sample_number(index)
            address = SideAddress(*servers[index % len(servers)], number)
            self._client.ask(address, Question(self, Ask.SAMPLE, number), now, nearest.rtt if nearest else None)

    def _sampled(self, outcome: Outcome[Question], answer: BindingAnswer | None) -> None:
        if answer is not None:
            self._samples[outcome.key.number] = Sample(answer.mapped[1], outcome.rtt is not None)
