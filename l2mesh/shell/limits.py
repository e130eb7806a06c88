"""Limits of the process (getrlimit(2))."""

from __future__ import annotations

import logging
import resource
from typing import Final

log = logging.getLogger(__name__)

DESCRIPTORS: Final = 1024
"""256 side sockets, and all else several times over. No more: what we start inherits it, and may use select(2)."""


def allow_descriptors() -> None:
    """Raise the limit of open descriptors to what we may need, as far as it can be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    log.debug("the limit of open descriptors was %d, and is %d", soft, wanted)
