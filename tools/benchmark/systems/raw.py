"""The two limits: no tunnel at all, and a tunnel in the kernel without a cipher."""

from __future__ import annotations

from benchmark.rig import Rig
from benchmark.systems.base import OVERLAY, Kernel, Overlay, bring_up
from l2mesh.lab import LabError, system

VXLAN_ID = 77
VXLAN_PORT = 4789  # RFC 7348


class RawVeth(Kernel):
    name = "raw"
    title = "raw veth"

    def overlay(self, rig: Rig) -> Overlay:
        return Overlay(rig.a.address4, rig.b.address4)

    def start(self, rig: Rig) -> None:
        """It is up with the rig."""


class Vxlan(Kernel):
    """Linux VXLAN between two unicast addresses, at its default MTU of 1450."""

    name = "vxlan"
    title = "VXLAN"

    def available(self) -> str | None:
        return kernel_lacks(f"vxlan id {VXLAN_ID} dstport {VXLAN_PORT}")

    def start(self, rig: Rig) -> None:
        for host, other in ((rig.a, rig.b), (rig.b, rig.a)):
            ends = f"local {host.address4} remote {other.address4} dstport {VXLAN_PORT} dev eth0"
            host.ip([f"link add vxlan0 type vxlan id {VXLAN_ID} {ends}"])
            bring_up(host, "vxlan0", OVERLAY.of(rig, host))


def kernel_lacks(kind: str) -> str | None:
    """Whether links of this type can be made, tried in a namespace that goes at once."""
    try:
        system.tool(["unshare", "--net", "ip", "link", "add", "l2bprobe", "type", *kind.split()])
    except LabError as error:
        return f"this kernel makes no {kind.split()[0]} link: {str(error).splitlines()[0].rpartition(': ')[2]}"
    return None
