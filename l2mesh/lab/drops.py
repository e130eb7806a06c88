"""Rules that lose packets: blocked pairs, random loss, black holes for big packets.

They sit in an nftables table of their own, before connection tracking and before the reassembly of fragments,
so that a lost packet leaves no trace in a NAT.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from l2mesh.lab import system

if TYPE_CHECKING:
    from l2mesh.lab.namespace import Namespace

LOSS_STEPS = 10_000  # loss is set in hundredths of a percent

TABLE = """
table inet lab_drops {
    chain prerouting {
        type filter hook prerouting priority -450
    }
    chain output {
        type filter hook output priority -450
    }
}
"""


class Drop:
    """One such rule, until `remove`."""

    def __init__(self, namespace: Namespace, match: str, hook: str) -> None:
        """`hook`: prerouting (all that comes in or passes) or output (what the namespace itself sends)."""
        self._namespace = namespace
        self._hook = hook
        with namespace.entered():
            system.nft(TABLE)
            echo = system.nft(f"add rule inet lab_drops {hook} {match} counter drop\n")
        self._handle = int(re.findall(r"# handle (\d+)", echo)[-1])

    def packets(self) -> int:
        """How many it dropped. (A packet may be a train of many datagrams: veth carries UDP GSO whole.)"""
        with self._namespace.entered():
            rules = system.tool(["nft", "--handle", "list", "chain", "inet", "lab_drops", self._hook])
        line = next(line for line in rules.splitlines() if line.endswith(f"# handle {self._handle}"))
        return int(re.findall(r"counter packets (\d+)", line)[0])

    def remove(self) -> None:
        with self._namespace.entered():
            system.nft(f"delete rule inet lab_drops {self._hook} handle {self._handle}\n")


def some_of(percent: float) -> str:
    """A match for that share of packets, at random."""
    return f"numgen random mod {LOSS_STEPS} < {round(percent * LOSS_STEPS / 100)}"


def between(near: list[str], far: list[str], version: int) -> list[str]:
    """Matches for UDP in both directions between two lists of prefixes of one IP version."""
    if not near or not far:
        return []
    key = {4: "ip", 6: "ip6"}[version]
    one, other = ", ".join(near), ", ".join(far)
    return [
        f"{key} saddr {{ {source} }} {key} daddr {{ {target} }} meta l4proto udp"
        for source, target in ((one, other), (other, one))
    ]
