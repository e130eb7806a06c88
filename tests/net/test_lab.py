"""The lab itself: its NATs are what they claim to be, its machines do as told, and nothing of it is left."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from l2mesh.lab import Host, IPv6, Lab, LabError, classify, nat, requirements, sweep, system, wait_until

if TYPE_CHECKING:
    from l2mesh.lab import Nat

pytestmark = pytest.mark.root

PORT = 3478


def ttl_of_echo(host: Host, address: str) -> int:
    out = host.run(["ping", "-n", "-c1", "-W1", address]).stdout
    return int(out.split("ttl=")[1].split()[0])


def listening(server: Host) -> socket.socket:
    return server.udp(server.address4, PORT)


def outer_address(inside: socket.socket, server: socket.socket) -> tuple[str, int]:
    inside.sendto(b"who am I", server.getsockname())
    address: tuple[str, int] = server.recvfrom(100)[1]
    return address


def silent(receiver: socket.socket, seconds: float = 0.05) -> bool:
    return not select.select([receiver], [], [], seconds)[0]


def reaches(sender: socket.socket, receiver: socket.socket, address: tuple[str, int], what: bytes) -> bool:
    sender.sendto(what, address)
    return not silent(receiver) and receiver.recv(100) == what


# What it builds.


def test_three_sites_are_up_in_no_time_and_every_router_counts(lab: Lab) -> None:
    begun = time.monotonic()
    supernode = lab.public_host("supernode")
    alice, bob = lab.site("alice"), lab.site("bob", nat.ROUTED, ipv6=IPv6.OPEN)
    lab.site("carol")
    assert time.monotonic() - begun < 1.5
    assert ttl_of_echo(alice.host, supernode.address4) == 64 - 2  # core and own router
    assert ttl_of_echo(alice.host, bob.host.address4) == 64 - 3
    assert ttl_of_echo(bob.host, supernode.address6) == 64 - 2


def test_an_opener_of_ttl_2_opens_the_own_router_and_dies_in_the_core(lab: Lab) -> None:
    server, site = lab.public_host("server"), lab.site("site")
    with listening(server) as outside, site.host.udp() as inside:
        inside.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 2)
        inside.sendto(b"opener", (server.address4, PORT))
        assert silent(outside)
        outside.sendto(b"hello", (site.router.address4, inside.getsockname()[1]))
        assert inside.recv(100) == b"hello"


def test_private_addresses_get_lost_in_the_core(lab: Lab) -> None:
    one, other = lab.site("one"), lab.site("other")
    assert one.host.run(["ping", "-n", "-c1", "-W0.2", other.host.address4], check=False).returncode == 1


def test_two_homes_may_use_the_same_private_addresses(lab: Lab) -> None:
    server = lab.public_host("server")
    one, other = lab.site("one", lan="192.168.1"), lab.site("other", lan="192.168.1")
    assert one.host.address4 == other.host.address4
    assert ttl_of_echo(one.host, server.address4) == ttl_of_echo(other.host, server.address4)


def test_a_name_may_be_a_word_of_the_ip_command(lab: Lab) -> None:
    for name in ("d", "dev", "via", "0"):
        assert lab.public_host(name).run("true").returncode == 0


def test_a_name_is_refused_twice_and_when_it_is_no_interface_name(lab: Lab) -> None:
    lab.public_host("server")
    for name in ("server", "core", "Server", "a-name-too-long-for-it", ""):
        with pytest.raises(LabError, match=r"machine"):
            lab.public_host(name)


# NATs.


@pytest.mark.parametrize("kind", nat.ALL, ids=lambda kind: kind.name)
def test_a_nat_is_what_it_claims_to_be(lab: Lab, kind: Nat) -> None:
    server, site = lab.public_host("server", addresses=2), lab.site("site", kind)
    observed = classify(site.host, server)
    assert (observed.mapping, observed.filtering) == (kind.mapping, kind.filtering), observed
    expected = site.router.address4 if kind.private else site.host.address4
    assert {address for address, _ in observed.seen} == {expected}


def test_a_block_allocator_stays_in_its_block_at_random(lab: Lab) -> None:
    server, site = lab.public_host("server", addresses=2), lab.site("site", nat.block(512, first=30_000))
    ports = [port for _ in range(5) for _, port in classify(site.host, server).seen]
    assert all(30_000 <= port < 30_512 for port in ports)
    assert len({later - earlier for earlier, later in pairwise(ports)}) > 10


def test_a_sequential_allocator_takes_the_next_port(lab: Lab) -> None:
    server, site = lab.public_host("server", addresses=2), lab.site("site", nat.SEQUENTIAL)
    first, *later = [port for _, port in classify(site.host, server).seen]
    assert later == [first + 1, first + 2, first + 3]


@pytest.mark.parametrize(("kind", "spoiled"), [(nat.HOME, False), (nat.HOME_ACCEPT, True)])
def test_an_early_probe_spoils_the_mapping_where_the_router_accepts_input(
    lab: Lab, kind: Nat, spoiled: bool
) -> None:
    known, peer, site = lab.public_host("known"), lab.public_host("peer"), lab.site("site", kind)
    with ExitStack() as stack:
        inside, first, second = (
            stack.enter_context(s) for s in (site.host.udp(), listening(known), listening(peer))
        )
        mapped = outer_address(inside, first)
        second.sendto(b"early probe", mapped)
        first.sendto(b"fence", mapped)
        assert inside.recv(100) == b"fence"
        assert (outer_address(inside, second) != mapped) == spoiled


def test_two_hosts_with_the_same_local_port_look_as_if_mapped_by_destination(lab: Lab) -> None:
    server, site = lab.public_host("server", addresses=2), lab.site("site", hosts=2)
    with ExitStack() as stack:
        one, two = (stack.enter_context(host.udp(port=5000)) for host in site.hosts)
        first, second = (stack.enter_context(server.udp(address, PORT)) for address in server.addresses4)
        assert outer_address(one, first)[1] == 5000
        assert outer_address(two, second)[1] == 5000
        assert outer_address(two, first)[1] != 5000


def test_a_cone_finds_both_of_two_hosts_with_the_same_local_port(lab: Lab) -> None:
    server, site = lab.public_host("server", addresses=2), lab.site("site", nat.CONE, hosts=2)
    with ExitStack() as stack:
        one, two = (stack.enter_context(host.udp(port=5000)) for host in site.hosts)
        first, second = (stack.enter_context(server.udp(address, PORT)) for address in server.addresses4)
        mapped = [outer_address(inside, first) for inside in (one, two)]
        assert reaches(second, one, mapped[0], b"to one")
        assert reaches(second, two, mapped[1], b"to two")


@pytest.mark.parametrize(("kind", "works"), [(nat.HAIRPIN, True), (nat.CONE, False), (nat.HOME, False)])
def test_a_hairpin_shows_neighbours_their_outer_addresses(lab: Lab, kind: Nat, works: bool) -> None:
    server, site = lab.public_host("server"), lab.site("site", kind, hosts=2)
    with ExitStack() as stack:
        outside = stack.enter_context(listening(server))
        one, two = (stack.enter_context(host.udp()) for host in site.hosts)
        mapped = [outer_address(inside, outside) for inside in (one, two)]
        one.sendto(b"hello", mapped[1])
        assert silent(two) != works
        if works:
            assert two.recvfrom(100) == (b"hello", mapped[0])


def test_a_hairpin_leaves_the_source_of_outside_packets_alone(lab: Lab) -> None:
    server, site = lab.public_host("server", addresses=2), lab.site("site", nat.HAIRPIN)
    with ExitStack() as stack:
        inside = stack.enter_context(site.host.udp())
        first, second = (stack.enter_context(server.udp(address, PORT)) for address in server.addresses4)
        second.sendto(b"hello", outer_address(inside, first))
        assert inside.recvfrom(100) == (b"hello", second.getsockname())


def test_a_carrier_nat_stands_outside_the_home_routers(lab: Lab) -> None:
    server = lab.public_host("server", addresses=2)
    carrier = lab.carrier("carrier", nat.block(2048))
    one, other = (lab.site(name, behind=carrier, ipv6=IPv6.FIREWALL) for name in ("one", "other"))
    assert one.router.address4.startswith("100.64.")
    for site in (one, other):
        observed = classify(site.host, server)
        assert {address for address, _ in observed.seen} == {carrier.router.address4}
        assert observed.mapping is nat.Behaviour.ADDRESS_AND_PORT
        assert ttl_of_echo(site.host, server.address4) == 64 - 3
        assert ttl_of_echo(site.host, server.address6) == 64 - 3


def test_a_fast_nat_forgets_a_silent_mapping(lab: Lab) -> None:
    server, site = lab.public_host("server"), lab.site("site", nat.SYMMETRIC)
    site.router.set_udp_timeouts(1, 1)
    with listening(server) as outside, site.host.udp() as inside:
        before = outer_address(inside, outside)
        entries = ["conntrack", "-L", "-p", "udp"]
        wait_until(lambda: not site.router.run(entries).stdout, 3.0, "the mapping expires", poll_s=0.05)
        outside.sendto(b"too late", before)
        assert outer_address(inside, outside) != before
        assert silent(inside)


def test_udp_is_blocked_but_to_the_supernode(lab: Lab) -> None:
    supernode, peer = lab.public_host("supernode"), lab.public_host("peer")
    office = lab.site("office", ipv6=IPv6.OPEN, udp_only_to=(supernode.address4, supernode.address6))
    for version, any_address in ((4, "0.0.0.0"), (6, "::")):
        with ExitStack() as stack:
            inside = stack.enter_context(office.host.udp(any_address))
            for server, passes in ((supernode, True), (peer, False)):
                address = server.uplink.addresses(version)[0]
                outside = stack.enter_context(server.udp(address, PORT))
                assert reaches(inside, outside, (address, PORT), b"udp") == passes
                assert ttl_of_echo(office.host, address)


def test_an_ipv6_firewall_lets_in_only_what_was_asked_for(lab: Lab) -> None:
    server = lab.public_host("server")
    for kind, opens in ((IPv6.OPEN, True), (IPv6.FIREWALL, False)):
        host = lab.site(kind.value, ipv6=kind).host
        with host.udp("::") as inside, server.udp("::", PORT) as outside:
            there = (host.address6, inside.getsockname()[1])
            assert reaches(outside, inside, there, b"unasked") == opens
            assert reaches(inside, outside, (server.address6, PORT), b"question")
            assert reaches(outside, inside, there, b"answer")


# What may happen to it.


def test_blocking_udp_of_a_pair_leaves_the_others_alone(lab: Lab) -> None:
    server = lab.public_host("server")
    one, other = (lab.site(name, nat.ROUTED, ipv6=IPv6.OPEN) for name in ("one", "other"))
    with ExitStack() as stack:
        inside = stack.enter_context(one.host.udp("::"))
        ends = [stack.enter_context(host.udp("::", PORT)) for host in (other.host, server)]

        def reached() -> list[bool]:
            targets = (("::ffff:" + other.host.address4), other.host.address6, server.address6)
            receivers = (ends[0], ends[0], ends[1])
            return [
                reaches(inside, receiver, (target, PORT), b"x")
                for target, receiver in zip(targets, receivers, strict=True)
            ]

        lab.block_udp(one, other)
        assert reached() == [False, False, True]
        lab.unblock_udp(other, one)
        assert reached() == [True, True, True]


def test_loss_is_about_what_was_asked_for(lab: Lab) -> None:
    server, site = lab.public_host("server"), lab.site("site")
    loss = lab.core.loss(20)
    with listening(server) as outside, site.host.udp() as inside:
        outside.setblocking(False)
        for _ in range(500):
            inside.sendto(b"x", (server.address4, PORT))
        assert 50 <= loss.packets() <= 150
        loss.remove()
        assert reaches(inside, outside, (server.address4, PORT), b"x")


def test_a_black_hole_swallows_big_packets_in_silence(lab: Lab) -> None:
    server, site = lab.public_host("server"), lab.site("site")
    hole = lab.core.drop("ip length > 1280")
    ping = ["ping", "-n", "-c1", "-W0.2", "-M", "do"]
    assert site.host.run([*ping, "-s", "1200", server.address4]).returncode == 0
    lost = site.host.run([*ping, "-s", "1300", server.address4], check=False)
    assert lost.returncode == 1
    assert "1300" not in lost.stderr
    assert hole.packets() == 1


def test_a_small_mtu_is_told(lab: Lab) -> None:
    server, site = lab.public_host("server"), lab.site("site")
    server.set_link_mtu(1300)
    told = site.host.run(["ping", "-n", "-c1", "-W1", "-M", "do", "-s", "1400", server.address4], check=False)
    assert "mtu = 1300" in told.stdout


def test_a_flushed_router_makes_new_mappings(lab: Lab) -> None:
    server, site = lab.public_host("server"), lab.site("site", nat.SYMMETRIC)
    with listening(server) as outside, site.host.udp() as inside:
        before = outer_address(inside, outside)
        assert outer_address(inside, outside) == before
        site.router.flush_conntrack()
        assert outer_address(inside, outside) != before


def test_a_flushed_cone_forgets_what_it_learned(lab: Lab) -> None:
    server, site = lab.public_host("server"), lab.site("site", nat.CONE)
    with listening(server) as outside, site.host.udp() as inside:
        mapped = outer_address(inside, outside)
        site.router.flush_conntrack()
        assert not reaches(outside, inside, mapped, b"hello")


def test_addresses_change_inside_and_outside(lab: Lab) -> None:
    server, site = lab.public_host("server"), lab.site("site", nat.HAIRPIN, ipv6=IPv6.OPEN)
    old, old6, old_outer = site.host.address4, site.host.address6, site.router.address4
    assert site.host.change_address() == site.host.address4 != old
    assert site.host.change_address(version=6) == site.host.address6 != old6
    site.router.change_address()
    shown = site.host.run("ip -o address show dev eth0").stdout
    assert f" {site.host.address4}/" in shown
    assert f" {old}/" not in shown
    assert ttl_of_echo(site.host, server.address6)
    with listening(server) as outside, site.host.udp() as inside:
        assert outer_address(inside, outside)[0] == site.router.address4 != old_outer
    assert site.host.change_address(old) == old
    assert ttl_of_echo(site.host, server.address4)


def test_a_link_goes_down_and_comes_back(lab: Lab) -> None:
    server, site = lab.public_host("server"), lab.site("site", ipv6=IPv6.OPEN)
    site.host.link_down()
    assert site.host.run(["ping", "-n", "-c1", "-W1", server.address4], check=False).returncode
    site.host.link_up()
    assert ttl_of_echo(site.host, server.address4)
    assert ttl_of_echo(site.host, server.address6)


def test_a_host_moves_to_another_site(lab: Lab) -> None:
    server, home, office = lab.public_host("server"), lab.site("home"), lab.site("office", hosts=1)
    laptop = home.host
    lab.move(laptop, office)
    assert office.hosts[1] is laptop
    assert not home.hosts
    with listening(server) as outside, laptop.udp() as inside:
        assert outer_address(inside, outside)[0] == office.router.address4


def test_a_delayed_link_delays_each_way(lab: Lab) -> None:
    server, site = lab.public_host("server", delay_ms=15), lab.site("site", delay_ms=10)
    with listening(server) as outside, site.host.udp() as inside:
        begun = time.monotonic()
        address = outer_address(inside, outside)
        outside.sendto(b"back", address)
        assert inside.recv(100) == b"back"
        assert 0.05 <= time.monotonic() - begun < 0.09
    big = ["ping", "-n", "-c1", "-W1", "-s", "4000", server.address4]  # fragments
    assert site.host.run(big).returncode == 0


# Programs.


PROGRAM = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit("bye"))
print("ready on 42")
while True:
    signal.pause()
"""


