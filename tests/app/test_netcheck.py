"""`l2mesh netcheck`: what it makes of what was found, and a real survey of real servers."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from click.testing import Result

from l2mesh.app.management.documents import Nat, NatServer, PortMapping
from l2mesh.app.verbs.netcheck import make_report
from l2mesh.wire.stun import BindingRequest, parse_stun

Command = Callable[..., Result]

SILENT = NatServer(name="hub", endpoint="198.51.100.7:7777", observed=None, rtt_ms=None, other=None)
HEARD = NatServer(name="hub", endpoint="198.51.100.7:7777", observed="203.0.113.5:40000", rtt_ms=21.3, other=None)
UNKNOWN = Nat(
    mapping="unknown",
    filtering="unknown",
    allocation="unknown",
    port_low=None,
    port_high=None,
    port_step=None,
    hairpin=None,
    servers=[],
    age_s=None,
)


def nat(**known: Any) -> Nat:
    return msgspec.structs.replace(UNKNOWN, servers=[HEARD], **known)


def mapping(**known: Any) -> PortMapping:
    nothing: dict[str, Any] = {"state": "none", "protocol": None, "external": None, "reason": None}
    return PortMapping(**{**nothing, "double_nat": False, **known})


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (nat(), "not known"),
        (nat(mapping="none"), "public IPv4 address"),
        (nat(mapping="endpoint-independent", filtering="endpoint-independent"), "an easy NAT"),
        (nat(mapping="endpoint-independent", filtering="address-and-port-dependent"), "an ordinary NAT"),
        (nat(mapping="address-and-port-dependent", allocation="sequential", port_step=1), "can be predicted"),
        (nat(mapping="address-dependent", allocation="block", port_low=1024, port_high=2047), "a block of ports"),
        (nat(mapping="destination-dependent", allocation="random"), "by relay to symmetric ones"),
    ],
)
def test_what_an_ipv4_nat_means(found: Nat, says: str) -> None:
    report = make_report(found, UNKNOWN, None)
    assert (report.udp, report.ipv6, report.rtt_ms) == (True, False, {"hub": 21.3})
    assert says in report.verdicts[0]
    assert len(report.verdicts) == 1


def test_without_an_answer_udp_is_blocked() -> None:
    silent = msgspec.structs.replace(UNKNOWN, servers=[SILENT])
    report = make_report(silent, UNKNOWN, None)
    assert not report.udp
    assert report.rtt_ms == {"hub": None}
    assert "a firewall seems to block it" in report.verdicts[0]
    assert make_report(silent, UNKNOWN, None, {"hub": 20.0}).udp


def test_a_mapping_two_nats_and_ipv6_are_told() -> None:
    told = make_report(nat(mapping="none"), nat(), mapping(state="open", external="203.0.113.5:40000")).verdicts
    assert "203.0.113.5:40000" in told[1]
    assert "IPv6 gets out" in told[2]
    assert "two NATs in a row" in make_report(nat(), UNKNOWN, mapping(double_nat=True)).verdicts[1]


@pytest.fixture
def server() -> Iterator[int]:
    """A STUN server on loopback, by hand: its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(10)
        thread = threading.Thread(target=_answer, args=(listening,), daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.sendto(b"", listening.getsockname())
        thread.join(5)


def _answer(listening: socket.socket) -> None:
    while True:
        datagram, source = listening.recvfrom(2048)
        if not datagram:
            return
        request = parse_stun(datagram)
        assert isinstance(request, BindingRequest)
        mapped = b"\x00\x01" + source[1].to_bytes(2, "big") + socket.inet_aton(source[0])
        attribute = b"\x00\x01\x00\x08" + mapped  # MAPPED-ADDRESS, as RFC 3489 had it
        header = b"\x01\x01" + len(attribute).to_bytes(2, "big") + datagram[4:20]
        listening.sendto(header + attribute, source)


def test_servers_are_asked_without_an_edge(l2mesh: Command, server: int) -> None:
    result = l2mesh("netcheck", "--server", f"127.0.0.1:{server}", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    [found] = document["nat"]["servers"]
    assert found["endpoint"] == f"127.0.0.1:{server}"
    assert found["observed"].startswith("127.0.0.1:")
    assert document["udp"]


def test_a_server_that_is_none_is_an_error_that_names_it(l2mesh: Command) -> None:
    result = l2mesh("netcheck", "--server", "nonsense:port")
    assert result.exit_code == 2
    assert "nonsense:port" in result.stderr


def test_target_and_servers_are_not_both_meant(l2mesh: Command) -> None:
    assert l2mesh("netcheck", "office", "--server", "127.0.0.1:1").exit_code == 2
