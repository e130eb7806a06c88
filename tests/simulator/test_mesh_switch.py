"""The mesh as one switch: learning, floods, moves, VLANs, and networks that never meet."""

from __future__ import annotations

from collections import Counter

import pytest

from l2mesh.core.drops import DropReason
from l2mesh.core.events import StationMoved
from l2mesh.core.supernode import SupernodeEngine
from l2mesh.simulator.link import Link
from l2mesh.simulator.mesh import Mesh, Network, frame, mac_of
from l2mesh.simulator.nat import HOME, SYMMETRIC, Nat
from l2mesh.simulator.node import Node

LINK = Link(delay=0.02)
EVERYBODY = b"\xff" * 6
ARP = 0x0806


def mesh_of(*names: str, seed: int = 1, nat: Nat = HOME) -> Mesh:
    mesh = Mesh(seed, LINK)
    mesh.supernode("hub")
    for name in names:
        mesh.edge(name, mesh.world.site(nat=nat))
    mesh.world.run_until(mesh.all_up, within=4)
    mesh.world.run(2)
    return mesh


def send(mesh: Mesh, name: str, *frames: bytes) -> None:
    mesh.edges[name].send_frames(frames)
    mesh.world.run(0.2)


def who_got(mesh: Mesh, sent: bytes) -> dict[str, int]:
    return {name: count for name, edge in mesh.edges.items() if (count := edge.frames.count(sent))}


@pytest.mark.parametrize("nat", [HOME, SYMMETRIC])
def test_a_broadcast_reaches_all_others_once_and_never_comes_back(nat: Nat) -> None:
    mesh = mesh_of("a", "b", "c", "d", nat=nat)
    for group in (EVERYBODY, bytes.fromhex("01005e0000fb"), bytes.fromhex("333300000001")):
        sent = frame(group, mac_of("a"), b"who has?", ARP)
        send(mesh, "a", sent)
        mesh.world.run(5)
        assert who_got(mesh, sent) == {"b": 1, "c": 1, "d": 1}


def test_an_unknown_station_is_flooded_to_and_a_known_one_is_not() -> None:
    mesh = mesh_of("a", "b", "c")
    station = bytes.fromhex("02aaaaaaaaaa")
    there = frame(station, mac_of("a"), b"anybody?")
    send(mesh, "a", there)
    assert who_got(mesh, there) == {"b": 1, "c": 1}
    send(mesh, "b", frame(mac_of("a"), station, b"me"))
    again = frame(station, mac_of("a"), b"only you")
    send(mesh, "a", again)
    assert who_got(mesh, again) == {"b": 1}


def test_a_station_that_moves_is_followed_and_told_of() -> None:
    mesh = mesh_of("a", "b", "c")
    station = bytes.fromhex("02aaaaaaaaaa")
    send(mesh, "b", frame(EVERYBODY, station, b"here", ARP))
    send(mesh, "c", frame(EVERYBODY, station, b"and now here", ARP))
    sent = frame(station, mac_of("a"), b"found you")
    send(mesh, "a", sent)
    assert who_got(mesh, sent) == {"c": 1}
    moved = StationMoved(station.hex(":"), "b", "c")
    assert moved in mesh.edges["a"].events
    assert StationMoved(station.hex(":"), "this side", "c") in mesh.edges["b"].events


def test_a_station_is_forgotten_after_five_minutes_and_flooded_to_again() -> None:
    mesh = mesh_of("a", "b", "c")
    station = bytes.fromhex("02aaaaaaaaaa")
    send(mesh, "b", frame(EVERYBODY, station, b"here", ARP))
    mesh.world.run(306)
    assert station not in dict(mesh.edges["a"].engine.switch.fdb.items())
    sent = frame(station, mac_of("a"), b"still there?")
    send(mesh, "a", sent)
    assert who_got(mesh, sent) == {"b": 1, "c": 1}


def test_vlans_are_carried_with_their_tags_and_learned_apart() -> None:
    mesh = mesh_of("a", "b", "c")
    station, tag = bytes.fromhex("02aaaaaaaaaa"), 0x8100
    in_vlan_5 = (5).to_bytes(2, "big") + b"\x08\x00five"
    in_vlan_6 = (6).to_bytes(2, "big") + b"\x08\x00six"
    send(mesh, "b", frame(EVERYBODY, station, in_vlan_5, tag))
    send(mesh, "c", frame(EVERYBODY, station, in_vlan_6, tag))
    to_five, to_six = frame(station, mac_of("a"), in_vlan_5, tag), frame(station, mac_of("a"), in_vlan_6, tag)
    send(mesh, "a", to_five, to_six)
    assert who_got(mesh, to_five) == {"b": 1}
    assert who_got(mesh, to_six) == {"c": 1}