def test_a_program_prints_to_its_log_and_hears_signals(lab: Lab) -> None:
    program = lab.core.popen([sys.executable, "-c", PROGRAM], name="program")
    assert program.wait_for_line(r"ready on (\d+)")[1] == "42"
    program.stop()
    state = Path(f"/proc/{program.pid}/stat")
    wait_until(lambda: state.read_text().split()[2] == "T", 1.0, "it is stopped")
    program.cont()
    mark = program.mark()
    assert program.terminate() == 1
    assert program.wait_for_line("bye", after=mark)
    assert program.log.parent == lab.directory


def test_a_line_that_does_not_come_is_told_with_the_end_of_the_log(lab: Lab) -> None:
    program = lab.core.popen(["sh", "-c", "echo cannot start; exit 3"], name="program")
    with pytest.raises(LabError, match=r"(?s)ended \(3\).*cannot start"):
        program.wait_for_line("ready")
    silent_one = lab.core.popen(["sleep", "60"])
    with pytest.raises(LabError, match=r"not within 0.05 s"):
        silent_one.wait_for_line("ready", deadline_s=0.05)
    assert silent_one.kill() == -signal.SIGKILL


def test_a_command_that_fails_or_hangs_is_told(lab: Lab) -> None:
    assert lab.core.run("cat", text="input").stdout == "input"
    with pytest.raises(LabError, match=r"(?s)exit 2.*why"):
        lab.core.run(["sh", "-c", "echo why >&2; exit 2"])
    with pytest.raises(LabError, match=r"not done in 0.1 s"):
        lab.core.run("sleep 60", timeout=0.1)
    with pytest.raises(TimeoutError, match=r"not within 0.01 s: the impossible"):
        wait_until(lambda: False, 0.01, "the impossible")


