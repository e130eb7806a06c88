"""Which daemon a verb means: TARGET, or the only one that runs here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from l2mesh.app import toml_file
from l2mesh.app.config import load_edge, load_supernode
from l2mesh.app.directories import runtime_directories
from l2mesh.app.errors import CommandError
from l2mesh.app.management.client import ManagementClient
from l2mesh.app.management.probe import is_answering

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SUFFIX: Final = ".sock"
SUPERNODE: Final = "supernode"
"""`supernode.sock`: an edge's has two parts, NETWORK.DEVICE.sock."""

TARGET_HELP: Final = (
    """TARGET is a network file, a network's name or a socket; without it, the only l2mesh that runs here."""
)


def target_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.argument("target", metavar="[TARGET]", required=False)(command)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    text = "Print one JSON document and nothing else."
    return click.option("--json", "as_json", is_flag=True, help=text)(command)


def client_of(target: str | None, *, edge: bool = False) -> ManagementClient:
    """`edge`: only an edge can be meant. CommandError, ConfigError."""
    return ManagementClient(find_socket(target, edge=edge))


def find_socket(target: str | None, *, edge: bool = False) -> Path:
    """The socket of TARGET; whether somebody answers there is not asked of one that is named by its path."""
    if target is None:
        return _only(running(edge=edge), "several run here")
    path = Path(target)
    if path.is_socket():
        return path
    if path.suffix == ".toml" or path.is_file():
        return _socket_of_file(path)
    if "/" in target or path.suffix == SUFFIX:
        raise CommandError(f"{target}: no such socket, or network file")
    return _socket_of_name(target, running(edge=edge))


def running(*, edge: bool = False) -> list[Path]:
    """The sockets in the runtime directories at which somebody answers."""
    found = [path for directory in runtime_directories() for path in sorted(directory.glob(f"*{SUFFIX}"))]
    return [path for path in found if _is_alive(path) and not (edge and path.stem == SUPERNODE)]


def _is_alive(path: Path) -> bool:
    try:
        return is_answering(path)
    except OSError:
        return False


def _only(sockets: Sequence[Path], several: str) -> Path:
    if not sockets:
        places = " or ".join(map(str, runtime_directories()))
        raise CommandError(f"no l2mesh runs here (no socket in {places}): start one: sudo l2mesh edge FILE.toml")
    if len(sockets) > 1:
        raise CommandError(f"{several}: name one of {', '.join(_names(sockets))}")
    return sockets[0]


def _names(sockets: Sequence[Path]) -> list[str]:
    """As short as tells them apart."""
    stems = [path.stem for path in sockets]
    return [path.stem if stems.count(path.stem) == 1 else str(path) for path in sockets]


def _socket_of_name(name: str, sockets: Sequence[Path]) -> Path:
    matching = [path for path in sockets if name in (path.stem, path.stem.partition(".")[0])]
    if sockets and not matching:
        running_names = ", ".join(_names(sockets))
        raise CommandError(f"no l2mesh of the name '{name}' runs here: name one of {running_names}")
    return _only(matching, f"several of the name '{name}' run here")


def _socket_of_file(path: Path) -> Path:
    """The socket that the file names; or the default's, wherever its daemon's user has it."""
    tables = toml_file.read(path, "name a network file, a network or a socket").tables
    is_supernode = SUPERNODE in tables and "network" not in tables
    socket = load_supernode(path).socket if is_supernode else load_edge(path).socket
    if tables.get("management", {}).get("socket"):
        return socket
    places = [directory / socket.name for directory in runtime_directories()]
    return next(filter(_is_alive, places), socket)
