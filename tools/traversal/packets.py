"""What an edge sends to the other's site, counted by the kernel of its host: not what the edge says of itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from l2mesh.lab import Host

TTL_OF_OPENERS: Final = 10
"""Below: they are to die on the way. An edge's other datagrams start with 64."""
TABLE: Final = "traversal"


class Counters:
    """UDP packets from a host to a list of prefixes or addresses: all, and those that die on the way."""

    def __init__(self, host: Host, targets: Iterable[str]) -> None:
        self._host = host
        rules = [rule for target in targets for rule in _rules(target)]
        host.nft(
            f"""
            table inet {TABLE} {{
                counter openers {{ }}
                counter datagrams {{ }}
                chain output {{
                    type filter hook output priority filter
                    {chr(10).join(rules)}
                }}
            }}
            """
        )

    def read(self) -> tuple[int, int]:
        """(openers, others)"""
        text = self._host.run(["nft", "-j", "list", "counters", "table", "inet", TABLE]).stdout
        found = [one["counter"] for one in json.loads(text)["nftables"] if "counter" in one]
        packets = {counter["name"]: counter["packets"] for counter in found}
        return packets["openers"], packets["datagrams"]


def _rules(target: str) -> list[str]:
    """The first that matches ends the matter, for a host may be in a prefix that is there too."""
    ip, ttl = ("ip6", "hoplimit") if ":" in target else ("ip", "ttl")
    match = f"{ip} daddr {target} meta l4proto udp"
    return [
        f"{match} {ip} {ttl} < {TTL_OF_OPENERS} counter name openers accept",
        f"{match} counter name datagrams accept",
    ]
