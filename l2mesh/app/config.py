"""The files of an edge and of a supernode, read, checked and resolved: what the daemons work with.

Each dataclass is a table of the file (l2mesh/app/schema.py), with its texts parsed, its paths made absolute
(relative ones are relative to the file) and its defaults filled in.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from l2mesh.app import directories, schema, toml_file
from l2mesh.app.checking import check, value_error
from l2mesh.app.errors import ConfigError
from l2mesh.app.toml_file import TomlFile
from l2mesh.app.values import (
    Interface,
    StunAddress,
    SupernodeAddress,
    parse_all,
    parse_interface,
    parse_key,
    parse_listen,
    parse_mac,
    parse_stun,
    parse_supernode,
)
from l2mesh.wire.address import format_address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from l2mesh.app.directories import RunAs
    from l2mesh.app.schema import LimitsTable, LogLevel, RelayUse

T = TypeVar("T")

# sun_path of unix(7) less its final zero byte.
LONGEST_SOCKET_PATH = 107
# Of examples/edge.toml.
EXAMPLE_SECRET = b"example secret: make one for you"
# RFC 8200, section 5: below this IPv6 does not come up on a device.
LEAST_IPV6_MTU = 1280


@dataclass(frozen=True, slots=True)
class Network:
    """Exactly one of `secret` (32 bytes) and `authority` (an Ed25519 public key) is there."""

    name: str
    secret: bytes | None = field(repr=False)
    authority: bytes | None
    supernodes: tuple[SupernodeAddress, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """`certificate` is there in a certificate network, and only there."""

    name: str
    key: Path
    certificate: Path | None
    user: RunAs
    state: Path


@dataclass(frozen=True, slots=True)
class Tap:
    """`mac` is None for "auto"; `bridge`, `up` and `down` are "" for none."""

    device: str
    mac: bytes | None
    mtu: int
    addresses: tuple[Interface, ...]
    bridge: str
    up: str
    down: str


@dataclass(frozen=True, slots=True)
class Transport:
    """`listen`: at most one address for each IP version."""

    listen: tuple[tuple[str, int], ...]
    relay: RelayUse
    relay_for_others: bool
    stun: tuple[StunAddress, ...]
    port_mapping: bool
    birthday: bool


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """A network file, resolved. `warnings` are for the log: legal, and unwise."""

    path: Path
    network: Network
    node: Node
    tap: Tap
    transport: Transport
    ageing_time: int
    limits: LimitsTable
    socket: Path
    log_level: LogLevel
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SupernodeConfig:
    """A supernode's file, resolved; `path` is None without one. No `networks`: it serves any.

    `listen`: any number for each IP version; the first of each is the main one.
    """

    path: Path | None
    listen: tuple[tuple[str, int], ...]
    key: Path
    networks: tuple[bytes, ...]
    user: RunAs
    state: Path
    socket: Path
    log_level: LogLevel


def load_edge(path: Path) -> EdgeConfig:
    """Read an edge's network file. ConfigError with place and remedy; nothing but the file is looked at."""
    file = toml_file.read(path, "make one with: l2mesh init NAME --supernode HOST:PORT")
    tables = check(file, schema.EdgeFile)
    network = _network(file, tables.network)
    node = _node(file, tables.node, network)
    tap = _tap(file, tables.tap)
    return EdgeConfig(
        path=path,
        network=network,
        node=node,
        tap=tap,
        transport=_transport(file, tables.transport),
        ageing_time=tables.switch.ageing_time,
        limits=tables.limits,
        socket=_socket(file, tables.management.socket, f"{network.name}.{tap.device}.sock"),
        log_level=tables.log.level,
        warnings=_warnings(file, network),
    )


def load_supernode(path: Path | None = None, listen: Sequence[str] = ()) -> SupernodeConfig:
    """Read a supernode's file, or take the defaults; `listen` (of the command line) overrides the file's."""
    file = toml_file.read(path, "all of it is optional: l2mesh supernode") if path else _NO_FILE
    tables = check(file, schema.SupernodeFile)
    table = tables.supernode
    state = _state(file, "supernode", table.state)
    if listen:
        addresses = _from_command_line("--listen", tuple(listen))
    else:
        addresses = _value(file, "supernode", "listen", table.listen, _listen_addresses)
    return SupernodeConfig(
        path=path,
        listen=addresses,
        key=_beside(file, table.key) if table.key else _supernode_key(path, state),
        networks=_value(file, "supernode", "networks", table.networks, lambda keys: parse_all(keys, parse_key)),
        user=_run_as(file, "supernode", table.user),
        state=state,
        socket=_socket(file, tables.management.socket, "supernode.sock"),
        log_level=tables.log.level,
    )


def default_node_name() -> str:
    """The first label of the host name, with what a node's name cannot hold replaced by `-`."""
    label = platform.node().split(".")[0].lower()
    return re.sub(r"[^a-z0-9-]", "-", label)[:63].strip("-") or "node"


# Stands in for the file of a supernode that has none: nothing in it can be wrong.
_NO_FILE = TomlFile(Path("supernode"), {})


def _network(file: TomlFile, table: schema.NetworkTable) -> Network:
    if table.secret is not None and table.authority is not None:
        problem = "there is a secret already: a network has one or the other"
        raise value_error(file, "network", "authority", table.authority, problem)
    if table.secret is None and table.authority is None:
        problem = "needs a secret, or the public key of an authority: see l2mesh init --help"
        raise file.error("[network]", problem, file.line_of("network"))
    return Network(
        table.name,
        None if table.secret is None else _value(file, "network", "secret", table.secret, parse_key),
        None if table.authority is None else _value(file, "network", "authority", table.authority, parse_key),
        _value(file, "network", "supernodes", table.supernodes, _supernodes),
    )


