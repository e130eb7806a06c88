"""`l2mesh sign`: admit the party that a request comes from."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from ipaddress import ip_interface
from pathlib import Path

import click

from l2mesh.app import keyfiles
from l2mesh.app.admission import DAY, NewCertificate, Request, issue, read_request
from l2mesh.app.errors import ConfigError
from l2mesh.app.options import checked
from l2mesh.app.values import format_mac, parse_all, parse_mac
from l2mesh.crypto.certificate import Capability, to_pem
from l2mesh.crypto.keys import AuthorityKey, encode_key

LONGEST_DAYS = 36500

HELP = """Admit the host that a request comes from: makes its certificate.

Shows who is admitted, and prints the certificate, or writes it to --output; send it back. Before you send it,
compare the public key with the one that `l2mesh request` showed, over a channel that you trust.

\b
    l2mesh sign bob.request --authority-key office.authority.key --output bob.crt
To renew a certificate, sign the same request again.
"""


def parse_address(text: str) -> str:
    """`10.98.0.2`, or `10.98.0.2/24` as in a network file."""
    try:
        return str(ip_interface(text).ip)
    except ValueError:
        raise ValueError("must be an IP address, as in 10.98.0.2") from None


def parse_given_mac(text: str) -> bytes:
    mac = parse_mac(text) if text != "auto" else None
    if mac is None:
        raise ValueError('must be six octets, as in "02:4c:32:00:00:01"')
    return mac


@click.command("sign", help=HELP)
@click.argument("request", metavar="REQUEST", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--authority-key",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Private key of the network's authority.",
)
@click.option(
    "--days",
    type=click.IntRange(1, LONGEST_DAYS),
    default=365,
    show_default=True,
    help="How long the certificate is valid.",
)
@click.option(
    "--address",
    "addresses",
    metavar="IP",
    multiple=True,
    callback=checked(lambda texts: parse_all(texts, parse_address)),
    help="An address that the host may use; any, if none is given. May be given several times.",
)
@click.option(
    "--mac",
    "macs",
    metavar="MAC",
    multiple=True,
    callback=checked(lambda texts: parse_all(texts, parse_given_mac)),
    help="A MAC that the host may use; any, if none is given. May be given several times.",
)
@click.option(
    "--capability",
    "capabilities",
    type=click.Choice([one.value for one in Capability]),
    multiple=True,
    help="What the host may do beyond carrying its own frames. May be given several times.",
)
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the certificate, in place of an older one; standard output, if not given.",
)
def command(
    request: Path,
    authority_key: Path,
    days: int,
    addresses: tuple[str, ...],
    macs: tuple[bytes, ...],
    capabilities: tuple[str, ...],
    output: Path | None,
) -> None:
    asked = read_request(request)
    authority = keyfiles.load_authority_key(authority_key)
    _refuse_another_network(request, asked, authority_key, authority)
    order = NewCertificate(asked.name, asked.public_key, days, addresses, macs, capabilities)
    now = time.time()
    try:
        der = issue(authority, order, now)
    except ValueError as error:
        raise ConfigError(f"{request}: {error}") from None
    click.echo(describe(asked.network, order, now), err=True)
    if output is None:
        click.echo(to_pem(der), nl=False)
        return
    keyfiles.save_certificate(output, der)
    click.echo(f"made  {output}  send it to {asked.name}, who puts it beside {asked.network}.toml", err=True)


def describe(network: str, order: NewCertificate, wall_now: float) -> str:
    """Who is admitted, to what, for how long: what the authority's holder should read."""
    until = datetime.fromtimestamp(wall_now + order.days * DAY, UTC)
    lines = [
        f"admits        {order.name} to the network {network}",
        f"public key    {encode_key(order.public_key)}",
        f"until         {until:%Y-%m-%d %H:%M} UTC ({order.days} days)",
        f"addresses     {', '.join(order.addresses) or 'any'}",
        f"MACs          {', '.join(map(format_mac, order.macs)) or 'any'}",
        f"capabilities  {', '.join(order.capabilities) or 'none'}",
    ]
    return "\n".join(lines)


def _refuse_another_network(path: Path, request: Request, authority_path: Path, authority: AuthorityKey) -> None:
    if request.authority != authority.public:
        asked, ours = encode_key(request.authority), encode_key(authority.public)
        raise ConfigError(f"{path}: asks the authority {asked}, but {authority_path} is the key of {ours}")
