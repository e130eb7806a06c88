"""Arguments and options that several verbs share, checked by the same parsers as the network file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from l2mesh.app.config import default_node_name
from l2mesh.app.values import (
    SupernodeAddress,
    parse_all,
    parse_interface,
    parse_supernode,
)

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

NAME = re.compile(r"[a-z0-9-]{1,63}")


def checked(parse: Callable[[Any], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A click callback from a parser that raises ValueError; an option not given stays as it is."""

    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error), context, parameter) from None

    return callback


def parse_name(text: str) -> str:
    """A network's or a node's name."""
    if not NAME.fullmatch(text):
        raise ValueError(f"'{text}' must be 1 to 63 characters of a-z, 0-9 and -")
    return text


def party_options(command: F) -> F:
    """NAME, --supernode, --node, --address, --dir, --relay-for-others: what makes a `networks.Party`."""
    for option in reversed(
        (
            click.argument("network", metavar="NAME", callback=checked(parse_name)),
            click.option(
                "--supernode",
                "supernodes",
                metavar="HOST:PORT",
                multiple=True,
                required=True,
                callback=checked(lambda texts: parse_all(texts, parse_supernode, _host_and_port)),
                help="A supernode of the network; HOST:PORT#KEY pins its key. May be given several times.",
            ),
            click.option(
                "--node",
                metavar="NAME",
                default=default_node_name,
                show_default="the host name",
                callback=checked(parse_name),
                help="What this party is called in the network.",
            ),
            click.option(
                "--address",
                "addresses",
                metavar="CIDR",
                multiple=True,
                callback=checked(lambda texts: parse_all(texts, parse_interface, lambda one: one.ip)),
                help="Address of this party in the network, as in 10.98.0.1/24. May be given several times.",
            ),
            click.option(
                "--dir",
                "directory",
                metavar="DIR",
                type=click.Path(file_okay=False, path_type=Path),
                default=Path(),
                show_default="here",
                help="Where to write the files.",
            ),
            click.option(
                "--relay-for-others",
                "relays",
                is_flag=True,
                help="Let this party carry, sealed, what others cannot send each other directly.",
            ),
        )
    ):
        command = option(command)
    return command


def _host_and_port(supernode: SupernodeAddress) -> tuple[str, int]:
    return supernode.host.lower(), supernode.port