def _supernodes(texts: Sequence[str]) -> tuple[SupernodeAddress, ...]:
    return parse_all(texts, parse_supernode, lambda one: (one.host.lower(), one.port))


def _stun_servers(texts: Sequence[str]) -> tuple[StunAddress, ...]:
    return parse_all(texts, parse_stun, lambda one: (one.host.lower(), one.port))


def _node(file: TomlFile, table: schema.NodeTable, network: Network) -> Node:
    if network.secret is not None and table.certificate is not None:
        problem = "only a certificate network, with [network] authority, has certificates"
        raise value_error(file, "node", "certificate", table.certificate, problem)
    if network.authority is not None and table.certificate is None:
        problem = "missing, and required with [network] authority: the file that `l2mesh sign` made for this node"
        raise file.error("[node] certificate", problem, file.line_of("node"))
    name = table.name or default_node_name()
    return Node(
        name,
        _beside(file, table.key or f"{name}.key"),
        None if table.certificate is None else _beside(file, table.certificate),
        _run_as(file, "node", table.user),
        _state(file, "node", table.state),
    )


def _tap(file: TomlFile, table: schema.TapTable) -> Tap:
    addresses = _value(
        file,
        "tap",
        "addresses",
        table.addresses,
        lambda texts: parse_all(texts, parse_interface, lambda one: one.ip),
    )
    if table.mtu < LEAST_IPV6_MTU and any(address.version == 6 for address in addresses):
        raise value_error(file, "tap", "mtu", table.mtu, f"IPv6 addresses need at least {LEAST_IPV6_MTU}")
    if table.bridge == table.device:
        raise value_error(file, "tap", "bridge", table.bridge, "is the TAP device itself")
    return Tap(
        table.device,
        _value(file, "tap", "mac", table.mac, parse_mac),
        table.mtu,
        addresses,
        table.bridge,
        table.up,
        table.down,
    )


def _transport(file: TomlFile, table: schema.TransportTable) -> Transport:
    if table.relay_for_others and table.relay == "always":
        problem = 'needs direct paths to the others, and relay = "always" has none'
        raise value_error(file, "transport", "relay_for_others", True, problem)
    return Transport(
        listen=_value(file, "transport", "listen", table.listen, _listen_once),
        relay=table.relay,
        relay_for_others=table.relay_for_others,
        stun=_value(file, "transport", "stun", table.stun, _stun_servers),
        port_mapping=table.port_mapping,
        birthday=table.birthday,
    )


def _listen_once(texts: Sequence[str]) -> tuple[tuple[str, int], ...]:
    addresses = parse_all(texts, parse_listen)
    versions = [":" in host for host, _ in addresses]
    if len(set(versions)) < len(versions):
        raise ValueError("has two addresses of one IP version: one IPv4 and one IPv6 address at most")
    return addresses


def _listen_addresses(texts: Sequence[str]) -> tuple[tuple[str, int], ...]:
    addresses = parse_all(texts, parse_listen, _same_listen)
    for host, port in addresses:
        everywhere = ("::" if ":" in host else "0.0.0.0", port)
        if port and host != everywhere[0] and everywhere in addresses:
            both = f"{format_address((host, port))} and {format_address(everywhere)}"
            raise ValueError(f"has {both}, which is all addresses: list each address of this host, or only that")
    return addresses


def _same_listen(address: tuple[str, int]) -> object:
    """Port 0 is another random one each time, so it may be there twice."""
    return address if address[1] else object()


def _from_command_line(option: str, texts: Sequence[str]) -> tuple[tuple[str, int], ...]:
    try:
        return _listen_addresses(texts)
    except ValueError as error:
        raise ConfigError(f"{option}: {error}") from None


def _supernode_key(path: Path | None, state: Path) -> Path:
    # Edges pin this key: it must outlive restarts.
    return path.absolute().with_name("supernode.key") if path else state / "supernode.key"


def _run_as(file: TomlFile, table: str, name: str) -> RunAs:
    if not name:
        return directories.owner_of(file.status)
    return _value(file, table, "user", name, _user)


def _user(name: str) -> RunAs:
    try:
        return directories.user_named(name)
    except KeyError:
        raise ValueError("no such user on this host") from None


def _state(file: TomlFile, table: str, text: str) -> Path:
    return _beside(file, text) if text else directories.state_directory()


def _socket(file: TomlFile, text: str, default: str) -> Path:
    socket = _beside(file, text) if text else directories.runtime_directory() / default
    length = len(bytes(socket))
    if length > LONGEST_SOCKET_PATH:
        problem = f"the path has {length} bytes, and a socket's path at most {LONGEST_SOCKET_PATH}"
        raise value_error(file, "management", "socket", str(socket), problem)
    return socket


def _beside(file: TomlFile, text: str) -> Path:
    return file.path.absolute().parent / text


def _warnings(file: TomlFile, network: Network) -> tuple[str, ...]:
    mode = file.status.st_mode & 0o777 if file.status else 0
    warnings = []
    if network.secret is not None and mode & 0o004:
        what = f"holds the network's secret, and others can read it (mode {mode:04o})"
        warnings.append(f"{file.path}: {what}: chmod 600 {file.path}")
    if network.secret == EXAMPLE_SECRET:
        warnings.append(f"{file.path}: the secret is that of examples/edge.toml, which everybody knows")
    return tuple(warnings)


def _value(file: TomlFile, table: str, key: str, value: Any, parse: Callable[[Any], T]) -> T:
    try:
        return parse(value)
    except ValueError as error:
        raise value_error(file, table, key, value, str(error)) from None
