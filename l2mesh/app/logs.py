"""The log of a daemon: lines on stderr. Under systemd the journal adds the time."""

from __future__ import annotations

import logging
import os
import sys


def set_up(level: str) -> None:
    """`level`: debug, info, warning or error."""
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(f"{stamp}%(message)s", "%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(logging.WARNING)


class _Formatter(logging.Formatter):
    """Names the level only where it asks for attention."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        if record.levelno < logging.WARNING:
            return line
        message = record.getMessage()
        return line.replace(message, f"{record.levelname.lower()}: {message}", 1)
