"""`l2mesh request`: the files of a party that an authority shall admit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from l2mesh.app import networks
from l2mesh.app.admission import Request, write_request
from l2mesh.app.networks import Party
from l2mesh.app.options import checked, party_options
from l2mesh.app.values import parse_key
from l2mesh.crypto.keys import encode_key

if TYPE_CHECKING:
    from pathlib import Path

    from l2mesh.app.values import Interface, SupernodeAddress

HELP = """Ask the authority of a certificate network to admit this host.

Writes this party's private key, its network file NAME.toml, and NODE.request with its name and public key.
Send the request to the authority's holder, who runs `l2mesh sign` and sends back NODE.crt. The private key
stays here.

\b
    l2mesh request office --authority KEY --supernode 198.51.100.7:7777 --node bob --address 10.98.0.2/24

An existing file is never overwritten; an existing NODE.key is used.
"""


@click.command("request", help=HELP)
@party_options
@click.option(
    "--authority",
    metavar="KEY",
    required=True,
    callback=checked(parse_key),
    help="Public key of the network's authority, which `l2mesh init --certificates` printed.",
)
def command(
    network: str,
    supernodes: tuple[SupernodeAddress, ...],
    node: str,
    addresses: tuple[Interface, ...],
    directory: Path,
    relays: bool,
    authority: bytes,
) -> None:
    party = Party(network, node, supernodes, addresses, directory, relays)
    networks.refuse_existing([party.file, party.request])
    key = networks.node_key(party)
    write_request(party.request, Request(network, authority, node, key.public))
    networks.tell(party.request, "name and public key, for the authority's holder: not secret")
    joining = f"It needs {party.certificate.name}, which `l2mesh sign` makes from {party.request.name}."
    networks.write_network_file(party, {"authority": encode_key(authority)}, certificate=True, joining=joining)
    sign = (
        f"l2mesh sign {party.request.name} --authority-key {party.authority_key.name}"
        f" --output {party.certificate.name}{' --capability relay' if relays else ''}"
    )
    click.echo(
        f"\nSend {party.request} to the authority's holder, who runs\n    {sign}\n"
        f"and sends back {party.certificate.name}. Put it at {party.certificate}, then start:\n"
        f"    {party.start}\n\n"
        f"The holder can compare this public key with yours, by telephone say:\n    {encode_key(key.public)}"
    )
