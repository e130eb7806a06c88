"""What reaches the user instead of a traceback."""

from __future__ import annotations

import os


class ConfigError(Exception):
    """A file or an argument is wrong; the text says where, what, and what to do. Exit status 2."""


class CommandError(Exception):
    """The command was right, and failed; the text says at what. Exit status 1."""


def describe_os_error(error: OSError) -> str:
    """`alice.toml: permission denied`: the file first, and no errno number."""
    reason = (error.strerror or str(error)).lower()
    if error.filename is None:
        return reason
    return f"{os.fsdecode(error.filename)}: {reason}"
