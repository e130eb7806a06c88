"""The port mapper against routers of all kinds, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from l2mesh.core.mapping_exchange import TRY_AGAIN_S
from l2mesh.core.mapping_protocols import (
    Deleted,
    Denied,
    EpochWatch,
    Gateway,
    Granted,
    MappingProtocol,
    Outcome,
    Silent,
    UpnpJob,
)
from l2mesh.core.mapping_values import MappingMemory, MappingState, Verdict, is_public
from l2mesh.core.port_mapping import AGAIN_S, LIFETIME_S, RENEW_LEAST_S, PortMapper
from l2mesh.wire import nat_pmp, pcp
from tests.core.router import PUBLIC, FakeRouter

OWN_PORT = 40000
GATEWAY = Gateway("192.168.1.1", "192.168.1.5", OWN_PORT)
ROUND_TRIP_S = 0.005
SILENT_S = sum(TRY_AGAIN_S)


def no_upnp(job: UpnpJob) -> Outcome:
    return Silent("no router found")


class Scene:
    """A mapper, its router and a clock."""

    def __init__(
        self,
        router: FakeRouter | None = None,
        upnp: Callable[[UpnpJob], Outcome] = no_upnp,
        memory: MappingMemory | None = None,
        version: int = 4,
    ) -> None:
        self.now = 1000.0
        self.router = router or FakeRouter()
        self.upnp = upnp
        self.jobs: list[UpnpJob] = []
        self.loss = False
        self.mapper = PortMapper(memory or MappingMemory(), random.Random(1).randbytes, version)

    @property
    def state(self) -> MappingState:
        return self.mapper.status.state

    def expect(self, state: MappingState) -> None:
        assert self.state is state, self.mapper.status

    def protocol(self) -> MappingProtocol | None:
        return self.mapper.status.protocol

    @property
    def reason(self) -> str:
        return self.mapper.status.reason

    def begin(self, gateway: Gateway = GATEWAY) -> Scene:
        self.mapper.begin(gateway, self.now)
        self.settle()
        return self

    def settle(self) -> None:
        """All that follows at once."""
        while datagrams := self.mapper.take_datagrams():
            self.now += ROUND_TRIP_S
            for datagram in datagrams:
                for answer in self.router.handle(datagram, self.now):
                    if not self.loss:
                        self.mapper.receive(answer, self.now)
        job = self.mapper.take_job()
        if job is not None:
            self.jobs.append(job)
            self.now += 1.0
            self.mapper.job_done(job, self.upnp(job), self.now)
            self.settle()

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while (at := self.mapper.next_deadline()) <= end:
            self.now = max(self.now, at)
            self.mapper.handle_timer(self.now)
            self.settle()
        self.now = max(self.now, end)

    def check(self, verdict: Verdict, reason: str = "") -> None:
        assert self.mapper.claimed is not None
        self.mapper.checked(self.mapper.claimed, verdict, reason, self.now)
        self.settle()

    def opened(self) -> Scene:
        self.begin()
        self.check(Verdict.REACHED)
        self.expect(MappingState.OPEN)
        return self


# ---- which protocol


def test_pcp_maps_a_port_that_is_not_our_own() -> None:
    scene = Scene().begin()
    status = scene.mapper.status
    assert (status.state, status.protocol) == (MappingState.CHECKING, MappingProtocol.PCP)
    assert status.external == (PUBLIC, scene.router.maps[OWN_PORT])
    assert scene.router.maps[OWN_PORT] not in (0, OWN_PORT)


def test_it_is_open_only_when_it_was_reached_from_outside() -> None:
    scene = Scene().begin()
    scene.check(Verdict.UNPROVEN, "no supernode is there")
    assert (scene.state, scene.reason) == (MappingState.CHECKING, "no supernode is there")
    scene.check(Verdict.REACHED)
    assert (scene.state, scene.reason) == (MappingState.OPEN, "")


def test_a_router_that_knows_nat_pmp_only_says_so_and_is_asked_by_it() -> None:
    scene = Scene(FakeRouter(pcp=False)).begin()
    assert scene.protocol() is MappingProtocol.NAT_PMP
    assert scene.mapper.claimed == (PUBLIC, scene.router.maps[OWN_PORT])
    assert scene.now < 1001


def test_silence_leads_from_one_protocol_to_the_next() -> None:
    scene = Scene(FakeRouter(deaf=True)).begin()
    scene.run(2 * SILENT_S + 1.5)
    assert [datagram[0] for datagram in scene.router.heard] == 4 * [2] + 8 * [0]
    assert [job.action for job in scene.jobs] == ["map"]
    scene.expect(MappingState.NONE)
    assert scene.reason == "PCP: no answer; NAT-PMP: no answer; UPnP: no router found"


def test_a_port_that_nobody_listens_on_is_not_asked_twice() -> None:
    scene = Scene(FakeRouter(deaf=True)).begin()
    scene.mapper.refused(scene.now)
    scene.settle()
    scene.mapper.refused(scene.now)
    scene.settle()
    assert len(scene.router.heard) == 3
    assert scene.jobs


def test_upnp_maps_where_the_others_are_silent() -> None:
    external = (PUBLIC, 50000)
    scene = Scene(FakeRouter(deaf=True), upnp=lambda job: Granted(external, LIFETIME_S)).begin()
    scene.run(2 * SILENT_S)
    [job] = scene.jobs
    assert (job.own_host, job.own_port, job.lifetime) == (GATEWAY.own_host, OWN_PORT, LIFETIME_S)
    assert len(set(job.ports)) == 3
    assert OWN_PORT not in job.ports
    assert scene.mapper.claimed == external
    assert scene.mapper.memory.upnp_port == 50000


def test_upnp_is_not_tried_against_a_no() -> None:
    scene = Scene(FakeRouter(result=pcp.Result.NOT_AUTHORIZED, wait=1800)).begin()
    scene.expect(MappingState.NONE)
    assert scene.reason == "PCP: not authorized; NAT-PMP: not authorized"
    assert not scene.jobs


def test_an_error_of_the_protocol_is_no_no() -> None:
    scene = Scene(FakeRouter(result=pcp.Result.UNSUPP_OPCODE, nat_pmp=False)).begin()
    scene.run(SILENT_S + 1)
    assert scene.jobs
    assert scene.reason.startswith("PCP: the router maps nothing by PCP; NAT-PMP: no answer")


def test_a_nat_before_the_router_is_hinted_at() -> None:
    scene = Scene(FakeRouter(result=pcp.Result.ADDRESS_MISMATCH)).begin()
    assert scene.mapper.status.double_nat


def test_all_protocols_are_tried_again_ever_more_rarely() -> None:
    scene = Scene(FakeRouter(deaf=True)).begin()
    scene.run(7200)
    asked = [job for job in scene.jobs if job.action == "map"]
    assert len(asked) == 2 + int((7200 - AGAIN_S[0] - AGAIN_S[1]) / AGAIN_S[2]) + 1
    scene.router.deaf = False
    scene.run(AGAIN_S[-1])
    scene.expect(MappingState.CHECKING)


def test_an_error_that_lasts_is_respected_up_to_an_hour() -> None:
    scene = Scene(FakeRouter(result=pcp.Result.NO_RESOURCES, nat_pmp=False, wait=10**9)).begin()
    scene.run(3000)
    heard = len(scene.router.heard)
    assert heard <= 6 + 10  # the wait that PCP named was not NAT-PMP's
    assert scene.state in (MappingState.NONE, MappingState.ASKING)


# ---- keeping it


def test_it_is_renewed_at_half_of_its_lifetime() -> None:
    scene = Scene().opened()
    external = scene.mapper.claimed
    heard = len(scene.router.heard)
    scene.run(LIFETIME_S / 2 - 1)
    assert len(scene.router.heard) == heard
    scene.run(LIFETIME_S / 8 + 1)
    assert len(scene.router.heard) == heard + 1
    assert (scene.mapper.claimed, scene.state) == (external, MappingState.OPEN)


@pytest.mark.parametrize("lifetime", [1, 120, 2**32 - 1])
def test_a_lifetime_however_odd_makes_us_neither_busy_nor_idle(lifetime: int) -> None:
    scene = Scene(FakeRouter(lifetime=lifetime)).opened()
    heard = len(scene.router.heard)
    scene.run(86400)
    renewals = len(scene.router.heard) - heard
    assert 1 <= renewals <= 86400 / RENEW_LEAST_S


def test_a_renewal_without_answer_is_tried_until_the_lease_is_over() -> None:
    scene = Scene().opened()
    scene.router.deaf = True
    scene.run(LIFETIME_S * 0.7)
    assert (scene.state, scene.reason) == (MappingState.OPEN, "the router does not answer")
    scene.run(LIFETIME_S * 0.3 + RENEW_LEAST_S + SILENT_S)
    assert scene.mapper.claimed is None
    scene.router.deaf = False
    scene.run(AGAIN_S[0] + 30)
    scene.expect(MappingState.CHECKING)


def test_another_port_than_asked_for_is_fine_and_wished_for_next_time() -> None:
    memory = MappingMemory()
    scene = Scene(FakeRouter(port=1234), memory=memory).begin()
    assert scene.mapper.claimed == (PUBLIC, 1234)
    assert memory.external_port == 1234


def test_a_renewal_at_another_address_is_checked_anew() -> None:
    scene = Scene().opened()
    scene.router.host = "198.51.100.2"
    scene.run(LIFETIME_S)
    scene.expect(MappingState.CHECKING)
    assert scene.mapper.claimed is not None
    assert scene.mapper.claimed[0] == "198.51.100.2"


def test_a_renewal_that_is_refused_ends_it() -> None:
    scene = Scene().opened()
    scene.router.result = pcp.Result.NOT_AUTHORIZED
    scene.run(LIFETIME_S * 5 / 8)
    assert scene.mapper.claimed is None


def test_a_change_of_the_network_renews_but_not_at_every_change() -> None:
    scene = Scene().opened()
    heard = len(scene.router.heard)
    for _ in range(100):
        scene.begin()
        scene.run(1)
    assert len(scene.router.heard) - heard == int(100 / RENEW_LEAST_S)
    scene.expect(MappingState.OPEN)


def test_another_router_is_asked_anew() -> None:
    scene = Scene().opened()
    scene.router.maps.clear()
    scene.router.nonces.clear()
    scene.begin(Gateway("10.0.0.1", "10.0.0.7", OWN_PORT))
    scene.expect(MappingState.CHECKING)


def test_no_router_no_mapping() -> None:
    scene = Scene().opened()
    scene.mapper.end("there is no IPv4 router")
    assert (scene.state, scene.reason, scene.mapper.claimed) == (MappingState.OFF, "there is no IPv4 router", None)
    scene.run(10_000)
    scene.expect(MappingState.OFF)


# ---- routers that restart


def test_a_router_that_announces_its_restart_is_asked_again() -> None:
    scene = Scene().opened()
    scene.run(100)
    [announcement] = scene.router.reboot(scene.now)
    scene.mapper.receive_announcement(announcement, scene.now)
    scene.settle()
    assert OWN_PORT in scene.router.maps
    scene.expect(MappingState.OPEN)


def test_an_announcement_without_news_is_nothing() -> None:
    scene = Scene().opened()
    scene.run(100)
    heard = len(scene.router.heard)
    epoch = scene.router.epoch(scene.now)
    scene.mapper.receive_announcement(pcp.emit_response(pcp.Response(0, 0, 0, epoch, None)), scene.now)
    scene.run(20)
    epoch = scene.router.epoch(scene.now)
    scene.mapper.receive_announcement(nat_pmp.emit_response(nat_pmp.AddressResponse(epoch, PUBLIC)), scene.now)
    scene.settle()
    assert len(scene.router.heard) == heard


def test_the_announcement_of_another_address_is_news() -> None:
    scene = Scene().opened()
    scene.run(100)
    scene.router.host = "198.51.100.9"
    epoch = scene.router.epoch(scene.now)
    announcement = nat_pmp.emit_response(nat_pmp.AddressResponse(epoch, "198.51.100.9"))
    scene.mapper.receive_announcement(announcement, scene.now)
    scene.settle()
    assert scene.mapper.claimed is not None
    assert scene.mapper.claimed[0] == "198.51.100.9"


def test_forged_announcements_cost_one_request_in_ten_seconds() -> None:
    scene = Scene().opened()
    heard = len(scene.router.heard)
    for i in range(1000):
        scene.mapper.receive_announcement(
            pcp.emit_response(pcp.Response(0, 0, 0, i * 7919 % 100, None)), scene.now
        )
        scene.mapper.receive_announcement(b"\2\x80 rubbish", scene.now)
        scene.settle()
        scene.run(0.1)
    assert len(scene.router.heard) - heard <= 11


def test_an_announcement_wakes_one_that_had_given_up() -> None:
    scene = Scene(FakeRouter(deaf=True)).begin()
    scene.run(20)
    scene.expect(MappingState.NONE)
    scene.router.deaf = False
    [announcement] = scene.router.reboot(scene.now)
    scene.mapper.receive_announcement(announcement, scene.now)
    scene.settle()
    scene.expect(MappingState.CHECKING)


@pytest.mark.parametrize(
    ("epochs", "restarted"),
    [
        ([(0, 0.0), (100, 100.0)], False),
        ([(0, 0.0), (99, 100.9)], False),
        ([(50, 0.0), (0, 10.0)], True),
        ([(50, 0.0), (49, 0.1)], False),
        ([(0, 0.0), (500, 100.0)], True),
        ([(0, 0.0), (10, 100.0)], True),
        ([(0, 0.0), (93, 100.0)], False),
    ],
)
def test_epochs(epochs: list[tuple[int, float]], restarted: bool) -> None:
    watch = EpochWatch()
    assert [watch.restarted(epoch, now) for epoch, now in epochs][-1] is restarted


# ---- liars


@pytest.mark.parametrize("host", ["192.168.0.2", "10.1.1.1", "172.16.3.4", "100.64.0.9"])
def test_a_private_address_outside_is_no_candidate_but_a_hint(host: str) -> None:
    scene = Scene(FakeRouter(host=host)).begin()
    status = scene.mapper.status
    assert (status.state, status.double_nat, status.external) == (MappingState.NONE, True, None)
    assert host in status.reason
    assert not scene.router.maps  # given back


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "2001:db8::1"])
def test_an_address_that_can_be_nobodys_is_no_candidate(host: str) -> None:
    scene = Scene(FakeRouter(host=host, nat_pmp=False)).begin()
    scene.run(10)
    status = scene.mapper.status
    assert (status.state, status.double_nat, status.external) == (MappingState.NONE, False, None)
    assert host in status.reason


def test_the_hint_goes_with_its_reason() -> None:
    scene = Scene(FakeRouter(host="100.64.0.9")).begin()
    scene.router.host = PUBLIC
    scene.run(AGAIN_S[0] + 1)
    assert (scene.state, scene.mapper.status.double_nat) == (MappingState.CHECKING, False)


def test_a_dead_mapping_is_given_back_and_the_next_protocol_tried() -> None:
    scene = Scene().begin()
    scene.check(Verdict.UNREACHED, "three probes did not arrive")
    assert scene.protocol() is MappingProtocol.NAT_PMP
    scene.check(Verdict.UNREACHED, "three probes did not arrive")
    assert scene.jobs
    assert not scene.router.maps
    scene.expect(MappingState.NONE)
    assert scene.reason.count("three probes did not arrive") == 2


def test_a_mapping_that_stops_working_is_made_anew_at_another_port() -> None:
    scene = Scene().opened()
    before = scene.router.maps[OWN_PORT]
    scene.check(Verdict.UNREACHED, "it died")
    assert scene.protocol() is MappingProtocol.PCP
    assert scene.router.maps[OWN_PORT] != before
    scene.expect(MappingState.CHECKING)
    scene.check(Verdict.UNREACHED, "it died")
    assert scene.protocol() is MappingProtocol.NAT_PMP


def test_an_address_that_is_not_ours_hints_at_one_more_nat() -> None:
    scene = Scene(FakeRouter(host="203.0.113.77", nat_pmp=False)).begin()
    scene.check(Verdict.ELSEWHERE, "supernodes hear this host from another address")
    assert scene.mapper.status.double_nat


def test_a_verdict_on_an_address_we_had_is_nothing() -> None:
    scene = Scene().opened()
    scene.mapper.checked((PUBLIC, 1), Verdict.UNREACHED, "", scene.now)
    scene.expect(MappingState.OPEN)


def test_garbage_is_no_answer() -> None:
    scene = Scene(FakeRouter(garbage=True)).begin()
    scene.run(60)
    scene.expect(MappingState.NONE)
    assert "usable" in scene.reason
    assert scene.mapper.claimed is None


def test_answers_for_others_are_not_ours() -> None:
    scene = Scene()
    scene.loss = True
    scene.begin()
    theirs = pcp.Map(b"other nonce.", OWN_PORT, (PUBLIC, 5))
    scene.mapper.receive(pcp.emit_response(pcp.Response(1, 0, 3600, 1, theirs)), scene.now)
    other_port = pcp.Map(scene.mapper.memory.nonce, 5, (PUBLIC, 5))
    scene.mapper.receive(pcp.emit_response(pcp.Response(1, 0, 3600, 1, other_port)), scene.now)
    assert scene.mapper.claimed is None


def test_answers_that_nobody_asked_for_change_nothing() -> None:
    scene = Scene().opened()
    mine = pcp.Map(scene.mapper.memory.nonce, OWN_PORT, ("203.0.113.1", 5))
    scene.mapper.receive(pcp.emit_response(pcp.Response(1, 0, 3600, 1, mine)), scene.now)
    assert scene.mapper.claimed is not None
    assert scene.mapper.claimed[0] == PUBLIC


@pytest.mark.parametrize("seed", range(50))
def test_any_bytes_from_the_router_leave_the_mapper_alive(seed: int) -> None:
    chance = random.Random(seed)
    scene = Scene()
    scene.loss = True
    scene.begin()
    for _ in range(200):
        size = chance.choice((0, 1, 2, 8, 12, 16, 24, 60, 61, 1101))
        head = bytes((chance.choice((0, 1, 2, 3)), chance.choice((0, 1, 128, 129, 130)), 0, 0))
        scene.mapper.receive((head + chance.randbytes(size))[:size], scene.now)
        scene.mapper.receive_announcement((head + chance.randbytes(size))[:size], scene.now)
        scene.run(chance.random() * 10)
    assert scene.mapper.claimed is None or is_public(scene.mapper.claimed[0])


# ---- the end, and the next start


def test_at_its_end_it_gives_the_mapping_back() -> None:
    scene = Scene().opened()
    scene.mapper.close(scene.now)
    assert not scene.mapper.closed
    scene.settle()
    assert scene.mapper.closed
    assert not scene.router.maps


@pytest.mark.parametrize("deaf", [False, True])
def test_nat_pmp_gives_back_too_and_does_not_wait_for_ever(deaf: bool) -> None:
    scene = Scene(FakeRouter(pcp=False)).opened()
    scene.router.deaf = deaf
    scene.mapper.close(scene.now)
    scene.settle()
    scene.run(SILENT_S)
    assert scene.mapper.closed
    assert bool(scene.router.maps) is deaf


def test_what_was_asked_for_and_not_yet_answered_is_given_back_too() -> None:
    scene = Scene()
    scene.loss = True
    scene.begin()
    assert scene.router.maps
    scene.mapper.close(scene.now)
    scene.loss = False
    scene.settle()
    assert scene.mapper.closed
    assert not scene.router.maps


def test_nothing_to_give_back_is_closed_at_once() -> None:
    scene = Scene(FakeRouter(deaf=True)).begin()
    scene.run(30)
    scene.mapper.close(scene.now)
    assert scene.mapper.closed


def test_upnp_gives_back_what_it_mapped() -> None:
    def upnp(job: UpnpJob) -> Outcome:
        return Granted((PUBLIC, 50000), LIFETIME_S) if job.action == "map" else Deleted()

    memory = MappingMemory()
    scene = Scene(FakeRouter(deaf=True), upnp, memory).begin()
    scene.run(10)
    scene.mapper.close(scene.now)
    scene.settle()
    assert scene.jobs[-1] == UpnpJob("delete", GATEWAY.own_host, OWN_PORT, (50000,), 0)
    assert scene.mapper.closed
    assert memory.upnp_port == 0


def test_after_a_kill_the_same_mapping_is_taken_over() -> None:
    memory = MappingMemory()
    scene = Scene(memory=memory).opened()
    external = scene.mapper.claimed
    kept = MappingMemory(memory.nonce, memory.external_port, memory.upnp_port)
    again = Scene(scene.router, memory=kept).begin()
    assert again.mapper.claimed == external
    assert len(scene.router.maps) == 1


def test_what_upnp_left_for_ever_is_given_back_once_there_is_something_better() -> None:
    memory = MappingMemory(upnp_port=50000)
    scene = Scene(upnp=lambda job: Deleted(), memory=memory).begin()
    assert [(job.action, job.ports) for job in scene.jobs] == [("delete", (50000,))]
    assert memory.upnp_port == 0
    scene.expect(MappingState.CHECKING)


def test_a_upnp_router_that_refuses() -> None:
    scene = Scene(FakeRouter(deaf=True), lambda job: Denied("ConflictInMappingEntry")).begin()
    scene.run(10)
    assert scene.reason.endswith("UPnP: ConflictInMappingEntry")


# ---- IPv6


def test_an_ipv6_firewall_is_opened_for_our_own_address() -> None:
    scene = Scene(FakeRouter(nat_pmp=False, host="2001:db8::5", port=OWN_PORT), version=6)
    scene.begin(Gateway("fe80::1", "2001:db8::5", OWN_PORT))
    assert (scene.state, scene.mapper.claimed) == (MappingState.OPEN, ("2001:db8::5", OWN_PORT))
    own, wish, _ = pcp.parse_map_request(scene.router.heard[0])
    assert (own, wish.external) == ("2001:db8::5", ("2001:db8::5", OWN_PORT))


def test_for_ipv6_there_is_pcp_and_nothing_else() -> None:
    scene = Scene(FakeRouter(deaf=True), version=6)
    scene.begin(Gateway("fe80::1", "2001:db8::5", OWN_PORT))
    scene.run(SILENT_S + 1)
    assert (scene.state, scene.reason) == (MappingState.NONE, "PCP: no answer")
    assert not scene.jobs
