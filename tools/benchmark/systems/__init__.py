"""All systems, in the order of the tables."""

from __future__ import annotations

from collections.abc import Callable

from benchmark.systems.base import System
from benchmark.systems.fastd import Fastd
from benchmark.systems.mesh import CrowdedMesh, DirectMesh, RelayedMesh
from benchmark.systems.n2n import N2n
from benchmark.systems.nebula import Nebula
from benchmark.systems.openvpn import OpenVpn
from benchmark.systems.raw import RawVeth, Vxlan
from benchmark.systems.tinc import Tinc
from benchmark.systems.vpncloud import VpnCloud
from benchmark.systems.wireguard import WireGuard, WireGuardGo
from benchmark.systems.zerotier import ZeroTier

SYSTEMS: tuple[Callable[[], System], ...] = (
    RawVeth,
    Vxlan,
    DirectMesh,
    RelayedMesh,
    CrowdedMesh,
    Tinc,
    Fastd,
    OpenVpn,
    N2n,
    Nebula,
    WireGuard,
    WireGuardGo,
    ZeroTier,
    VpnCloud,
)
