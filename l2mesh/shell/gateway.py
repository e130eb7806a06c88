"""The router of this host: the default gateway, and from which address of ours it is asked."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import netifaces

from l2mesh.core.mapping_protocols import Gateway
from l2mesh.shell.netlink import is_candidate

if TYPE_CHECKING:
    from collections.abc import Collection

# Nobody's addresses (RFC 5737, RFC 3849): where to the default route leads. Nothing is sent there.
OUTSIDE = {4: "192.0.2.1", 6: "2001:db8::1"}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def find_gateway(version: int, own_port: int, exclude_devices: Collection[str]) -> Gateway | None:
    """None: there is no default route by this IP version, or it leads through one of these devices, or to no
    router (as a VPN's does). A link-local address of the router has its scope: fe80::1%eth0.
    """
    found = netifaces.gateways().get("default", {}).get(FAMILIES[version])
    if not found or found[1] in exclude_devices:
        return None
    host, device = found[0].partition("%")[0], found[1]
    own_host = _source_address(version)
    if own_host is None or not is_candidate(own_host):
        return None
    return Gateway(f"{host}%{device}" if host.lower().startswith("fe80:") else host, own_host, own_port)


def _source_address(version: int) -> str | None:
    """What the kernel sends from, to the outside."""
    with socket.socket(FAMILIES[version], socket.SOCK_DGRAM) as any_socket:
        try:
            any_socket.connect((OUTSIDE[version], 9))
        except OSError:
            return None
        return str(any_socket.getsockname()[0])
