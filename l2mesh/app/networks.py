"""The files that `init` and `request` write for a party, and the command lines that come next."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from l2mesh.app import config, files, keyfiles, toml_file
from l2mesh.app.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from l2mesh.app.values import Interface, SupernodeAddress
    from l2mesh.crypto.keys import StaticKey


@dataclass(frozen=True, slots=True)
class Party:
    """One node of one network, and the names of its files."""

    network: str
    node: str
    supernodes: tuple[SupernodeAddress, ...]
    addresses: tuple[Interface, ...]
    directory: Path
    relays: bool = False
    """For the other members."""

    @property
    def file(self) -> Path:
        return self.directory / f"{self.network}.toml"

    @property
    def key(self) -> Path:
        return self.directory / f"{self.node}.key"

    @property
    def certificate(self) -> Path:
        return self.directory / f"{self.node}.crt"

    @property
    def request(self) -> Path:
        return self.directory / f"{self.node}.request"

    @property
    def authority_key(self) -> Path:
        return self.directory / f"{self.network}.authority.key"

    @property
    def start(self) -> str:
        """The command line that starts this party."""
        return f"sudo l2mesh edge {shlex.quote(str(self.file))}"

    @property
    def options_of_another(self) -> str:
        """`--supernode … --address …`, as the next party of this network would give them."""
        options = [f"--supernode {shlex.quote(one.text)}" for one in self.supernodes]
        options += [f"--address {following}" for following in map(_following, self.addresses) if following]
        return " ".join(options)


def refuse_existing(paths: Iterable[Path]) -> None:
    """ConfigError for the first of `paths` that is there: what it holds may not exist elsewhere."""
    for path in paths:
        if path.exists() or path.is_symlink():
            raise ConfigError(f"{path}: exists already: move it away, or choose another directory with --dir")


def node_key(party: Party) -> StaticKey:
    """The key of a party's node: the one that is there, or a new one; says which."""
    party.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key, new = keyfiles.load_or_make_static_key(party.key)
    tell(party.key, f"private key of {party.node}: stays on this host", kept=not new)
    return key


def write_network_file(
    party: Party,
    admission: dict[str, str],
    *,
    certificate: bool,
    joining: str,
    more: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Write `party.file`, which must not exist yet, and read it as `l2mesh edge` would.

    `admission` is the table entry of its secret or authority; `joining` tells in the header how others join;
    `more` are further keys, by table.
    """
    tables: dict[str, dict[str, Any]] = {
        "network": {"name": party.network, **admission, "supernodes": [one.text for one in party.supernodes]},
        "node": {"name": party.node, "key": party.key.name},
    }
    if certificate:
        tables["node"]["certificate"] = party.certificate.name
    if party.addresses:
        tables["tap"] = {"addresses": [str(address) for address in party.addresses]}
    if party.relays:
        tables["transport"] = {"relay_for_others": True}
    for name, keys in (more or {}).items():
        tables.setdefault(name, {}).update(keys)
    header = (
        f"The l2mesh network {party.network}, as {party.node} sees it.\n"
        f"Start: sudo l2mesh edge {party.file.name}\n"
        f"Every key, with its default: examples/edge.toml\n\n{joining}"
    )
    toml_file.write_new(party.file, tables, files.PRIVATE, header)
    config.load_edge(party.file)
    tell(
        party.file,
        "network file, with the secret: for its owner only" if "secret" in admission else "network file",
    )


def tell(path: Path, what: str, *, kept: bool = False) -> None:
    """A line on stdout for a file that was made, or was there."""
    click.echo(f"{'kept' if kept else 'made'}  {path}  {what}")


def _following(address: Interface) -> str:
    """The next address of the same network, `10.98.0.2/24`; "" if there is none."""
    following, last = int(address.ip) + 1, int(address.network.broadcast_address)
    return f"{address.ip + 1}/{address.network.prefixlen}" if following < last else ""
