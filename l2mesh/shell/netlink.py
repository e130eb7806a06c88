"""This machine's addresses, and the news that they, a route or a link changed."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import ipaddress
import socket
import struct
from typing import TYPE_CHECKING

import netifaces

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection

# <linux/rtnetlink.h>: multicast groups
RTMGRP_LINK = 0x001
RTMGRP_IPV4_IFADDR = 0x010
RTMGRP_IPV4_ROUTE = 0x040
RTMGRP_IPV6_IFADDR = 0x100
RTMGRP_IPV6_ROUTE = 0x400
GROUPS = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_IFADDR | RTMGRP_IPV6_ROUTE

# A cable plugged in is a dozen messages within this time, and needs one look.
CALM_SECONDS = 0.3

# Devices whose addresses are rarely reachable from outside: offered, but last.
CONTAINER_PREFIXES = (
    "docker",
    "br-",
    "virbr",
    "cni",
    "lxc",
    "lxd",
    "podman",
    "veth",
    "vnet",
    "cali",
    "flannel",
)


# <linux/ethtool.h>, <linux/sockios.h>
SIOCETHTOOL = 0x8946
ETHTOOL_GDRVINFO = 3
DRVINFO_SIZE = 196


class NetworkWatch:
    """Calls `on_change()` soon after an address, route or link of this machine changed.

    A plain netlink socket: what the messages say is of no interest, only that there were some. (pyroute2,
    which would parse them, costs 12 MB.)
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_change: Callable[[], None]) -> None:
        self._loop = loop
        self._on_change = on_change
        self._timer: asyncio.TimerHandle | None = None
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, GROUPS))
        loop.add_reader(self._socket.fileno(), self._readable)

    def _readable(self) -> None:
        # ENOBUFS: so many messages that some were lost, which is news as well.
        with contextlib.suppress(OSError):
            while self._socket.recv(65536):
                pass
        # Not put off by further messages: a machine that is never calm must still be looked at.
        if self._timer is None:
            self._timer = self._loop.call_later(CALM_SECONDS, self._look)

    def _look(self) -> None:
        self._timer = None
        self._on_change()

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        if self._timer:
            self._timer.cancel()


def local_hosts(exclude_devices: Collection[str] = ()) -> list[str]:
    """Addresses of this machine that a peer might reach, best first, both IP versions, no scopes.

    Excluded must be the TAP and its bridge: the mesh cannot be reached through itself. Other TAPs are left out
    too: they are ports of other meshes, or of virtual machines.
    """
    others = [device for device in netifaces.interfaces() if device not in exclude_devices]
    devices = [device for device in others if not is_tap(device)]
    devices.sort(key=lambda device: device.startswith(CONTAINER_PREFIXES))  # stable
    hosts: dict[str, None] = {}
    for device in devices:
        try:
            by_family = netifaces.ifaddresses(device)
        except ValueError:  # gone since we listed it
            continue
        for family in (netifaces.AF_INET6, netifaces.AF_INET):
            for entry in by_family.get(family, ()):
                host = entry["addr"].partition("%")[0]
                if is_candidate(host):
                    hosts[host] = None
    return list(hosts)


def networks_of(devices: Collection[str]) -> list[str]:
    """The networks (CIDR) that are on these devices, link-local ones left out."""
    found = set()
    for device in devices:
        try:
            by_family = netifaces.ifaddresses(device)
        except ValueError:  # gone
            continue
        for family in (netifaces.AF_INET6, netifaces.AF_INET):
            for entry in by_family.get(family, ()):
                # An IPv6 mask comes as "ffff:ffff::/32" or, in older versions, without the length.
                host, mask = entry["addr"].partition("%")[0], entry.get("netmask", "")
                length = mask.partition("/")[2] or mask
                if is_candidate(host) and length and ":" not in length:
                    found.add(str(ipaddress.ip_network(f"{host}/{length}", strict=False)))
    return sorted(found)


def is_tap(device: str) -> bool:
    """Whether a device is a TAP, ours or somebody else's: its driver says so (ethtool -i)."""
    request = bytearray(struct.pack("I", ETHTOOL_GDRVINFO).ljust(DRVINFO_SIZE, b"\0"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            address = (ctypes.c_char * len(request)).from_buffer(request)
            name = struct.pack("16sP", device.encode(), ctypes.addressof(address))
            fcntl.ioctl(any_socket, SIOCETHTOOL, name)
        except OSError:  # no such driver information: then it is no TAP
            return False
    driver, bus = request[4:36], request[100:132]
    return driver.startswith(b"tun\0") and bus.startswith(b"tap\0")


def is_candidate(host: str) -> bool:
    """Whether another machine could send to this address of ours."""
    address = ipaddress.ip_address(host)
    return not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified)
