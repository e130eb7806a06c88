"""What may stand in a network file and in a supernode's file: tables, keys, types, bounds, defaults.

A description completes the sentence "must be …" of an error. Texts that need more than a pattern (addresses,
keys) are read by values.py.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

# \Z, for $ would let a newline follow. Control characters are refused everywhere: such text is shown on
# terminals, and used as file names.
Text = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f-\x9f]+\Z", description="text without control characters")]
TextOrNone = Annotated[
    str, Meta(pattern=r"\A[^\x00-\x1f\x7f-\x9f]*\Z", description="text without control characters")
]
Command = Annotated[str, Meta(pattern=r"\A[^\x00]*\Z", description="a command")]
NetworkName = Annotated[
    str, Meta(pattern=r"\A[a-z0-9-]{1,63}\Z", description="1 to 63 characters of a-z, 0-9 and -")
]
# The name in a certificate is the same (crypto/certificate.py).
NodeName = NetworkName
# What the kernel takes (dev_valid_name), less % (which would make a pattern of it) and non-ASCII.
DeviceName = Annotated[
    str,
    Meta(
        pattern=r"\A(?!\.{1,2}\Z)[!-$&-.0-9;-~]{1,15}\Z",
        description="the name of a network device: 1 to 15 characters, without space, '/', ':' or '%'",
    ),
]
NoDevice = Annotated[
    str,
    Meta(
        pattern=r"\A((?!\.{1,2}\Z)[!-$&-.0-9;-~]{1,15})?\Z",
        description="the name of a network device: 1 to 15 characters, without space, '/', ':' or '%'",
    ),
]
OneOrMore = Meta(min_length=1, max_length=64)
Addresses = Annotated[tuple[Text, ...], Meta(max_length=64)]

RelayUse = Literal["auto", "never", "always"]
LogLevel = Literal["debug", "info", "warning", "error"]


class Table(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A table of a file: a key it does not name is an error."""


class NetworkTable(Table, kw_only=True, frozen=True):
    """[network]: which network, and how one is a member of it."""

    name: NetworkName
    secret: Text | None = None
    authority: Text | None = None
    supernodes: Annotated[tuple[Text, ...], OneOrMore]


class NodeTable(Table, kw_only=True, frozen=True):
    """[node]: who this party is."""

    name: NodeName | None = None
    key: Text | None = None
    certificate: Text | None = None
    user: TextOrNone = ""
    state: TextOrNone = ""


class TapTable(Table, kw_only=True, frozen=True):
    """[tap]: this party's port of the switch."""

    device: DeviceName = "l2m0"
    mac: Text = "auto"
    # 576: what every IPv4 host must take (RFC 791); 9000: jumbo frames.
    mtu: Annotated[int, Meta(ge=576, le=9000)] = 1500
    addresses: Addresses = ()
    bridge: NoDevice = ""
    up: Command = ""
    down: Command = ""


class TransportTable(Table, kw_only=True, frozen=True):
    """[transport]: the UDP underlay."""

    listen: Annotated[tuple[Text, ...], OneOrMore] = ("0.0.0.0:0", "[::]:0")
    relay: RelayUse = "auto"
    relay_for_others: bool = False
    # As many as a survey of the NAT asks (core/nat_survey.py).
    stun: Annotated[tuple[Text, ...], Meta(max_length=8)] = ()
    port_mapping: bool = True
    birthday: bool = True


class SwitchTable(Table, kw_only=True, frozen=True):
    """[switch]: the forwarding database."""

    # Bounds of IEEE 802.1Q, table 8-6.
    ageing_time: Annotated[int, Meta(ge=10, le=1_000_000)] = 300


class LimitsTable(Table, kw_only=True, frozen=True):
    """[limits]: how far others can make our tables grow."""

    peers: Annotated[int, Meta(ge=1, le=65536)] = 1024
    macs_per_peer: Annotated[int, Meta(ge=1, le=1 << 20)] = 1024
    macs: Annotated[int, Meta(ge=1, le=1 << 20)] = 16384


class ManagementTable(Table, kw_only=True, frozen=True):
    """[management]: where `l2mesh status` asks."""

    socket: TextOrNone = ""


class LogTable(Table, kw_only=True, frozen=True):
    """[log]: what is said on stderr."""

    level: LogLevel = "info"


class EdgeFile(Table, kw_only=True, frozen=True):
    """The network file of an edge."""

    network: NetworkTable
    node: NodeTable = NodeTable()
    tap: TapTable = TapTable()
    transport: TransportTable = TransportTable()
    switch: SwitchTable = SwitchTable()
    limits: LimitsTable = LimitsTable()
    management: ManagementTable = ManagementTable()
    log: LogTable = LogTable()


class SupernodeTable(Table, kw_only=True, frozen=True):
    """[supernode]: the rendezvous and relay."""

    listen: Annotated[tuple[Text, ...], OneOrMore] = ("0.0.0.0:7777", "[::]:7777")
    key: TextOrNone = ""
    networks: tuple[Text, ...] = ()
    user: TextOrNone = ""
    state: TextOrNone = ""


class SupernodeFile(Table, kw_only=True, frozen=True):
    """The file of a supernode."""

    supernode: SupernodeTable = SupernodeTable()
    management: ManagementTable = ManagementTable()
    log: LogTable = LogTable()


class RequestTable(Table, kw_only=True, frozen=True):
    """[request]: who asks to be admitted; all of it public."""

    network: NetworkName
    authority: Text
    name: NodeName
    public_key: Text


class RequestFile(Table, kw_only=True, frozen=True):
    """What `l2mesh request` writes and `l2mesh sign` reads."""

    request: RequestTable
