"""`l2mesh init`: the files of a network's first party, or of one that was given the secret."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from l2mesh.app import keyfiles, networks
from l2mesh.app.admission import NewCertificate, issue
from l2mesh.app.given_secret import read_secret, secret_source
from l2mesh.app.networks import Party
from l2mesh.app.options import party_options
from l2mesh.crypto.certificate import Capability
from l2mesh.crypto.keys import KEY_SIZE, encode_key

if TYPE_CHECKING:
    from l2mesh.app.values import Interface, SupernodeAddress

DAYS = 365  # how long the first party's certificate is valid

HELP = """Make a network: writes NAME.toml (this party's network file) and its private key.

By default members share a secret, which is in NAME.toml; give it to the other parties over a safe channel.
With --certificates an authority admits each party instead: NAME.authority.key is its key, and
`l2mesh request` and `l2mesh sign` admit the others.

\b
The first party:
    l2mesh init office --supernode 198.51.100.7:7777 --node alice --address 10.98.0.1/24
Another party, which is given the secret on its standard input:
    l2mesh init office --supernode 198.51.100.7:7777 --node bob --address 10.98.0.2/24 --secret -

An existing file is never overwritten; an existing NODE.key is used.
"""


@click.command("init", help=HELP)
@party_options
@click.option("--certificates", is_flag=True, help="Admit by certificates of an authority, not by a secret.")
@click.option("--secret", metavar="-", help="Join with the secret read from standard input (the value is -).")
@click.option(
    "--secret-file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path, allow_dash=True),
    help="Join with the secret in FILE: base64, or a network file that has it.",
)
def command(
    network: str,
    supernodes: tuple[SupernodeAddress, ...],
    node: str,
    addresses: tuple[Interface, ...],
    directory: Path,
    relays: bool,
    certificates: bool,
    secret: str | None,
    secret_file: Path | None,
) -> None:
    source = secret_source(secret, secret_file)
    if certificates and source:
        raise click.UsageError("--certificates makes a network without a secret: leave one of the two away")
    party = Party(network, node, supernodes, addresses, directory, relays)
    if certificates:
        _with_authority(party)
    else:
        _with_secret(party, source)


def _with_secret(party: Party, source: Path | None) -> None:
    networks.refuse_existing([party.file])
    secret = encode_key(read_secret(source) if source else secrets.token_bytes(KEY_SIZE))
    networks.node_key(party)
    join = f"l2mesh init {party.network} {party.options_of_another} --secret -"
    joining = (
        "Whoever has the secret is a member. Another party, say bob, joins with it:\n"
        f"    grep '^secret' {party.file.name} | ssh bob \"{join}\""
    )
    networks.write_network_file(party, {"secret": secret}, certificate=False, joining=joining)
    click.echo(f"\nStart this party:\n    {party.start}")
    if source is None:
        click.echo(
            "\nAnother party joins with the secret, which is in the file: whoever has it is a member, so\n"
            f"give it over a safe channel, such as ssh:\n    grep '^secret' {party.file} | ssh bob \"{join}\""
        )


def _with_authority(party: Party) -> None:
    networks.refuse_existing([party.file, party.authority_key, party.certificate])
    key = networks.node_key(party)
    authority = keyfiles.make_authority_key(party.authority_key)
    networks.tell(party.authority_key, "private key of the authority, which admits members: keep it safe")
    capabilities = (Capability.RELAY,) if party.relays else ()
    order = NewCertificate(party.node, key.public, DAYS, capabilities=capabilities)
    keyfiles.save_certificate(party.certificate, issue(authority, order, time.time()))
    networks.tell(party.certificate, f"certificate of {party.node}, valid for {DAYS} days")
    public = encode_key(authority.public)
    join = f"l2mesh request {party.network} --authority {public} {party.options_of_another} --node bob"
    sign = f"l2mesh sign bob.request --authority-key {party.authority_key} --output bob.crt"
    joining = (
        f"Another party, say bob, asks to be admitted with\n    {join}\n"
        f"and whoever holds the authority's key admits it with\n    {sign}"
    )
    networks.write_network_file(party, {"authority": public}, certificate=True, joining=joining)
    click.echo(
        f"\nStart this party:\n    {party.start}\n\n"
        f"Another party, say bob, runs\n    {join}\n"
        f"and sends you bob.request; you run\n    {sign}\n"
        "and send it bob.crt. Neither file is secret."
    )