RESOLVE = """
import socket, time
while True:
    try:
        print(socket.gethostbyname("supernode.example"))
    except OSError:
        print("unknown")
    time.sleep(0.02)
"""


def test_names_resolve_as_the_lab_says_and_change_under_a_running_program(lab: Lab, tmp_path: Path) -> None:
    lab.set_name("supernode.example")
    script = tmp_path / "resolve.py"
    script.write_text(RESOLVE)
    program = lab.core.popen([sys.executable, str(script)])
    program.wait_for_line("unknown")
    lab.set_name("supernode.example", "198.18.1.2")
    program.wait_for_line("198.18.1.2")
    lab.set_name("supernode.example", "198.18.1.3")
    program.wait_for_line("198.18.1.3")


def test_a_capture_holds_what_passed(lab: Lab, tmp_path: Path) -> None:
    server, site = lab.public_host("server"), lab.site("site")
    pcap = tmp_path / "core.pcap"
    dump = lab.core.capture(pcap, only="udp")
    with listening(server) as outside, site.host.udp() as inside:
        assert reaches(inside, outside, (server.address4, PORT), b"a telling payload")
    wait_until(lambda: b"a telling payload" in pcap.read_bytes(), 2.0, "the packet is in the file")
    assert dump.terminate() == 0


def test_udp_segmentation_of_an_interface_is_switched_off_and_on(lab: Lab) -> None:
    server = lab.public_host("server")
    for on in (False, True):
        server.offload("tx-udp-segmentation", on)
        assert server.offload_is_on("tx-udp-segmentation") == on
    with pytest.raises(LabError, match="no offload 'warp'"):
        server.offload("warp", True)


