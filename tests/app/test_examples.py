"""What is in examples/ is true: it parses, names every key, and shows the defaults."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from l2mesh.app import schema
from l2mesh.app.checking import check
from l2mesh.app.config import load_edge, load_supernode
from l2mesh.app.toml_file import read

# What an example says instead of the default: there is none, or it depends on the host.
OWN_VALUES = {
    ("network", "name"),
    ("network", "secret"),
    ("network", "supernodes"),
    ("node", "name"),
    ("node", "key"),
    ("tap", "addresses"),
    ("supernode", "key"),
}


def keys_of(struct: type[msgspec.Struct]) -> dict[tuple[str, str], Any]:
    """(table, key) of every key of a file, with its default."""
    return {
        (table.name, key.name): key.default
        for table in msgspec.structs.fields(struct)
        for key in msgspec.structs.fields(table.type)
    }


def keys_named(path: Path) -> set[tuple[str, str]]:
    """(table, key) of every key in a file, in comments too."""
    named, table = set(), ""
    for line in path.read_text().splitlines():
        if header := re.match(r"\[(\w+)\]", line):
            table = header[1]
        elif key := re.match(r"(?:# )?(\w+) = ", line):
            named.add((table, key[1]))
    return named


@pytest.mark.parametrize(
    ("name", "struct"), [("edge.toml", schema.EdgeFile), ("supernode.toml", schema.SupernodeFile)]
)
def test_an_example_names_every_key_and_its_default(
    examples: Path, name: str, struct: type[msgspec.Struct]
) -> None:
    keys = keys_of(struct)
    assert keys_named(examples / name) == set(keys)
    values = check(read(examples / name), struct)
    for (table, key), default in keys.items():
        if (table, key) not in OWN_VALUES:
            assert getattr(getattr(values, table), key) in (default, None), f"[{table}] {key}"


def test_the_example_of_an_edge_is_a_network_file_whose_secret_is_no_secret(examples: Path) -> None:
    config = load_edge(examples / "edge.toml")
    assert config.network.name == "mpc"
    assert [one.port for one in config.network.supernodes] == [7777] * 3
    assert any("everybody knows" in warning for warning in config.warnings)


def test_the_other_way_to_admit_works_when_its_comments_are_taken_off(examples: Path) -> None:
    text = (examples / "edge.toml").read_text()
    text = re.sub(r"^# (authority|certificate) = ", r"\1 = ", text, flags=re.MULTILINE)
    text = re.sub(r"^secret = .*$", "", text, flags=re.MULTILINE)
    path = Path("alice.toml")
    path.write_text(text)
    assert load_edge(path).node.certificate == path.absolute().with_name("alice.crt")


def test_the_example_of_a_supernode_has_the_defaults(examples: Path) -> None:
    config = load_supernode(examples / "supernode.toml")
    assert config.listen == load_supernode().listen
    assert config.networks == ()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize(
    ("unit", "instance", "exposure"),
    [("l2mesh-edge@.service", "l2mesh-edge@office.service", 30), ("l2mesh-supernode.service", "", 30)],
)
def test_systemd_takes_the_units_and_finds_them_hardened(
    examples: Path, unit: str, instance: str, exposure: int
) -> None:
    # The program and its user need not be on this host.
    text = (examples / "systemd" / unit).read_text()
    text = text.replace("/usr/local/bin/l2mesh", sys.executable).replace("User=l2mesh", "User=daemon")
    path = Path(instance or unit)
    path.write_text(text)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, check=False
    )
    about_ours = [line for line in verified.stderr.splitlines() if str(path) in line]
    assert not about_ours
    subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={exposure}", path],
        capture_output=True,
        check=True,
    )
