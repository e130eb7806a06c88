"""Whether somebody listens at a unix socket: a daemon that was killed leaves its socket behind."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_S: Final = 1.0


def is_answering(path: Path) -> bool:
    """One that we may not open is taken for alive. OSError if there is no socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PATIENCE_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except (PermissionError, BlockingIOError, TimeoutError):  # of another user; or busy
            return True
    return True