# What is left of it: nothing.


def test_labs_stand_side_by_side(lab: Lab) -> None:
    with Lab() as second:
        for each in (lab, second):
            each.public_host("server")
        assert lab.tag != second.tag
        assert len(system.names_with(second.tag)) == 2
    assert not system.names_with(second.tag)
    assert len(system.names_with(lab.tag)) == 2


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or only waits for init to take note."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def build_and_fail() -> None:
    with Lab() as lab:
        lab.site("site")
        program = lab.core.popen(["sh", "-c", "echo my last words; trap '' TERM; sleep 60 & sleep 60"])
        program.wait_for_line("last words")
        raise ZeroDivisionError(lab.tag, lab.directory, program.pid)


def test_an_exception_leaves_nothing_and_carries_the_logs() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        build_and_fail()
    tag, directory, pid = caught.value.args
    assert any("my last words" in note for note in caught.value.__notes__)
    assert not system.names_with(tag)
    assert not directory.exists()
    assert has_ended(pid)


def test_a_daemon_that_left_its_group_is_ended_too() -> None:
    with Lab() as lab:
        lab.core.run(["setsid", "--fork", "sleep", "60"])
        wait_until(lambda: system.processes_in([lab.core.full_name]), 1.0, "the daemon runs")
        (pid,) = system.processes_in([lab.core.full_name])
    wait_until(lambda: has_ended(pid), 1.0, "the daemon has ended")


