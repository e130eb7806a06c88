"""What keeps a daemon from starting is said in a line, with the remedy and no traceback."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from l2mesh.lab import wait_until
from tests.net.mesh import UP_S, Edge, Tables, write_tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from l2mesh.lab import Process
    from tests.net.mesh import Mesh

pytestmark = pytest.mark.root

WITHOUT_NET_ADMIN = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
UNREACHABLE = ["192.0.2.1:7777"]


def party(mesh: Mesh, extra: Tables | None = None) -> Edge:
    """alice at home, with these tables in her file beside the usual."""
    alice = mesh.edge("alice", supernodes=UNREACHABLE)
    write_tables(alice.file, extra or {})
    return alice


def refused(process: Process, status: int) -> str:
    """What it says when it ends with this status."""
    assert process.wait(UP_S) == status, process.text()
    text = process.text()
    assert "Traceback" not in text
    assert re.search("^error: ", text, re.MULTILINE), text
    return text


@pytest.mark.parametrize("kind", ["tuntap add dev l2m0 mode tap", "link add name l2m0 type veth peer name p"])
def test_the_name_of_the_tap_is_in_use(mesh: Mesh, kind: str) -> None:
    alice = party(mesh)
    alice.host.ip([kind])
    text = refused(alice.launch(), 1)
    assert "cannot create TAP device l2m0: the name is in use" in text
    assert "ip link show l2m0" in text
    assert "virtio" not in text
    assert not alice.socket.exists()


def test_two_edges_on_one_host_share_no_device(mesh: Mesh) -> None:
    alice = party(mesh)
    alice.start()
    bob = mesh.edge(alice.host, name="bob", supernodes=UNREACHABLE)
    assert "the name is in use" in refused(bob.launch(), 1)
    assert alice.process.poll() is None
    assert "l2m0" in alice.host.run("ip link").stdout


def test_a_port_that_is_busy(mesh: Mesh) -> None:
    alice = party(mesh, {"transport": {"listen": ["0.0.0.0:4000"]}})
    supernode = mesh.supernode(alice.host, name="supernode")
    with alice.host.udp("0.0.0.0", 4000), alice.host.udp("0.0.0.0", 7777):
        for daemon, address in ((alice, "0.0.0.0:4000"), (supernode, "0.0.0.0:7777")):
            text = refused(daemon.launch(), 1)
            assert f"port busy: {address} is used by another program" in text
    assert "l2m0" not in alice.host.run("ip link").stdout


def test_a_remembered_port_that_is_busy_is_replaced(mesh: Mesh) -> None:
    alice = party(mesh)
    alice.start()
    port = alice.udp_port()
    assert alice.process.terminate() == 0
    with alice.host.udp("0.0.0.0", port):
        alice.start()
        assert alice.udp_port() != port


def test_a_capability_that_is_missing(mesh: Mesh) -> None:
    text = refused(party(mesh).launch(WITHOUT_NET_ADMIN), 1)
    assert "cannot open /dev/net/tun: permission denied: run as root, or grant CAP_NET_ADMIN" in text


def test_a_supernode_needs_no_capability_but_to_become_nobody(mesh: Mesh) -> None:
    supernode = mesh.supernode("supernode")
    supernode.launch(["setpriv", "--bounding-set=-all,+chown,+dac_override,+setuid,+setgid"])
    supernode.wait_ready()


def test_a_bridge_that_is_not_there(mesh: Mesh) -> None:
    text = refused(party(mesh, {"tap": {"bridge": "br9", "addresses": []}}).launch(), 1)
    assert "there is no bridge br9: create it first (ip link add br9 type bridge)" in text


def open_key(alice: Edge) -> None:
    alice.file.with_name("alice.key").chmod(0o640)


def no_file(alice: Edge) -> None:
    alice.file.unlink()


def rewritten(old: str, new: str) -> Callable[[Edge], None]:
    def rewrite(alice: Edge) -> None:
        text = alice.file.read_text()
        assert old in text
        alice.file.write_text(text.replace(old, new))

    return rewrite


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (open_key, r"alice\.key: others can read it \(mode 0640\): chmod 600 "),
        (no_file, r"office\.toml: no such file: make one with: l2mesh init"),
        (rewritten("[tap]", "[tap]\nmut = 1400"), r"\[tap\] mut.*did you mean.*mtu"),
        (rewritten("[tap]", '[tap]\nmtu = "1400"'), r"\[tap\] mtu = .*1400.*: must be"),
        (rewritten("192.0.2.1:7777", "192.0.2.1:seven"), r"\[network\] supernodes.*192\.0\.2\.1:seven"),
        (rewritten("10.98.0.1/24", "10.98.0.256/24"), r"\[tap\] addresses.*10\.98\.0\.256/24"),
    ],
    ids=["open-key", "no-file", "unknown-key", "wrong-type", "bad-supernode", "bad-address"],
)
def test_a_file_that_is_wrong(mesh: Mesh, spoil: Callable[[Edge], None], says: str) -> None:
    alice = party(mesh)
    spoil(alice)
    assert re.search(says, refused(alice.launch(), 2)), alice.process.text()
    assert "l2m0" not in alice.host.run("ip link").stdout


def test_a_supernode_whose_name_is_known_later(mesh: Mesh) -> None:
    mesh.lab.set_name("rendezvous.example")
    supernode = mesh.supernode("supernode")
    alice = mesh.edge("alice", supernodes=["rendezvous.example:7777"])
    mesh.start()
    alice.process.wait_for_line("cannot resolve rendezvous.example: .*: trying on")
    assert alice.get("status")["supernodes"][0]["state"] == "resolving"
    mesh.lab.set_name("rendezvous.example", supernode.host.address4)
    alice.process.wait_for_line("resolved rendezvous.example after [0-9]+ failures", UP_S)
    wait_until(lambda: supernode.registered() == {"alice"}, UP_S, "it registers")
    assert alice.process.text().count("cannot resolve") == 1


def test_commands_of_the_file_run_and_their_failure_ends_it(mesh: Mesh) -> None:
    up, down = "ip address add 10.97.0.1/24 dev $L2MESH_DEVICE", "ip -brief address show dev $L2MESH_DEVICE"
    alice = party(mesh, {"tap": {"up": up, "down": down}})
    alice.start()
    assert "10.97.0.1/24" in alice.host.run("ip address show dev l2m0").stdout
    assert alice.process.terminate() == 0
    assert "10.97.0.1/24" in alice.process.text()
    bob = mesh.edge("bob", supernodes=UNREACHABLE, tap={"up": "false"})
    assert "[tap] up = 'false': exit status 1" in refused(bob.launch(), 1)


def test_it_starts_in_a_bare_environment(mesh: Mesh) -> None:
    """As a service manager gives it."""
    alice = party(mesh)
    alice.launch(["env", "-i", f"PYTHONPATH={Path(__file__).parents[2]}"])
    alice.wait_ready()
