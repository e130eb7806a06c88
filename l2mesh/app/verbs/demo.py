"""`l2mesh demo`: a whole mesh on this machine."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

import click
import msgspec

from l2mesh.app.errors import CommandError
from l2mesh.lab import (
    reexec_in_user_namespace,
    requirements,
    system,
    user_namespace_requirements,
)

if TYPE_CHECKING:
    from l2mesh.app.demo.results import Result

FAILED = 1

HELP = """A whole mesh on this machine: a supernode, three homes behind NAT routers, and a party in each.

Builds a little internet of network namespaces, runs `l2mesh supernode` and three `l2mesh edge` in it, shows how
they find each other, pings, broadcasts, transfers, and sums up; in ten seconds, and nothing of it stays. Ends with
status 1 if anything did not work. Needs root, or a kernel that lets users make namespaces.

\b
    sudo l2mesh demo
    sudo l2mesh demo --keep      stays up: enter the parties, look around
    sudo l2mesh demo --down      takes down what was kept
"""


@click.command("demo", help=HELP)
@click.option("--keep", is_flag=True, help="Leave it up, and say how to enter it and how to take it down.")
@click.option("--down", is_flag=True, help="Take down every demo that was kept.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(keep: bool, down: bool, as_json: bool) -> int:
    if down:
        if keep or as_json:
            raise click.UsageError("--down goes alone: leave the other options away")
        return _take_down()
    _go_where_it_can_be(quiet=as_json)
    from l2mesh.app.demo.run import run_demo
    from l2mesh.app.demo.screen import make_screen

    try:
        result = run_demo(make_screen(silent=as_json), keep=keep)
    except KeyboardInterrupt:
        if not as_json:
            click.echo("\nstopped: nothing of it is left", err=True)
        raise
    if as_json:
        click.echo(msgspec.json.encode(result))
    else:
        _show(result)
    return 0 if result.ok else FAILED


def _take_down() -> int:
    from l2mesh.app.demo.keeping import take_down

    gone = take_down()
    for tag in gone:
        click.echo(f"took down {tag}")
    if not gone:
        click.echo("no demo of yours is up")
    return 0


def _go_where_it_can_be(*, quiet: bool) -> None:
    """Returns where a lab can be built: here, or in a user namespace that we start again in. CommandError."""
    if shutil.which("ping", path=system.environment()["PATH"]) is None:
        raise CommandError("the command `ping` is missing: install the package iputils-ping")
    if os.geteuid() == 0:
        if lacks := requirements():
            raise CommandError("; ".join(lacks))
        return
    if lacks := user_namespace_requirements():
        from l2mesh.app.demo.keeping import program

        alone = "a user namespace, which would do, cannot be had here"
        raise CommandError(f"the demo needs root: sudo {program()}\n{alone}: {'; '.join(lacks)}")
    if not quiet:
        click.echo("not root: running in a user namespace\n", err=True)
    sys.stderr.flush()
    reexec_in_user_namespace()


def _show(result: Result) -> None:
    from l2mesh.app.demo.summary import facts, headline

    click.echo()
    click.echo(_styled(headline(result), fg="green" if result.ok else "red", bold=True))
    for failure in result.failures:
        click.echo(f"  {failure}")
    click.echo()
    for label, text in facts(result).items():
        click.echo(f"  {_styled(f'{label:12}', bold=True)} {_wrapped(text, indent=15)}")
    click.echo()
    for name, tail in result.logs.items():
        click.echo(f"--- the log of {name} ends:\n{tail}\n", err=True)
    _show_end(result)


def _show_end(result: Result) -> None:
    if not result.kept:
        from l2mesh.app.demo.keeping import program

        click.echo(f"{result.total_s:.1f} s in all, and nothing of it is left. To look around in it:")
        click.echo(f"    {program()} --keep")
        return
    click.echo(f"{result.total_s:.1f} s, and it stays up. To be a party (and `ping {_other(result)}`):")
    for shell in result.shells.values():
        click.echo(f"    {shell}")
    click.echo(f"Files and logs are in {result.directory}")
    if result.peers:
        click.echo(f"What {result.parties[0].name} sees:\n    {result.peers}")
    click.echo(f"Take it down:\n    {result.take_down}")


def _styled(text: str, *, fg: str | None = None, bold: bool = False) -> str:
    if not sys.stdout.isatty() or "NO_COLOR" in os.environ:
        return text
    return click.style(text, fg=fg, bold=bold)


def _other(result: Result) -> str:
    return result.parties[-1].address if result.parties else "ADDRESS"


def _wrapped(text: str, *, indent: int) -> str:
    """For a terminal; a pipe gets long lines."""
    if not sys.stdout.isatty():
        return text
    width = max(shutil.get_terminal_size().columns - indent, 20)
    return f"\n{' ' * indent}".join(textwrap.wrap(text, width))