OWNER = """
import time
from l2mesh.lab import Lab
with Lab() as lab:
    lab.site("site")
    program = lab.core.popen("sleep 60")
    print(lab.tag, lab.directory, program.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_however_its_owner_ends_nothing_is_left(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as owner:
        assert owner.stdout is not None
        tag, directory, pid = owner.stdout.readline().split()
        assert tag not in sweep(), "a living lab was swept"
        assert len(system.names_with(tag)) == 3
        owner.send_signal(number)
        owner.wait(10)
    if number == signal.SIGKILL:
        sweep()  # by us; or another test was faster
    wait_until(lambda: not system.names_with(tag), 2.0, "its namespaces are gone")
    assert not Path(directory).exists()
    wait_until(lambda: has_ended(int(pid)), 2.0, "its program has ended")


CAUGHT_INSIDE = """
from l2mesh.lab import Lab
with Lab() as lab:
    inside = lab.public_host("h").entered()
    inside.__enter__()
print("alive")
"""


def test_who_is_caught_inside_a_namespace_by_a_signal_does_not_end_itself() -> None:
    """Seen once in some fifty demos that were ended by ctrl-C: it reported a SIGKILL."""
    done = subprocess.run([sys.executable, "-c", CAUGHT_INSIDE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


def test_a_lab_is_kept_until_it_is_swept_on_purpose(tmp_path: Path) -> None:
    with Lab("keep", tmp_path) as lab:
        lab.keep = True
        program = lab.core.popen("sleep 60")
    try:
        assert lab.tag not in sweep()
        assert program.poll() is None
        assert system.names_with(lab.tag)
    finally:
        assert lab.tag in sweep(kept=True, prefix="keep")  # not what others keep
    assert not system.names_with(lab.tag)
    assert program.wait() == -signal.SIGKILL


# Who may build one.


def test_what_is_missing_is_said_in_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    assert requirements() == []
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert requirements() == ["network namespaces need root: run it with sudo"]
    monkeypatch.setattr("l2mesh.lab.user_namespace.TOOLS", {"no-such-tool": "some-package"})
    assert requirements()[0] == "the command `no-such-tool` is missing: install the package some-package"


IN_USER_NAMESPACE = """
from pathlib import Path
from l2mesh.lab import Lab, classify, inside_user_namespace, nat, reexec_in_user_namespace
if not inside_user_namespace():
    reexec_in_user_namespace()
with Lab() as lab:
    server, site = lab.public_host("server", addresses=2), lab.site("site", nat.RESTRICTED_CONE)
    site.router.flush_conntrack()
    site.host.run("ip tuntap add tap0 mode tap")
    print(Path("/proc/self/uid_map").read_text().split()[2], classify(site.host, server).filtering.value)
"""


def test_a_lab_is_built_in_a_user_namespace_where_the_kernel_lets_us(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(IN_USER_NAMESPACE)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=20, check=False)
    if "the kernel lets users make no namespaces" in done.stderr:
        pytest.skip("user namespaces are switched off here")
    assert (done.stdout, done.stderr) == ("1 AD\n", "")
