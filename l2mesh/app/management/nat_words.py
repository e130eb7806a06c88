"""A NAT in one line, for `l2mesh netcheck` and the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from l2mesh.app.management.documents import Nat

UNKNOWN = "unknown"


def words(nat: Nat) -> str:
    if nat.mapping == "none":
        return "no NAT" if nat.filtering == UNKNOWN else f"no NAT, {nat.filtering} filtering"
    text = f"{nat.mapping} mapping, {nat.filtering} filtering"
    if nat.port_step is not None:
        return f"{text}, ports in steps of {nat.port_step}"
    return text if nat.port_low is None else f"{text}, {nat.allocation} ports {nat.port_low} to {nat.port_high}"
