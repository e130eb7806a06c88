"""`l2mesh netcheck`: what the NAT and the internet around this host allow."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from l2mesh.app.management import units
from l2mesh.app.management.client import decode
from l2mesh.app.management.documents import EdgeStatus, Nat, NetCheck, PortMapping, Status
from l2mesh.app.management.nat_words import UNKNOWN, words
from l2mesh.app.management.show import Column, show_facts, show_json, show_table
from l2mesh.app.management.target import client_of, json_option, target_argument

if TYPE_CHECKING:
    from l2mesh.app.values import StunAddress

HELP = """Show what the NAT and the internet around this host allow: how the NAT maps and filters, whether UDP and
IPv6 get out, how far each supernode is, and what that means for direct paths.

An edge that runs here is asked what it found; TARGET is its network file, its network's name or its socket.
With --server, or a network file whose edge does not run, the servers are asked now; that takes a few seconds
and needs no privilege. A supernode that listens on two ports, better on two addresses too, lets most be found out.

\b
    l2mesh netcheck
    l2mesh netcheck office.toml
    l2mesh netcheck --server 198.51.100.7:7777 --server stun.example.net:3478 --json
"""

OPEN_FILTERING = "endpoint-independent"


@click.command("netcheck", help=HELP)
@target_argument
@click.option("--server", "servers", multiple=True, metavar="HOST:PORT", help="A supernode or STUN server to ask.")
@json_option
def command(target: str | None, servers: tuple[str, ...], as_json: bool) -> int:
    if target is not None and servers:
        raise click.UsageError("TARGET or --server, not both: a network file names its servers")
    found = _survey(_addresses(servers)) if servers else _of(target)
    if as_json:
        show_json(msgspec.json.encode(found))
    else:
        show(found)
    return 0 if found.udp else 1


def _of(target: str | None) -> NetCheck:
    """What the edge found that runs; for a file whose edge does not, what its servers say now."""
    from l2mesh.app.errors import CommandError

    try:
        document = client_of(target, edge=True).get("/v1/status")
    except (CommandError, OSError):
        if target is None or not Path(target).is_file():
            raise
        return _survey(_of_file(Path(target)))
    status: Status = decode(document, Status)  # type: ignore[arg-type]  # a union is no type[T]
    assert isinstance(status, EdgeStatus)  # /v1/status of a supernode is not asked for
    answered = {one.name: one.rtt_ms for one in status.supernodes if one.rtt_ms is not None}
    return make_report(status.nat, status.nat_ipv6, status.port_mapping, answered)


def make_report(
    nat: Nat, nat_ipv6: Nat, mapping: PortMapping | None, answered: dict[str, float] | None = None
) -> NetCheck:
    """`answered`: round-trip times in ms of supernodes whose sessions measured them."""
    servers = [*nat.servers, *nat_ipv6.servers]
    udp = bool(answered) or any(one.observed for one in servers)
    rtts: dict[str, float | None] = {one.name: None for one in servers}
    for one in servers:
        known = [rtt for rtt in (rtts[one.name], one.rtt_ms) if rtt is not None]
        rtts[one.name] = min(known, default=None)
    rtts |= answered or {}
    ipv6 = any(one.observed for one in nat_ipv6.servers)
    return NetCheck(
        udp=udp,
        ipv6=ipv6,
        nat=nat,
        nat_ipv6=nat_ipv6,
        port_mapping=mapping,
        rtt_ms=rtts,
        verdicts=verdicts(udp, ipv6, nat, mapping),
    )


def verdicts(udp: bool, ipv6: bool, nat: Nat, mapping: PortMapping | None) -> list[str]:
    """What it means, in sentences."""
    if not udp:
        return ["no server answers over UDP: a firewall seems to block it, and without UDP there is no mesh"]
    found = [_about_mapping(nat)]
    if mapping is not None and mapping.state == "open":
        found.append(
            f"the router forwards {mapping.external} to this host: peers behind any NAT reach it directly"
        )
    if mapping is not None and mapping.double_nat:
        found.append("there seem to be two NATs in a row: a forwarded port of the inner one alone does not help")
    if ipv6:
        found.append("IPv6 gets out: peers with IPv6 are reached directly, where firewalls let answers in")
    return found


def _about_mapping(nat: Nat) -> str:
    if nat.mapping == "none":
        return "this host has a public IPv4 address: peers reach it directly unless a firewall stands before it"
    if nat.mapping == UNKNOWN:
        return "how the NAT maps is not known: that takes a server with two ports or two addresses, or two servers"
    if nat.mapping == "endpoint-independent":
        if nat.filtering == OPEN_FILTERING:
            return "an easy NAT: peers behind any NAT reach this host directly"
        return "an ordinary NAT: direct to peers whose NAT does the same; to others by guessing ports"
    if nat.allocation == "sequential":
        return "a symmetric NAT whose ports can be predicted: direct to most peers"
    if nat.allocation == "block":
        return "a symmetric NAT with a block of ports: direct to most peers, after some seconds of trying"
    return "a symmetric NAT: direct to ordinary NATs after some seconds of trying, by relay to symmetric ones"


def show(found: NetCheck) -> None:
    facts = {"UDP": "gets out" if found.udp else "blocked", "IPv4": words(found.nat)}
    if found.nat.hairpin is not None:
        facts["hairpin"] = "yes" if found.nat.hairpin else "no"
    facts["IPv6"] = words(found.nat_ipv6) if found.ipv6 else "does not get out, or no server has it"
    if found.port_mapping is not None:
        mapping = found.port_mapping
        facts["port mapping"] = " ".join(filter(None, (mapping.state, mapping.external, mapping.reason)))
    show_facts(facts)
    click.echo()
    rows = [
        (one.name, one.endpoint, one.observed or "no answer", units.round_trip(one.rtt_ms))
        for one in (*found.nat.servers, *found.nat_ipv6.servers)
    ]
    columns = (Column("server"), Column("asked at"), Column("sees us at"), Column("rtt", right=True))
    show_table(columns, rows, "no server was asked")
    click.echo()
    for verdict in found.verdicts:
        click.echo(f"- {verdict}")


def _addresses(texts: tuple[str, ...]) -> list[tuple[str, int]]:
    from l2mesh.app.values import parse_stun

    found: list[tuple[str, int]] = []
    for text in texts:
        try:
            one: StunAddress = parse_stun(text)
        except ValueError as error:
            raise click.BadParameter(f"{text}: {error}", param_hint="--server") from None
        found.append((one.host, one.port))
    return found


def _of_file(path: Path) -> list[tuple[str, int]]:
    from l2mesh.app.config import load_edge

    config = load_edge(path)
    supernodes = [(one.host, one.port) for one in config.network.supernodes]
    return supernodes + [(one.host, one.port) for one in config.transport.stun]


def _survey(servers: list[tuple[str, int]]) -> NetCheck:
    from l2mesh.app.management.nat_views import nat_document
    from l2mesh.app.netcheck import survey
    from l2mesh.core.nat import UNKNOWN_BEHAVIOUR
    from l2mesh.shell.clock import now

    found = asyncio.run(survey(servers))
    nats = [nat_document(found.get(version, UNKNOWN_BEHAVIOUR), now()) for version in (4, 6)]
    return make_report(nats[0], nats[1], None)
