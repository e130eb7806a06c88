"""sd_notify(3): tell systemd that we are ready, alive, or stopping.

No library: the protocol is one datagram of KEY=VALUE lines to a socket named in the environment, and the
libraries for it either need libsystemd's headers to build or are unmaintained.
"""

from __future__ import annotations

import logging
import os
import socket

log = logging.getLogger(__name__)


class Notifier:
    """Speaks to the service manager, if one started us; else every method does nothing."""

    def __init__(self) -> None:
        path = os.environ.get("NOTIFY_SOCKET", "")
        # "@name" is Linux's abstract name space; anything but a path or that (vsock) is not for us.
        self._address = "\0" + path[1:] if path.startswith("@") else path if path.startswith("/") else ""

    def ready(self, status: str = "") -> None:
        self._send("READY=1" + (f"\nSTATUS={status}" if status else ""))

    def status(self, text: str) -> None:
        self._send(f"STATUS={text}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                manager.connect(self._address)
                manager.send(message.encode())
        except OSError as error:
            log.warning("cannot tell the service manager %s: %s", message.partition("\n")[0], error)


def watchdog_interval() -> float | None:
    """Seconds between calls of watchdog(): half of what WatchdogSec= allows. None when nobody is watching."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdecimal() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 2e6
