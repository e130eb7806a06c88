"""`l2mesh status`: what a running edge or supernode is, and how it does."""

from __future__ import annotations

import click

from l2mesh.app.management import units
from l2mesh.app.management.client import decode
from l2mesh.app.management.documents import EdgeStatus, Nat, Port, PortMapping, Status, Supernode, SupernodeStatus
from l2mesh.app.management.show import Column, show_drops, show_facts, show_json, show_table
from l2mesh.app.management.target import TARGET_HELP, client_of, json_option, target_argument

HELP = f"""Show what a running edge or supernode is, whom it reaches, and what it dropped.

{TARGET_HELP}

\b
    l2mesh status
    l2mesh status office
    l2mesh status office.toml --json
"""


@click.command("status", help=HELP)
@target_argument
@json_option
def command(target: str | None, as_json: bool) -> None:
    document = client_of(target).get("/v1/status")
    if as_json:
        show_json(document)
        return
    status: Status = decode(document, Status)  # type: ignore[arg-type]  # a union is no type[T]
    if isinstance(status, EdgeStatus):
        show_edge(status)
    else:
        show_supernode(status)


def show_edge(status: EdgeStatus) -> None:
    relaying = _relaying(status) if status.relays_for_others or status.relay_pairs else {}
    show_facts(
        {
            "edge": f"{status.name} of the network {status.network}, up for {units.duration(status.uptime_s)}",
            "device": f"{status.device}  MAC {status.mac}  MTU {status.mtu}",
            "public key": status.public_key,
            "listens on": ", ".join(status.listen) or units.NOTHING,
            "relay": status.relay,
            "NAT": _nat(status.nat),
            "port mapping": _mapping(status.port_mapping),
            "peers": f"{status.peers_up} of {status.peers_known} up",
            "stations": str(status.fdb_stations),
            "received": _traffic(status.rx_frames, status.rx_bytes),
            "sent": _traffic(status.tx_frames, status.tx_bytes),
            **relaying,
            "version": status.version,
        }
    )
    click.echo()
    show_table(
        [
            Column("supernode"),
            Column("state"),
            Column("endpoint"),
            Column("sees us at", spare=True),
            Column("rtt", right=True),
            Column("members", right=True, spare=True),
        ],
        [_supernode(one) for one in status.supernodes],
    )
    for one in status.supernodes:
        if one.refusal:
            click.echo(f"{one.name} refuses us: {one.refusal}")
    _show_dropped(status.drops, status.ports, status.unroutable)


def show_supernode(status: SupernodeStatus) -> None:
    show_facts(
        {
            "supernode": f"up for {units.duration(status.uptime_s)}",
            "public key": status.public_key,
            "listens on": ", ".join(status.listen) or units.NOTHING,
            "sessions": str(status.sessions),
            **_relaying(status),
            "version": status.version,
        }
    )
    click.echo()
    show_table(
        [Column("network"), Column("members", right=True), Column("authority", spare=True)],
        [(one.network, str(one.members), one.authority) for one in status.networks],
        "no edge is registered",
    )
    _show_dropped(status.drops, status.ports, status.unroutable)


def _relaying(status: EdgeStatus | SupernodeStatus) -> dict[str, str]:
    relayed = units.count_of(status.relayed_datagrams, "datagram")
    return {
        "relays for": f"{units.count_of(status.relay_pairs, 'pair')}",
        "relayed": f"{relayed}, {units.size(status.relayed_bytes)}",
    }


def _supernode(one: Supernode) -> tuple[str | None, ...]:
    return one.name, one.state, one.endpoint, one.observed, units.round_trip(one.rtt_ms), str(one.members)


def _nat(one: Nat) -> str:
    if one.mapping == "none":
        return f"none, {one.filtering} filtering"
    words = f"{one.mapping} mapping, {one.filtering} filtering"
    if one.port_step is not None:
        return f"{words}, ports in steps of {one.port_step}"
    return words if one.port_low is None else f"{words}, ports {one.port_low} to {one.port_high}"


def _mapping(one: PortMapping) -> str:
    words = [one.state] + [text for text in (one.external, one.protocol and f"by {one.protocol}") if text]
    return " ".join(words) + (f": {one.reason}" if one.reason else "")


def _traffic(frames: int, count: int) -> str:
    return f"{units.count_of(frames, 'frame')}, {units.size(count)}"


def _show_dropped(drops: dict[str, int], ports: dict[str, Port], unroutable: int) -> None:
    dropped = dict(drops)
    for name, port in ports.items():
        dropped |= {f"{name}: {reason}": count for reason, count in port.drops.items()}
    if unroutable:
        dropped["no socket to send it by"] = unroutable
    if dropped:
        click.echo()
        show_drops(dropped)
