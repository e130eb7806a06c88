"""Who is in the network, and who is not: networks side by side, certificates, and strangers who get nothing."""

from __future__ import annotations

import os
import select
import time
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from l2mesh.app import keyfiles
from l2mesh.core import handshake
from l2mesh.core.peer import Identity, Peer, Role
from l2mesh.crypto import certificate
from l2mesh.crypto.aead import Suite
from l2mesh.crypto.keys import AuthorityKey, StaticKey, decode_key, network_id, network_psk
from l2mesh.crypto.tai64n import tai64n
from l2mesh.lab import nat, wait_until
from tests.net.mesh import UP_S, Edge, l2mesh

if TYPE_CHECKING:
    from pathlib import Path

    from l2mesh.lab import Host
    from tests.net.mesh import Mesh

pytestmark = pytest.mark.root

DAY = 86_400
SILENCE_S = 0.3  # the lab answers in a millisecond


def test_two_networks_at_one_supernode_never_see_each_other(mesh: Mesh) -> None:
    mesh.supernode("supernode")
    alice, bob = mesh.edge("alice"), mesh.edge("bob")
    # The others have the very same overlay addresses, and one of them the same LAN.
    carol = mesh.edge(mesh.lab.add_host(mesh.sites["alice"], "carol"), network="lab", number=1)
    dave = mesh.edge("dave", network="lab", number=2)
    mesh.start()
    for one, other in ((alice, bob), (carol, dave)):
        one.wait_path("direct", other.name)
        other.wait_path("direct", one.name)
    captures = [(mesh.directory / f"{edge.name}.pcap", edge) for edge in (bob, dave)]
    dumps = [edge.host.capture(path, edge.device) for path, edge in captures]
    for one, word in ((alice, b"office"), (carol, b"lablab")):
        one.ping("10.98.0.2", "-s", "600", "-p", word.hex())
        one.pings(["-b", "10.98.0.255", "-s", "600", "-p", word.hex()], check=False)
    office, lab = (path for path, _ in captures)
    for path, word in ((office, b"office"), (lab, b"lablab")):
        # A request, its answer and the broadcast, each with the word a hundred times.
        wait_until(lambda path=path, word=word: path.read_bytes().count(word) > 250, UP_S, "it was captured")  # type: ignore[misc]
    for dump in dumps:
        dump.terminate()
    assert b"lablab" not in office.read_bytes()
    assert b"office" not in lab.read_bytes()
    for edge, name in ((alice, "bob"), (bob, "alice"), (carol, "dave"), (dave, "carol")):
        assert [peer["name"] for peer in edge.get("peers")["peers"]] == [name]
    assert [one["members"] for one in mesh.supernodes[0].get("status")["networks"]] == [2, 2]


def test_a_certificate_network_from_request_to_ping(mesh: Mesh) -> None:
    supernode = mesh.supernode("supernode")
    file = mesh.init("alice", 1, "--certificates")
    alice = mesh.add(mesh.site("alice").host, file, 1, "alice")
    bob = admitted(mesh, "bob", 2, file)
    mesh.start()
    mesh.wait_up("direct")
    assert alice.ping(bob)
    assert alice.ping(bob.address6)
    assert supernode.registered() == {"alice", "bob"}
    assert not list(bob.file.parent.glob("*authority*")), "the authority's key left its host"


def admitted(mesh: Mesh, name: str, number: int, authority_file: Path) -> Edge:
    """A party of a certificate network, admitted by request and sign."""
    authority = tomllib.loads(authority_file.read_text())["network"]["authority"]
    file = mesh.init(name, number, "--authority", authority, verb="request")
    request, signed = file.with_name(f"{name}.request"), file.with_name(f"{name}.crt")
    key = authority_file.with_name("office.authority.key")
    l2mesh("sign", str(request), "--authority-key", str(key), "--output", str(signed))
    return mesh.add(mesh.site(name).host, file, number, name)


def initiation(identity: Identity, responder: bytes) -> bytes:
    """What an edge of this identity would send to the edge with that key."""
    peer = Peer(responder, Role.EDGE, identity.psk)
    begun = handshake.begin(identity, peer, 1, tai64n(time.time()), os.urandom, 0.0)
    return handshake.add_macs(begun.datagram, begun.mac1, b"")


def issued(authority: AuthorityKey, key: StaticKey, *, begins: float = -DAY, ends: float = DAY) -> bytes:
    now = time.time()
    return certificate.issue(
        authority, key.public, "mallory", not_before=int(now + begins), not_after=int(now + ends), serial=1
    )


