from __future__ import annotations

from enum import Enum


class Underlay(Enum):
    """How the two hosts are joined."""

    VETH = "veth"
    """As it is: a UDP super-packet crosses whole, which flatters whoever sends with UDP_SEGMENT."""

    PLAIN = "plain"
    """UDP segmentation off: each datagram travels alone, as behind a plain NIC."""

    @property
    def title(self) -> str:
        return {Underlay.VETH: "veth as it is", Underlay.PLAIN: "UDP segmentation off"}[self]
