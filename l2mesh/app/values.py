"""The small languages inside a network file: addresses, keys, MACs.

Each parser takes text, returns a value, and raises ValueError with what is wrong and how it should look.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface
from typing import TypeVar

from l2mesh.crypto.keys import decode_key

Interface = IPv4Interface | IPv6Interface
T = TypeVar("T", bound=Hashable)

# A label of a host name (RFC 1123); _ is not allowed there, yet found in practice.
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)\Z")
_LONGEST_HOST = 253
_MAC = re.compile(r"[0-9a-fA-F]{2}([:-])[0-9a-fA-F]{2}(\1[0-9a-fA-F]{2}){4}\Z")


@dataclass(frozen=True, slots=True)
class SupernodeAddress:
    """Where a supernode is: a name or IP literal (no brackets), a UDP port, its public key if pinned."""

    host: str
    port: int
    key: bytes | None
    text: str


@dataclass(frozen=True, slots=True)
class StunAddress:
    """Where a STUN server is: a name or IP literal (no brackets), a UDP port."""

    host: str
    port: int
    text: str


def parse_supernode(text: str) -> SupernodeAddress:
    """`host:port`, `name:port` or `[v6]:port`, and `#KEY` to pin the supernode's public key."""
    address, mark, key_text = text.partition("#")
    host, port = _remote(address)
    return SupernodeAddress(host, port, parse_key(key_text) if mark else None, text)


def parse_stun(text: str) -> StunAddress:
    """`host:port`, `name:port` or `[v6]:port`."""
    host, port = _remote(text, usual=3478)
    return StunAddress(host, port, text)


def parse_listen(text: str) -> tuple[str, int]:
    """`0.0.0.0:7777` or `[::]:7777`: a literal address of this host and a port, 0 for any."""
    host, port = _split_port(text)
    try:
        address = _literal(host)
    except ValueError:
        raise ValueError("the host must be an IP address of this machine, as in 0.0.0.0:0 or [::]:0") from None
    if address.is_multicast:
        raise ValueError(f"{host} is a multicast address")
    return str(address), port


def parse_interface(text: str) -> Interface:
    """`10.98.0.1/24`: an address for the TAP, with the length of its network's prefix."""
    if "/" not in text:
        raise ValueError("add the length of the prefix, as in 10.98.0.1/24 or fd98::1/64")
    if "%" in text:
        raise ValueError("an address here has no zone (%)")
    try:
        interface = ip_interface(text)
    except ValueError:
        raise ValueError("must be an IP address with prefix length, as in 10.98.0.1/24 or fd98::1/64") from None
    _refuse_special(interface.ip)
    _refuse_not_a_host(interface)
    return interface


def parse_mac(text: str) -> bytes | None:
    """`02:00:5e:10:20:30`; None for `auto`."""
    if text == "auto":
        return None
    if not _MAC.match(text):
        raise ValueError('must be "auto" or six octets, as in "02:4c:32:00:00:01"')
    mac = bytes.fromhex(text.replace(":", "").replace("-", ""))
    if mac[0] & 1:
        raise ValueError("is a group address: the lowest bit of the first octet must be 0, as in 02:…")
    if not any(mac):
        raise ValueError("is all zeros")
    return mac


def parse_key(text: str) -> bytes:
    """A public key, or a network's secret: base64 of 32 bytes."""
    return decode_key(text, "key")


def format_mac(mac: bytes) -> str:
    """`02:4c:32:00:00:01`."""
    return mac.hex(":")


def parse_all(
    texts: Iterable[str], parse: Callable[[str], T], same: Callable[[T], Hashable] = lambda value: value
) -> tuple[T, ...]:
    """Each text parsed; a ValueError says which. Two with the same `same(value)` are an error."""
    values: dict[Hashable, T] = {}
    for text in texts:
        try:
            value = parse(text)
        except ValueError as error:
            raise ValueError(f'"{text}": {error}') from None
        if same(value) in values:
            raise ValueError(f'"{text}" is there twice')
        values[same(value)] = value
    return tuple(values.values())


def _remote(text: str, usual: int = 7777) -> tuple[str, int]:
    """`usual`: a port for an error to show as an example."""
    host, port = _split_port(text, usual)
    if port == 0:
        raise ValueError("the port must be between 1 and 65535")
    return _remote_host(host), port


def _split_port(text: str, usual: int = 7777) -> tuple[str, int]:
    match = re.fullmatch(r"\[([^\[\]]*)\]:([0-9]{1,5})|([^:\[\]]*):([0-9]{1,5})", text)
    if not match:
        raise ValueError(_why_no_port(text, usual))
    host, port = (match[1], match[2]) if match[1] is not None else (match[3], match[4])
    if int(port) > 65535:
        raise ValueError("the port must be at most 65535")
    if not host:
        raise ValueError(f"add the host before the port, as in 198.51.100.7:{usual}")
    if match[1] is not None and ":" not in host:
        raise ValueError("brackets are for IPv6 addresses only")
    return host, int(port)


def _why_no_port(text: str, usual: int) -> str:
    if text.count(":") > 1 and not text.startswith("["):
        return f"write an IPv6 address in brackets, with a port, as in [{text}]:{usual}"
    if ":" not in text or text.endswith("]"):
        return f"add the UDP port, as in {text}:{usual}"
    return f"must be host:port, name:port or [v6]:port, as in 198.51.100.7:{usual}"


def _literal(host: str) -> IPv4Address | IPv6Address:
    address = ip_address(host)
    if isinstance(address, IPv6Address) and address.scope_id:
        raise ValueError("an address here has no zone (%)")
    return address


def _remote_host(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return _host_name(host)
    if isinstance(address, IPv6Address) and address.scope_id:
        raise ValueError("an address here has no zone (%)")
    if address.is_unspecified or address.is_multicast:
        raise ValueError(f"{host} is no address of a host")
    return str(address)


def _host_name(host: str) -> str:
    labels = host.removesuffix(".").split(".")
    if ":" in host or all(label.isdigit() for label in labels):
        raise ValueError(f"{host} is not an IP address")
    if not host.isascii():
        raise ValueError(f"{host}: write the name in ASCII (xn--…)")
    if len(host) > _LONGEST_HOST or not all(_LABEL.match(label) for label in labels):
        raise ValueError(f"{host} is neither an IP address nor a host name")
    return host


def _refuse_special(address: IPv4Address | IPv6Address) -> None:
    if address.is_multicast or address.is_unspecified or address.is_loopback:
        raise ValueError(f"{address} cannot be the address of a network device")
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        raise ValueError(f"write {address.ipv4_mapped} as IPv4")


def _refuse_not_a_host(interface: Interface) -> None:
    network = interface.network
    if network.num_addresses <= 2:  # a single host, or a point-to-point pair (RFC 3021, RFC 6164)
        return
    if interface.ip == network.network_address:
        raise ValueError(f"is the network itself: choose a host in it, as in {interface.ip + 1}")
    if interface.version == 4 and interface.ip == network.broadcast_address:
        raise ValueError("is the broadcast address of its network: choose a host in it")
