"""The demo's internet: a public supernode and three homes, each behind a NAT router; and its drawing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from l2mesh.lab import Host, Lab, Site

NAMES: Final = ("alice", "bob", "carol")
MESH_PREFIX: Final = "10.98.0"
SUPERNODE_PORT: Final = 7777

COLUMN: Final = 19
"""Characters of the drawing for each home: three of them and the notes fit in 80."""


@dataclass(frozen=True, slots=True)
class Home:
    """A site with one host, which has `address` in the mesh."""

    site: Site
    address: str

    @property
    def name(self) -> str:
        return self.site.name

    @property
    def host(self) -> Host:
        return self.site.host


@dataclass(frozen=True, slots=True)
class Topology:
    supernode: Host
    homes: tuple[Home, ...]

    @property
    def supernode_address(self) -> str:
        return f"{self.supernode.address4}:{SUPERNODE_PORT}"

    @property
    def namespaces(self) -> int:
        """Of the core, the supernode, and a router and a host for each home."""
        return 2 + 2 * len(self.homes)


def build(lab: Lab) -> Topology:
    """Raises LabError."""
    supernode = lab.public_host("supernode", ipv6=False)
    homes = [Home(lab.site(name), f"{MESH_PREFIX}.{number}") for number, name in enumerate(NAMES, 1)]
    return Topology(supernode, tuple(homes))


def drawing(topology: Topology) -> str:
    """Lines of at most 80 characters."""
    homes = topology.homes
    middle = COLUMN * len(homes)
    lines = [
        (_row([home.name for home in homes]), "l2mesh edge"),
        (_row([home.address for home in homes]), "on one Ethernet"),
        (_row([home.host.address4 for home in homes]), "on the LAN at home"),
        (_row(["┌───┴───┐"] * len(homes)), ""),
        (_row(["│  NAT  │"] * len(homes)), "home router"),
        (_row(["└───┬───┘"] * len(homes)), ""),
        (_row([home.site.router.address4 for home in homes]), "its address outside"),
        (_bus(len(homes)), ""),
        ("internet".center(middle), ""),
        ("│".center(middle), ""),
        (f"supernode {topology.supernode_address}".center(middle), "l2mesh supernode"),
    ]
    return "\n".join(f"{line:{middle}}{note}".rstrip() for line, note in lines)


def _row(cells: list[str]) -> str:
    return "".join(cell.center(COLUMN) for cell in cells)


def _bus(count: int) -> str:
    """From the middle of the first column to that of the last."""
    half = COLUMN // 2
    joints = "┼".join(["─" * (COLUMN - 1)] * (count - 1))
    return f"{' ' * half}└{joints}┘"
