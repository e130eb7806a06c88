"""Gives out addresses in order.

Public ones are such as real networks have, since an engine may refuse documentation addresses as candidates:
hosts and sites have 5.1.0.0/16, IPv6 has 2a02:1::/32 a /64 for each site. Inside site n it is 10.0.n.0/24.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from l2mesh.simulator.place import Network

PUBLIC = "5.1.0.0"


class Numbering:
    """The next free address of each network."""

    def __init__(self, root: Network) -> None:
        self._root = root
        self._bases = {(root, 4): PUBLIC, (root, 6): "2a02:1::"}
        self._last: dict[str, int] = {}

    def add_site(self, network: Network, prefix: str | None) -> None:
        """Number the inside of one more site; `prefix` is that of its private addresses: "192.168.1"."""
        index = len(self._bases) // 2
        own = f"10.{index >> 8}.{index & 255}" if prefix is None else prefix
        self._bases[network, 4] = f"{own}.0"
        self._bases[network, 6] = f"2a02:1:{index:x}::"

    def next_address(self, network: Network, version: int) -> str:
        """A free address; where nothing translates IPv4 on the way out, one from the network further out."""
        if version == 4:
            while network.site is not None and not network.site.translates(4):
                network = network.site.network
        base = self._bases[network, version]
        while True:
            self._last[base] = self._last.get(base, 0) + 1
            address = str(ip_address(base) + self._last[base])
            if address not in network.members:
                return address
