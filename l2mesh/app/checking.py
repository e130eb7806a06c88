"""A TOML file against its schema: one error, that names the place, the value and the remedy.

msgspec judges; it is asked key by key, so that the place of an error is known and never parsed from its text.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import inspect

if TYPE_CHECKING:
    from l2mesh.app.errors import ConfigError
    from l2mesh.app.toml_file import TomlFile

S = TypeVar("S", bound=msgspec.Struct)

# Never shown in an error, which may end in a log.
SECRET_KEYS = {"secret"}
LONGEST_SHOWN = 60

Fields = dict[str, msgspec.structs.FieldInfo]


def check(file: TomlFile, schema: type[S]) -> S:
    """The file as a value of `schema`, a struct of tables; ConfigError at the first fault."""
    tables = _fields(schema)
    for name, table in file.tables.items():
        if name not in tables:
            raise _unknown_at_top(file, name, table, tables)
        if not isinstance(table, Mapping):
            raise file.error(place("", name, table), f"must be a table, as in [{name}]", file.line_of("", name))
        _check_table(file, name, table, tables)
    for name, field in tables.items():
        _check_required(file, name, file.tables.get(name, {}), field)
    try:
        return msgspec.convert(file.tables, schema)
    except msgspec.ValidationError as error:  # what the checks above did not foresee
        raise file.error("", str(error)) from None


def value_error(file: TomlFile, table: str, key: str, value: Any, problem: str) -> ConfigError:
    """The error for a key whose value is well-typed and wrong."""
    return file.error(place(table, key, value), problem, file.line_of(table, key))


def place(table: str, key: str, value: Any) -> str:
    """`[tap] mtu = 100`; a secret's value is left out."""
    where = f"[{table}] {key}" if table else key
    return where if key in SECRET_KEYS else f"{where} = {shown(value)}"


def shown(value: Any) -> str:
    """A value as TOML would write it, or nearly, cut to a line's length."""
    text = _printable(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def did_you_mean(word: str, known: Iterable[str], words: str = "known are") -> str:
    """`; did you mean 'mtu'?`, or the list of what is known when nothing is near."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else f"; {words} {', '.join(known)}"


def _printable(text: str) -> str:
    """What a terminal would obey is escaped."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def _fields(schema: Any) -> Fields:
    return {field.name: field for field in msgspec.structs.fields(schema)}


def _check_table(file: TomlFile, name: str, table: Mapping[str, Any], tables: Fields) -> None:
    known = _fields(tables[name].type)
    for key, value in table.items():
        if key not in known:
            problem = "unknown key" + _remedy(key, known, _tables_with(key, tables))
            raise file.error(f"[{name}] {_printable(key)}", problem, file.line_of(name, key))
        fault = _fault(value, known[key].type)
        if fault:
            raise value_error(file, name, key, value, fault)


def _remedy(key: str, known: Fields, elsewhere: list[str]) -> str:
    return f"; it belongs in [{elsewhere[0]}]" if elsewhere else did_you_mean(key, known)


def _tables_with(key: str, tables: Fields) -> list[str]:
    return [name for name, field in tables.items() if key in _fields(field.type)]


def _unknown_at_top(file: TomlFile, name: str, value: Any, tables: Fields) -> ConfigError:
    if isinstance(value, Mapping):
        problem = "unknown table" + did_you_mean(name, tables)
        return file.error(f"[{_printable(name)}]", problem, file.line_of(name))
    known = [key for field in tables.values() for key in _fields(field.type)]
    elsewhere = _tables_with(name, tables)
    near = f"; it belongs in [{elsewhere[0]}]" if elsewhere else did_you_mean(name, known)
    return file.error(_printable(name), "unknown key" + near, file.line_of("", name))


def _check_required(file: TomlFile, name: str, table: Mapping[str, Any], field: msgspec.structs.FieldInfo) -> None:
    for key, inner in _fields(field.type).items():
        if inner.required and key not in table:
            raise file.error(f"[{name}] {key}", "missing, and required", file.line_of(name))


def _fault(value: Any, type_: Any) -> str | None:
    """Why `value` is none of `type_`, as `must be …`; None if it is one."""
    try:
        msgspec.convert(value, type_)
    except msgspec.ValidationError:
        return _reason(value, inspect.type_info(type_))
    return None


def _reason(value: Any, kind: inspect.Type) -> str:
    kind, description = _unwrapped(kind)
    if isinstance(kind, inspect.VarTupleType) and isinstance(value, list):
        return _list_fault(value, kind)
    if isinstance(kind, inspect.IntType) and type(value) is int:
        return f"must be between {kind.ge} and {kind.le}"
    if isinstance(kind, inspect.StrType) and isinstance(value, str):
        return f"must be {description}"
    if isinstance(kind, inspect.LiteralType) and isinstance(value, str):
        return f"must be {_choice(kind)}"
    return f"must be {_wanted(kind)}, not {_kind_of(value)}"


def _list_fault(values: list[Any], kind: inspect.VarTupleType) -> str:
    for value in values:
        item, description = _unwrapped(kind.item_type)
        if not isinstance(value, str):
            return f"{shown(value)} must be {_wanted(item)}, not {_kind_of(value)}"
        if isinstance(item, inspect.StrType) and not re.search(item.pattern or "", value):
            return f"{shown(value)} must be {description}"
    least, most = kind.min_length or 0, kind.max_length
    return f"must have {least} to {most} entries" if most else f"must have at least {least} entries"


def _unwrapped(kind: inspect.Type) -> tuple[inspect.Type, str]:
    """The type below its Annotated and its `| None`, and the description on the way."""
    description = ""
    while True:
        if isinstance(kind, inspect.Metadata):
            description = (kind.extra_json_schema or {}).get("description", description)
            kind = kind.type
        elif isinstance(kind, inspect.UnionType):
            kind = next(one for one in kind.types if not isinstance(one, inspect.NoneType))
        else:
            return kind, description


def _wanted(kind: inspect.Type) -> str:
    if isinstance(kind, inspect.IntType):
        return f"a whole number between {kind.ge} and {kind.le}"
    if isinstance(kind, inspect.VarTupleType):
        return 'a list of texts, as in ["…", "…"]'
    if isinstance(kind, inspect.LiteralType):
        return _choice(kind)
    if isinstance(kind, inspect.BoolType):
        return "true or false, without quotes"
    return "text in quotes"


def _choice(kind: inspect.LiteralType) -> str:
    quoted = [f'"{value}"' for value in kind.values]
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _kind_of(value: Any) -> str:
    kinds = {str: "text", bool: "true or false", int: "a number", float: "a fraction", list: "a list"}
    return kinds.get(type(value), "a table" if isinstance(value, Mapping) else "a date or time")
