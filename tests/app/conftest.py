"""Fixtures of the program's own tests: files, and the command line in this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from l2mesh.app.cli import cli

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test in a directory of its own, so that errors show short paths; and outside of systemd."""
    monkeypatch.chdir(tmp_path)
    for name in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "L2MESH_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def examples() -> Path:
    return EXAMPLES


@pytest.fixture
def l2mesh() -> Callable[..., Result]:
    """`l2mesh("init", "mpc", …)`: the command, run in this process."""

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(cli, list(arguments), input=stdin, prog_name="l2mesh")

    return run
