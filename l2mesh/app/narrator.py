"""Events of an engine as lines of the log."""

from __future__ import annotations

import logging
from typing import Final

from l2mesh.app.management.nat_views import nat_document
from l2mesh.app.management.nat_words import words
from l2mesh.core import events
from l2mesh.core.events import Event, NatFound

_LINES: Final[dict[type, tuple[int, str]]] = {
    events.SupernodeReached: (
        logging.INFO,
        "supernode {0.supernode}: registered; it sees us as {0.observed}",
    ),
    events.SupernodeLost: (logging.WARNING, "supernode {0.supernode}: lost: {0.reason}: trying again"),
    events.SupernodeTrusted: (
        logging.WARNING,
        'supernode {0.supernode}: trusted at first use; to pin its key: supernodes = ["{0.pinned}"]',
    ),
    events.SupernodeRefused: (
        logging.ERROR,
        "supernode {0.supernode}: no registration: {0.reason}",
    ),
    events.PeerUp: (logging.INFO, "peer {0.peer}: up, {0.path}"),
    events.PeerDown: (logging.INFO, "peer {0.peer}: down: {0.reason}"),
    events.PathChanged: (logging.INFO, "peer {0.peer}: path {0.old} -> {0.new}"),
    events.StationMoved: (logging.WARNING, "station {0.station}: moved from {0.old} to {0.new}"),
    events.PeerRefused: (logging.WARNING, "peer {0.peer}: refused: {0.reason}"),
    events.EdgeRegistered: (logging.INFO, "network {0.network}: {0.name} registered from {0.address}"),
    events.EdgeLeft: (logging.INFO, "network {0.network}: {0.name} is gone: {0.reason}"),
}


def narrate(log: logging.Logger, event: Event) -> None:
    """Log an event; those that are answers to a caller are not for the log."""
    if isinstance(event, NatFound):
        log.info("%s: %s", "NAT" if event.version == 4 else "NAT of IPv6", words(nat_document(event.nat, 0.0)))
        return
    line = _LINES.get(type(event))
    if line is not None:
        log.log(line[0], "%s", line[1].format(event))
