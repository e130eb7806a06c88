"""TOML in and out: errors with a place, and nothing written that does not read back."""

from __future__ import annotations

import string
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l2mesh.app import files, toml_file
from l2mesh.app.errors import ConfigError


def read_error(content: bytes, path: Path = Path("alice.toml")) -> str:
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        toml_file.read(path)
    return str(caught.value)


def test_a_syntax_error_has_line_and_column() -> None:
    assert read_error(b'[tap]\nmtu = 1500\ndevice = l2m0"\n') == (
        "alice.toml:3: not TOML: invalid value (column 10)"
    )


def test_an_unfinished_file_says_so() -> None:
    assert read_error(b'[tap]\ndevice = "l2m0') == "alice.toml: not TOML: unterminated string (at end of document)"


def test_a_key_given_twice_is_an_error() -> None:
    assert read_error(b"[tap]\nmtu = 1500\nmtu = 1400\n").startswith("alice.toml:3: not TOML: cannot overwrite")


def test_text_that_is_not_utf8_names_the_line() -> None:
    assert read_error(b"[tap]\n# \xff\n") == "alice.toml:2: not UTF-8 text"


@pytest.mark.parametrize("content", [b"a = " + b"9" * 5000, b"a = " + b"[" * 100_000, b"a = 2026-13-45"])
def test_what_upsets_the_parser_is_still_a_config_error(content: bytes) -> None:
    assert read_error(content).startswith("alice.toml")


def test_a_huge_file_is_not_read_whole() -> None:
    assert "larger than 1048576 bytes" in read_error(b"#" * (toml_file.LARGEST_FILE + 1))


def test_a_missing_file_comes_with_its_remedy() -> None:
    with pytest.raises(ConfigError, match=r"^no\.toml: no such file: make one$"):
        toml_file.read(Path("no.toml"), "make one")


def test_a_directory_is_not_a_file() -> None:
    with pytest.raises(ConfigError, match="is a directory"):
        toml_file.read(Path())


def test_lines_are_found_in_their_table_only() -> None:
    Path("a.toml").write_text('[node]\nname = "x"\n\n[ "tap" ]\n# mtu = 1\n  "mtu"=2\n[tap.more]\nname = 1\n')
    file = toml_file.read(Path("a.toml"))
    assert file.line_of("tap") == 4
    assert file.line_of("tap", "mtu") == 6
    assert file.line_of("node", "name") == 2
    assert file.line_of("tap", "name") is None


def test_what_is_written_is_read_back_with_its_comments_and_mode() -> None:
    path = Path("new.toml")
    tables: dict[str, dict[str, Any]] = {
        "a": {"list": ["x", "y"], "text": 'quotes " and \\ and é'},
        "b": {"n": 3, "empty": []},
    }
    toml_file.write_new(path, tables, 0o600, "Top\n\nof the file", {"b": "about b"})
    assert toml_file.read(path).tables == tables
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == (
        '# Top\n#\n# of the file\n\n[a]\nlist = ["x", "y"]\ntext = "quotes \\" and \\\\ and é"\n\n'
        "# about b\n[b]\nn = 3\nempty = []\n"
    )


def test_a_file_that_is_there_is_not_overwritten() -> None:
    path = Path("there.toml")
    path.write_text("precious")
    with pytest.raises(FileExistsError):
        toml_file.write_new(path, {"a": {"b": 1}}, 0o600)
    assert path.read_text() == "precious"
    assert [one.name for one in Path().iterdir()] == ["there.toml"]


def test_a_replaced_file_has_the_new_content_and_mode() -> None:
    path = Path("old.toml")
    path.write_text("old")
    toml_file.replace(path, {"a": {"b": 1}}, 0o640)
    assert tomllib.loads(path.read_text()) == {"a": {"b": 1}}
    assert path.stat().st_mode & 0o777 == 0o640


def test_what_does_not_read_back_is_not_written() -> None:
    path = Path("old.toml")
    path.write_text("old")
    with pytest.raises(ValueError, match="does not read back"):
        toml_file.replace(path, {"a": {"none": None}}, 0o600)  # toml leaves out what it cannot say
    assert path.read_text() == "old"


def test_a_refused_write_leaves_nothing_behind() -> None:
    def refuse(_written: bytes) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        files.replace(Path("x"), b"content", 0o600, refuse)
    assert list(Path().iterdir()) == []


TABLE = st.dictionaries(
    st.text(string.ascii_letters + string.digits + "-_", min_size=1),
    st.one_of(st.text(), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.lists(st.text())),
)


@given(tables=st.dictionaries(st.text(string.ascii_letters, min_size=1), TABLE))
def test_any_text_reads_back(tables: dict[str, dict[str, Any]]) -> None:
    assert tomllib.loads(toml_file.dumps(tables, "a comment")) == tables