def test_bridge_protocols_and_bad_sources_stay_at_home() -> None:
    mesh = mesh_of("a", "b")
    kept = [frame(bytes.fromhex("0180c20000") + bytes((last,)), mac_of("a")) for last in range(16)]
    kept.append(frame(mac_of("b"), EVERYBODY, b"from everybody"))
    carried = frame(bytes.fromhex("0180c2000010"), mac_of("a"))
    send(mesh, "a", *kept, carried)
    assert mesh.edges["b"].frames == [carried]


def test_any_ether_type_and_the_smallest_frame_pass_unchanged() -> None:
    mesh = mesh_of("a", "b")
    sent = [
        frame(mac_of("b"), mac_of("a"), b"x", kind) for kind in (0, 46, 0x0806, 0x8100, 0x8847, 0x88CC, 0xFFFF)
    ]
    sent += [mac_of("b") + mac_of("a") + kind for kind in (b"\x08\x00", b"\x81\x00", b"\x88\xa8")]
    sent += [mac_of("b") + mac_of("a") + b"\x81\x00\x05"]
    send(mesh, "a", *sent)
    assert Counter(mesh.edges["b"].frames) == Counter(sent)


@pytest.mark.parametrize("payload", [40, 700, 1400, 4000])
def test_a_flood_of_a_burst_is_the_same_at_every_peer(payload: int) -> None:
    """What packing does to a buffer for one peer must not be seen by the next."""
    mesh = mesh_of("a", "b", "c", "d")
    udp = bytes.fromhex("4500000000010000401100000a0000010a0000ff") + bytes.fromhex("1f901f9000000000")
    length = len(udp) + payload
    sent = []
    for number in range(40):
        packet = bytearray(udp + number.to_bytes(4, "big") * (payload // 4))
        packet[2:4] = length.to_bytes(2, "big")
        packet[4:6] = number.to_bytes(2, "big")
        packet[24:26] = (length - 20).to_bytes(2, "big")
        sent.append(frame(EVERYBODY, mac_of("a"), bytes(packet)))
    sent.append(frame(EVERYBODY, mac_of("a"), b"another kind", ARP))
    send(mesh, "a", *sent)
    got = [mesh.edges[name].delivered for name in "bcd"]
    assert got[0]
    assert got[0] == got[1] == got[2]


def test_our_own_address_cannot_be_taken_over_by_a_peer() -> None:
    mesh = mesh_of("a", "b", "c")
    stolen = frame(mac_of("c"), mac_of("a"), b"I am a")
    send(mesh, "b", stolen)
    send(mesh, "b", frame(EVERYBODY, mac_of("a"), b"I am a", ARP))
    assert mesh.edges["a"].engine.drops.as_dict()[DropReason.NOT_ITS_ADDRESS] == 2
    assert not [event for event in mesh.edges["a"].events if isinstance(event, StationMoved)]


def test_two_networks_at_one_supernode_never_meet() -> None:
    mesh = Mesh(5, LINK)
    hub: Node[SupernodeEngine] = mesh.supernode("hub")
    other = Network("another secret altogether")
    ours = ("a", "b")
    for name in ours:
        mesh.edge(name, mesh.world.site(nat=SYMMETRIC))
    for name in ("x", "y"):
        mesh.edge(name, mesh.world.site(nat=SYMMETRIC), network=other)
    mesh.world.run(30)
    for one in mesh.edges:
        for two in mesh.edges:
            assert mesh.is_up(one, two) == (one != two and (one in ours) == (two in ours))
        [link] = mesh.edges[one].engine.rendezvous.links
        members = ours if one in ours else ("x", "y")
        assert set(link.directory.entries) == {mesh.key_of(name) for name in members}
        assert set(mesh.edges[one].engine.edges) == {mesh.key_of(name) for name in members if name != one}
    sent = frame(EVERYBODY, mac_of("a"), b"hello network", ARP)
    send(mesh, "a", sent)
    assert who_got(mesh, sent) == {"b": 1}
    assert len(hub.engine.networks) == 2
    assert len(hub.engine.relay) == 2


def test_a_supernode_gives_no_channel_to_a_member_of_another_network() -> None:
    mesh = Mesh(5, LINK)
    hub: Node[SupernodeEngine] = mesh.supernode("hub")
    mesh.edge("a", mesh.world.site(nat=HOME))
    mesh.edge("x", mesh.world.site(nat=HOME), network=Network("another secret altogether"))
    mesh.world.run(5)
    engine = mesh.edges["a"].engine
    stranger = engine.edge_for(mesh.key_of("x"), mesh.world.now)
    assert stranger is not None
    stranger.listed_by.add(engine.rendezvous.links[0])
    engine.rendezvous.request_channels(stranger, mesh.world.now)
    mesh.edges["a"].settle()
    mesh.world.run(5)
    assert len(hub.engine.relay) == 0
    assert not stranger.channels
