"""Set up the TAP by netlink: MAC, MTU, addresses, bridge, up.

pyroute2 costs 12 MB and cannot be used under uvloop or from within a running loop, so it does its work in a
short-lived process of its own (a quarter of a second), which is `python -m l2mesh.shell.link`.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

from l2mesh.shell.errors import ShellError

# A superframe with its headers, and the seals of all its segments, then fit one UDP_SEGMENT send of 65 000 bytes,
# and leave no room there for a segment of the next one: over a path of 1500 bytes that is 44 segments.
GSO_MAX_SIZE = 60_400
# Frames that wait for us: what the ring of a fast NIC holds. Of small ones Linux's 1000 are 6 ms, and of two busy
# cores a program is off for longer: measured, 2 % were lost at 120 000/s, with 4000 none. TCP does not fill it:
# each socket waits for its own few frames to be taken.
QUEUE_FRAMES = 4000
IFA_F_NODAD = 0x02
TIMEOUT = 15.0


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """What a device shall be. mac "" keeps the kernel's; addresses in CIDR, either version; bridge "" for
    none.
    """

    device: str
    mtu: int = 1500
    mac: str = ""
    addresses: tuple[str, ...] = ()
    bridge: str = ""
    gso_max_size: int = GSO_MAX_SIZE


def configure_link(settings: LinkSettings) -> None:
    """Make the device so, and bring it up. Needs CAP_NET_ADMIN. Raises ShellError with what failed."""
    command = [sys.executable, "-m", __name__, json.dumps(asdict(settings))]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ShellError(f"cannot set up {settings.device}: netlink did not answer in {TIMEOUT:.0f} s") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ShellError(f"cannot set up {settings.device}: {lines[-1]}")


def apply(settings: LinkSettings) -> None:
    """The same, in this process. Raises ShellError without the device's name."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    with IPRoute() as netlink:
        step = "find the device"
        try:
            index = _index(netlink, settings.device)
            step = f"set MTU {settings.mtu}"
            netlink.link("set", index=index, mtu=settings.mtu)
            if settings.mac:
                step = f"set MAC {settings.mac}"
                netlink.link("set", index=index, address=settings.mac)
            step = f"set gso_max_size {settings.gso_max_size}"
            netlink.link("set", index=index, gso_max_size=settings.gso_max_size)
            step = f"set the queue to {QUEUE_FRAMES} frames"
            netlink.link("set", index=index, txqlen=QUEUE_FRAMES)
            if settings.bridge:
                step = f"join bridge {settings.bridge}"
                netlink.link("set", index=index, master=_bridge_index(netlink, settings.bridge))
            step = "bring it up"
            netlink.link("set", index=index, state="up")
            for address in settings.addresses:
                step = f"add address {address}"
                _add_address(netlink, index, address)
        except NetlinkError as error:
            raise ShellError(f"{step}: {error.args[1]}", error.code) from error


def _index(netlink: Any, device: str) -> int:
    found = netlink.link_lookup(ifname=device)
    if not found:
        raise ShellError(f"there is no device {device}")
    return int(found[0])


def _bridge_index(netlink: Any, bridge: str) -> int:
    found = netlink.link_lookup(ifname=bridge)
    if not found:
        raise ShellError(
            f"there is no bridge {bridge}: create it first (ip link add {bridge} type bridge), "
            "or remove [tap] bridge"
        )
    info = netlink.get_links(found[0])[0].get("linkinfo")
    if not info or info.get("kind") not in {"bridge", "openvswitch"}:
        raise ShellError(f"{bridge} is not a bridge")
    return int(found[0])


def _add_address(netlink: Any, index: int, address: str) -> None:
    interface = ipaddress.ip_interface(address)
    # No duplicate detection: an IPv6 address works at once, and its answers may be on another continent.
    flags = {"flags": IFA_F_NODAD} if interface.version == 6 else {}
    netlink.addr("add", index=index, address=str(interface.ip), prefixlen=interface.network.prefixlen, **flags)


def main() -> None:
    """One argument: the settings as JSON. On failure one line on stderr and exit code 1."""
    values = json.loads(sys.argv[1])
    try:
        apply(LinkSettings(**{**values, "addresses": tuple(values["addresses"])}))
    except ShellError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
