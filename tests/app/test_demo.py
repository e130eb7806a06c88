"""What `l2mesh demo` measures and says, without an internet: that is in tests/net/test_demo.py."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable

import msgspec
import pytest
from click.testing import Result as CliResult

from l2mesh.app.demo.checks import PINGS, read_ping
from l2mesh.app.demo.pairs import note
from l2mesh.app.demo.results import Broadcast, Member, Pair, Ping, Result, Transfer
from l2mesh.app.demo.screen import Lines, fitting
from l2mesh.app.demo.summary import facts, headline
from l2mesh.app.management.documents import EdgePeer, Path

PING = """PING 10.98.0.2 (10.98.0.2) 56(84) bytes of data.
64 bytes from 10.98.0.2: icmp_seq=1 ttl=64 time=2.50 ms
64 bytes from 10.98.0.2: icmp_seq=3 ttl=64 time=0.500 ms

--- 10.98.0.2 ping statistics ---
3 packets transmitted, 2 received, 33.3333% packet loss, time 404ms
"""


def peer(path: str | None, *, relay_fate: str = "untried") -> EdgePeer:
    relay = Path(
        path="relay",
        endpoint="198.18.1.2:7777",
        origin="relay",
        fate=relay_fate,
        rtt_ms=None,
        datagram_bytes=1472,
        probes_sent=1,
        last_received_s=None,
    )
    known = {"name": "bob", "public_key": "", "state": "up" if path else "connecting", "path": path}
    counts = dict.fromkeys(("rx_bytes", "tx_bytes", "rx_frames", "tx_frames", "stations"), 0)
    times = dict.fromkeys(("last_handshake_s", "last_received_s", "up_for_s"))
    more = {"endpoint": "198.18.3.2:4000" if path else None, "rtt_ms": 1.5, "datagram_bytes": 1472}
    return msgspec.convert(
        {**known, **counts, **times, **more, "cipher": None, "refusal": None, "candidates": [], "paths": [relay]},
        EdgePeer,
        from_attributes=True,
    )


def result() -> Result:
    ping = Ping(sent=5, received=5, min_ms=0.9, mean_ms=1.0, max_ms=1.2)
    pair = Pair(
        source="alice",
        destination="bob",
        first_frame_s=0.04,
        began_by_relay=True,
        path="direct",
        endpoint="198.18.3.2:4000",
        direct_s=0.31,
        ping=ping,
        cipher="AES-256-GCM",
    )
    texts = ("address", "lan_address", "nat_address", "namespace", "file", "log")
    members = [Member(name=name, start_s=1.0, **dict.fromkeys(texts, "")) for name in ("alice", "bob")]
    return Result(
        ok=True,
        parties=members,
        pairs=[pair],
        broadcast=Broadcast(source="alice", ethertype="0x88b5", received_by=["bob"], reflected=False),
        transfer=Transfer(
            source="alice",
            destination="bob",
            tool="iperf3",
            transferred_bytes=500_000_000,
            transfer_s=2.0,
            mbit_per_s=2000.0,
        ),
        namespaces=8,
    )


def test_ping_is_read_with_its_losses() -> None:
    assert read_ping(PING) == Ping(sent=3, received=2, min_ms=0.5, mean_ms=1.5, max_ms=2.5)


def test_a_ping_that_was_cut_short_counts_as_all_sent() -> None:
    assert read_ping("PING 10.98.0.2") == Ping(sent=PINGS, received=0, min_ms=None, mean_ms=None, max_ms=None)


def test_a_pair_remembers_the_relay_and_when_it_became_direct() -> None:
    pair = Pair(source="alice", destination="bob")
    note(pair, peer(None), 0.1)
    assert (pair.path, pair.began_by_relay, pair.direct_s) == (None, False, None)
    note(pair, peer("relay"), 0.2)
    note(pair, peer("direct"), 0.3)
    note(pair, peer("direct"), 0.4)
    assert (pair.path, pair.began_by_relay, pair.direct_s) == ("direct", True, 0.3)


def test_a_relay_that_served_between_two_looks_is_seen_by_its_answer() -> None:
    pair = Pair(source="alice", destination="bob")
    note(pair, peer("direct", relay_fate="valid"), 0.1)
    assert pair.began_by_relay


def test_a_relay_that_answers_later_was_not_the_beginning() -> None:
    pair = Pair(source="alice", destination="bob")
    note(pair, peer("direct"), 0.1)
    note(pair, peer("direct", relay_fate="valid"), 0.2)
    assert not pair.began_by_relay


def test_the_sum_up_says_what_was_found() -> None:
    assert headline(result()) == "It works: alice and bob share one Ethernet, each behind its own NAT."
    assert facts(result()) == {
        "ready": "1.0 s after the start of an edge",
        "first frame": "0.04 s after both edges were ready; 1 of 1 began by relay",
        "direct": "0.31 s after both edges were ready; 1 of 1 directions",
        "ping": "5 of 5 answered, in 1 directions; RTT 1.0 ms",
        "broadcast": "a frame of EtherType 0x88b5 from alice reached bob",
        "transfer": "2000 Mbit/s TCP from alice to bob (iperf3: 500.0 MB in 2.0 s)",
        "sealed with": "AES-256-GCM",
        "it ran": "1 l2mesh supernode, 2 l2mesh edge, in 8 network namespaces",
    }


def test_what_was_never_reached_is_not_summed_up() -> None:
    failed = Result(failures=["no frame after 5 s: alice → bob"], total_s=7.0)
    assert headline(failed) == "It does not work as it should (7.0 s):"
    assert facts(failed) == {}


def test_the_document_names_both_ends_of_a_pair() -> None:
    document = json.loads(msgspec.json.encode(result()))
    assert (document["pairs"][0]["from"], document["pairs"][0]["to"]) == ("alice", "bob")
    assert document["broadcast"]["from"] == "alice"


def test_a_pipe_gets_a_line_for_each_change_of_a_path(capsys: pytest.CaptureFixture[str]) -> None:
    pair = Pair(source="alice", destination="bob", path="relay", endpoint="198.18.1.2:7777")
    lines = Lines()
    lines.tick([pair])
    lines.tick([pair])
    pair.path, pair.endpoint, pair.rtt_ms = "direct", "198.18.3.2:4000", 1.25
    lines.tick([pair])
    lines.failed("TCP alice → bob: nothing arrived")
    said = [line.split(" s  ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert said == [
        "path    alice -> bob: relay by 198.18.1.2:7777",
        "path    alice -> bob: direct by 198.18.3.2:4000, 1.25 ms",
        "FAILED  TCP alice -> bob: nothing arrived",
    ]


def test_a_terminal_without_unicode_gets_ascii() -> None:
    drawing = "┌───┴───┐ │ NAT │ └───┬───┘ ┼ ✓ ✗ →"
    assert fitting(drawing, "iso-8859-1").isascii()
    assert fitting(drawing, "utf-8") == drawing


def test_down_goes_alone(l2mesh: Callable[..., CliResult]) -> None:
    refused = l2mesh("demo", "--down", "--keep")
    assert refused.exit_code == 2
    assert "--down goes alone" in refused.stderr


def test_our_own_transfer_counts_what_arrives() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    program = [sys.executable, "-m", "l2mesh.app.demo.transfer"]
    receive = [*program, "receive", "127.0.0.1", port]
    with subprocess.Popen(receive, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "listening\n"
        subprocess.run([*program, "send", "127.0.0.1", port, "0.05"], check=True, timeout=10)
        found = json.loads(server.stdout.read())
    assert found["bytes"] >= 1 << 20
    assert 0 < found["seconds"] < 5
