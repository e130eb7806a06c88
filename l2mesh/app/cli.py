"""The `l2mesh` command: a table of verbs, each a module imported when it is called, and one place for errors.

To add a verb: a line in VERBS, and l2mesh/app/verbs/NAME.py with a click command named `command`.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from l2mesh import __version__
from l2mesh.app.errors import CommandError, ConfigError, describe_os_error
from l2mesh.lab.errors import LabError
from l2mesh.shell.errors import ShellError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FAILED = 1
WRONG = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it

# In the order of use. The help stands here so that `l2mesh` and `l2mesh --help` import no verb.
VERBS = {
    "init": "Make a network, or join one whose secret you were given.",
    "request": "Ask the authority of a certificate network to admit this host.",
    "sign": "Admit the host that a request comes from.",
    "edge": "Run this party's port of the switch.",
    "supernode": "Run a rendezvous and relay, on a public host.",
    "demo": "A whole mesh on this machine: supernode, NAT routers, three parties.",
    "status": "Show what a running edge or supernode is, and how it does.",
    "peers": "Show whom an edge knows, and by which path; at a supernode, who is registered.",
    "fdb": "Show which MAC address is behind which peer.",
    "ping": "Probe a peer: its path and round-trip time.",
    "why": "Show why a peer is reached directly or by a relay, and what would change that.",
    "netcheck": "Show what the NAT and the internet around this host allow.",
}

HELP = """One Ethernet switch across the internet.

Each party runs an edge, whose TAP device is a port of the switch; a supernode on a public host lets the edges
find each other.

\b
On the first host:
    l2mesh init office --supernode 198.51.100.7:7777 --address 10.98.0.1/24
    sudo l2mesh edge office.toml
`init` says what to run on the others. On the public host:
    l2mesh supernode
"""


class Verbs(click.Group):
    """A group of commands that are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"l2mesh.app.verbs.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in VERBS and not name.startswith("-"):
            near = difflib.get_close_matches(name, VERBS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(VERBS)}"
            ctx.fail(f"no command '{name}'; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run and exit, with a command's result as status if it is an integer; see `guarded`."""
        run = super().main
        sys.exit(guarded(lambda: run(args, prog_name, complete_var, standalone_mode=False, **extra)))


@click.group(cls=Verbs, help=HELP, invoke_without_command=True)
@click.version_option(__version__, message="l2mesh %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> None:
    """The entry point of the console script."""
    cli.main(prog_name="l2mesh")


def guarded(run: Callable[[], object]) -> int:
    """Call `run`; its exit status, with whatever it raised told in a line: no traceback reaches a user."""
    try:
        result = run()
        sys.stdout.flush()
    except (click.UsageError, ConfigError) as error:
        return _tell(_wrong(error), WRONG)
    except click.ClickException as error:
        return _tell(error.format_message(), FAILED)
    except (CommandError, ShellError, LabError) as error:
        return _tell(str(error), FAILED)
    except BrokenPipeError:
        # The reader has left (`l2mesh peers | head`). Python would complain at exit, when it flushes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    except OSError as error:
        return _tell(describe_os_error(error), FAILED)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except Exception as error:
        if os.environ.get("L2MESH_DEBUG"):
            raise
        what = f"{type(error).__name__}: {error}"
        return _tell(f"a fault of l2mesh itself: {what} (L2MESH_DEBUG=1 shows where)", FAILED)
    return result if isinstance(result, int) else 0


def _wrong(error: click.UsageError | ConfigError) -> str:
    if isinstance(error, ConfigError):
        return str(error)
    message = error.format_message()
    message = message[:1].lower() + message[1:].rstrip(".")
    return f"{message}\nsee: {error.ctx.command_path} --help" if error.ctx else message


def _tell(message: str, status: int) -> int:
    click.echo(f"error: {message}", err=True)
    return status
