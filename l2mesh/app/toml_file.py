"""TOML files: read strictly, with line numbers for errors; written whole, and only when they read back equal.

The `toml` package cannot be trusted to read (it accepts what TOML forbids, and raises IndexError on some
input), so the standard library's `tomllib` reads. `toml` writes what `tomllib` cannot.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import toml

from l2mesh.app import files
from l2mesh.app.errors import ConfigError, describe_os_error

if TYPE_CHECKING:
    from pathlib import Path

Tables = Mapping[str, Mapping[str, Any]]

# 1 MB is a hundred times the largest sensible file; the bound keeps /dev/zero from filling memory.
LARGEST_FILE = 1 << 20

_AT_LINE = re.compile(r" \(at line (\d+), column (\d+)\)$")


@dataclass(frozen=True, slots=True)
class TomlFile:
    """A file as read: its tables, and its text to find lines in."""

    path: Path
    tables: dict[str, Any]
    text: str = field(repr=False, default="")
    status: os.stat_result | None = field(repr=False, default=None)

    def error(self, place: str, problem: str, line: int | None = None) -> ConfigError:
        """`alice.toml:12: [tap] mtu = 100: must be …`, where `place` is `[tap] mtu = 100`."""
        where = f"{self.path}:{line}" if line else str(self.path)
        return ConfigError(": ".join(part for part in (where, place, problem) if part))

    def line_of(self, table: str, key: str | None = None) -> int | None:
        """Line number of a key of a table ("" is the top of the file), or of the table's header.

        A search of the text, not a parse: None for inline tables and dotted keys, which are rare here.
        """
        inside = table == ""
        for number, line in enumerate(self.text.splitlines(), 1):
            header = re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line)
            if header:
                inside = header[1].strip("\"'") == table
                if inside and key is None:
                    return number
            elif inside and key is not None and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*=""", line):
                return number
        return None


def read(path: Path, remedy: str = "") -> TomlFile:
    """Read and parse a file; ConfigError when it is missing (`remedy` says how to make one), or not TOML."""
    content, status = _read_bytes(path, remedy)
    text = _decoded(path, content)
    try:
        return TomlFile(path, tomllib.loads(text), text, status)
    except ValueError as error:  # TOMLDecodeError, or an integer of thousands of digits
        raise _syntax_error(path, str(error)) from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None


def _read_bytes(path: Path, remedy: str) -> tuple[bytes, os.stat_result]:
    try:
        with path.open("rb") as file:
            content, status = file.read(LARGEST_FILE + 1), os.fstat(file.fileno())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file" + (f": {remedy}" if remedy else "")) from None
    except OSError as error:
        raise ConfigError(describe_os_error(error)) from None
    if len(content) > LARGEST_FILE:
        raise ConfigError(f"{path}: larger than {LARGEST_FILE} bytes: not one of our files")
    return content, status


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text") from None


def _syntax_error(path: Path, message: str) -> ConfigError:
    at = _AT_LINE.search(message)
    if at:
        message = f"{message[: at.start()]} (column {at[2]})"
    where = f"{path}:{at[1]}" if at else str(path)
    return ConfigError(f"{where}: not TOML: {message[:1].lower()}{message[1:]}")


class _Encoder(toml.TomlEncoder):  # type: ignore[type-arg]  # generic in its stubs only
    """Lists as people write them (`toml` writes `[ "a", "b",]`), and any text (`toml` fails at some)."""

    def __init__(self) -> None:
        super().__init__()
        self.dump_funcs[str] = _basic_string

    def dump_list(self, v: Iterable[Any]) -> str:
        return f"[{', '.join(str(self.dump_value(item)) for item in v)}]"


def _basic_string(text: str) -> str:
    # JSON's escapes are among TOML's; only DEL, which JSON allows as it is, is not.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def dumps(tables: Tables, header: str = "", comments: Mapping[str, str] | None = None) -> str:
    """TOML text of `tables`, with a comment above all and one above a table; ValueError if it does not read
    back as `tables`."""
    parts = [_comment(header)] if header else []
    for name, table in tables.items():
        comment = _comment((comments or {}).get(name, ""))
        parts.append(comment + toml.dumps({name: dict(table)}, encoder=_Encoder()))
    text = "\n".join(parts)
    _compare(text, tables)
    return text


def write_new(
    path: Path,
    tables: Tables,
    mode: int,
    header: str = "",
    comments: Mapping[str, str] | None = None,
) -> None:
    """Write a file that does not exist yet (FileExistsError if it does), read back and compared first."""
    text = dumps(tables, header, comments)
    files.write_new(path, text.encode(), mode, lambda written: _compare(written.decode(), tables))


def replace(
    path: Path,
    tables: Tables,
    mode: int,
    header: str = "",
    comments: Mapping[str, str] | None = None,
) -> None:
    """Write a file in place of the one there, read back and compared before it takes the name."""
    text = dumps(tables, header, comments)
    files.replace(path, text.encode(), mode, lambda written: _compare(written.decode(), tables))


def _comment(text: str) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines())


def _compare(text: str, tables: Tables) -> None:
    if tomllib.loads(text) != {name: dict(table) for name, table in tables.items()}:
        raise ValueError("the TOML written does not read back as what was meant")
