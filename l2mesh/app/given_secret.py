"""A network's secret, from where another party put it: a file, or standard input. Never the command line."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from l2mesh.app.errors import ConfigError, describe_os_error
from l2mesh.app.values import parse_key

STANDARD_INPUT = Path("-")
# More than any network file; a bound, for the source may be a device.
LONGEST_SOURCE = 1 << 16

_LINE = re.compile(r"""^\s*secret\s*=\s*["']([^"']*)["']""", re.MULTILINE)


def secret_source(secret: str | None, secret_file: Path | None) -> Path | None:
    """What --secret and --secret-file name together; None if neither is given."""
    if secret is None:
        return secret_file
    if secret_file is not None:
        raise click.UsageError("--secret and --secret-file both give the secret: leave one away")
    if secret != "-":
        seen = "on the command line every user of this host could see it"
        raise click.UsageError(f"--secret takes only -, for standard input: {seen}")
    return STANDARD_INPUT


def read_secret(source: Path) -> bytes:
    """The 32 bytes in a file or on standard input: base64 alone, or in a line `secret = "…"` of it."""
    text = _read_text(source)
    line = _LINE.search(text)
    try:
        return parse_key(line[1] if line else text)
    except ValueError as error:
        where = "standard input" if source == STANDARD_INPUT else str(source)
        raise ConfigError(f"{where}: no secret of a network: {error}") from None


def _read_text(source: Path) -> str:
    if source == STANDARD_INPUT:
        if sys.stdin.isatty():
            return str(click.prompt("Secret of the network", hide_input=True, err=True))
        return sys.stdin.buffer.read(LONGEST_SOURCE).decode("utf-8", "replace")
    try:
        with source.open("rb") as file:
            return file.read(LONGEST_SOURCE).decode("utf-8", "replace")
    except OSError as error:
        raise ConfigError(describe_os_error(error)) from None