def answers(host: Host, datagram: bytes, address: tuple[str, int]) -> list[bytes]:
    """What comes back to a socket of this host."""
    with host.udp() as udp:
        udp.sendto(datagram, address)
        return [udp.recv(2000)] if select.select([udp], [], [], SILENCE_S)[0] else []


def test_whoever_proves_no_membership_gets_no_answer_and_is_counted(mesh: Mesh) -> None:
    mesh.supernode("supernode")
    file = mesh.init("alice", 1, "--certificates")
    alice = mesh.add(mesh.site("alice", nat.ROUTED).host, file, 1, "alice")
    mesh.start()
    mallory = mesh.lab.public_host("mallory")
    address = (alice.host.address4, alice.udp_port())
    authority = keyfiles.load_authority_key(file.with_name("office.authority.key"))
    rogue = AuthorityKey.generate(os.urandom)
    key, another = StaticKey.generate(os.urandom), StaticKey.generate(os.urandom)
    alice_key = decode_key(alice.get("status")["public_key"], "key")
    member = Identity(
        role=Role.EDGE,
        static=key,
        suites=(Suite.AES_256_GCM,),
        instance=os.urandom(8),
        network_id=network_id(authority.public),
        psk=network_psk(authority.public),
        certificate=issued(authority, key),
    )
    strangers = {
        "certificate of another authority": replace(member, certificate=issued(rogue, key)),
        "certificate expired": replace(member, certificate=issued(authority, key, begins=-2 * DAY, ends=-DAY)),
        "certificate not yet valid": replace(member, certificate=issued(authority, key, begins=DAY, ends=2 * DAY)),
        "not a member": replace(member, certificate=issued(authority, another)),
        "bad certificate": replace(member, certificate=b"no certificate at all"),
        "not authentic": replace(member, network_id=network_id(rogue.public)),
        "wrong mac1": replace(member, psk=network_psk(rogue.public)),
    }
    for reason, stranger in strangers.items():
        before = alice.drops().get(reason, 0)
        assert answers(mallory, initiation(stranger, alice_key), address) == [], reason
        assert alice.drops().get(reason, 0) == before + 1, alice.drops()
    assert alice.get("peers")["peers"] == []
    assert len(answers(mallory, initiation(member, alice_key), address)) == 1, "a member gets one"


def test_a_stranger_with_a_secret_of_its_own_gets_nothing_from_edges_or_for_them(mesh: Mesh) -> None:
    """As a real process: at the same supernode, and with an edge for its supernode."""
    mesh.supernode("supernode")
    alice = mesh.edge(mesh.site("alice", nat.ROUTED).host)
    mesh.start()
    address = f"{alice.host.address4}:{alice.udp_port()}"
    key = alice.get("status")["public_key"]
    mesh.secrets.clear()
    site = mesh.site("mallory", nat.ROUTED)
    mallory = mesh.edge(site.host, supernodes=[mesh.supernodes[0].address, address])
    mesh.secrets.clear()
    trudy = mesh.edge(mesh.site("trudy", nat.ROUTED).host, supernodes=[f"{address}#{key}"])
    replies = mesh.lab.core.drop(
        f"ip saddr {alice.host.address4} ip daddr {{ {mallory.host.address4}, {trudy.host.address4} }}"
    )
    before = alice.drops()
    mesh.start()
    wait_until(lambda: "mallory" in mesh.supernodes[0].registered(), UP_S, "mallory's network is served too")
    wait_until(
        lambda: alice.drops().get("wrong mac1", 0) > before.get("wrong mac1", 0) + 1,
        UP_S,
        "alice counts initiations of trudy's",
    )
    wait_until(lambda: alice.drops().get("unknown type", 0) > 0, UP_S, "alice counts mallory's key requests")
    assert replies.packets() == 0
    for edge in mesh.edges:
        assert edge.get("peers")["peers"] == []


def test_a_port_that_nobody_knows_is_silent(mesh: Mesh) -> None:
    """An edge's port answers a stranger's datagrams of any type with nothing."""
    mesh.supernode("supernode")
    alice = mesh.edge(mesh.site("alice", nat.ROUTED).host)
    mesh.start()
    mallory = mesh.lab.public_host("mallory")
    with mallory.udp() as udp:
        udp.setblocking(False)
        for kind in range(256):
            for size in (0, 3, 63, 300):
                udp.sendto(bytes((kind,)) + bytes(3) + os.urandom(size), (alice.host.address4, alice.udp_port()))
        wait_until(lambda: sum(alice.drops().values()) >= 4 * 250, UP_S, "all are counted")
        with pytest.raises(BlockingIOError):
            udp.recv(2000)
