"""The command as users meet it: help, errors in a line, exit statuses; and how fast it is there."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import Result

import l2mesh as package
from l2mesh.app.cli import FAILED, INTERRUPTED, VERBS, WRONG, guarded
from l2mesh.app.errors import CommandError, ConfigError
from l2mesh.lab.errors import LabError
from l2mesh.shell.errors import ShellError

Command = Callable[..., Result]


def shell(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "l2mesh", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
    )


def test_the_command_alone_explains_itself_with_an_example() -> None:
    shown = shell()
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "l2mesh init office --supernode" in shown.stdout
    assert all(re.search(rf"^  {verb}\s+\S", shown.stdout, re.MULTILINE) for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help_with_an_example(l2mesh: Command, verb: str) -> None:
    result = l2mesh(verb, "--help")
    assert result.exit_code == 0
    assert f"    l2mesh {verb} " in result.stdout.replace("sudo ", "")


def test_the_version_is_the_package_s(l2mesh: Command) -> None:
    assert l2mesh("--version").stdout == f"l2mesh {package.__version__}\n"


def test_an_unknown_command_has_its_nearest(l2mesh: Command) -> None:
    result = l2mesh("inti")
    assert result.exit_code == WRONG
    assert result.stderr == "error: no command 'inti'; did you mean 'init'?\nsee: l2mesh --help\n"


def test_an_unknown_option_is_wrong_and_told_in_two_lines(l2mesh: Command) -> None:
    result = l2mesh("init", "mpc", "--supernod", "a:1")
    assert (result.exit_code, result.stdout) == (WRONG, "")
    assert result.stderr.startswith("error: no such option '--supernod'")
    assert result.stderr.endswith("\nsee: l2mesh init --help\n")


def test_a_missing_option_is_wrong(l2mesh: Command) -> None:
    result = l2mesh("init", "mpc")
    assert result.exit_code == WRONG
    assert result.stderr == "error: missing option '--supernode'\nsee: l2mesh init --help\n"


def test_an_error_of_a_file_is_one_line_and_status_2() -> None:
    shown = shell("sign", "no.request", "--authority-key", "no.key")
    assert (shown.returncode, shown.stdout) == (WRONG, "")
    assert shown.stderr == (
        "error: no.request: no such file: a request comes from `l2mesh request`, on the host to admit\n"
    )


def test_a_verb_s_module_is_imported_only_when_it_is_called() -> None:
    code = (
        "import sys; from l2mesh.app.cli import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: print([name for name in sys.modules if 'verbs.' in name or 'msgspec' in name])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"


def raising(error: BaseException) -> Callable[[], object]:
    def run() -> object:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ConfigError("alice.toml: wrong"), WRONG, "error: alice.toml: wrong\n"),
        (click.UsageError("No such thing."), WRONG, "error: no such thing\n"),
        (CommandError("no edge runs here"), FAILED, "error: no edge runs here\n"),
        (ShellError("port 7777 is busy", errno.EADDRINUSE), FAILED, "error: port 7777 is busy\n"),
        (LabError("ip: no namespaces"), FAILED, "error: ip: no namespaces\n"),
        (click.ClickException("it broke"), FAILED, "error: it broke\n"),
        (OSError(errno.EACCES, "Permission denied", "a.key"), FAILED, "error: a.key: permission denied\n"),
        (OSError(errno.ENOSPC, "No space left on device"), FAILED, "error: no space left on device\n"),
        (KeyboardInterrupt(), INTERRUPTED, ""),
        (click.Abort(), INTERRUPTED, ""),
        (
            ZeroDivisionError("division by zero"),
            FAILED,
            "error: a fault of l2mesh itself: ZeroDivisionError: division by zero (L2MESH_DEBUG=1 shows where)\n",
        ),
    ],
)
def test_no_traceback_reaches_a_user(
    capsys: pytest.CaptureFixture[str], error: BaseException, status: int, said: str
) -> None:
    assert guarded(raising(error)) == status
    assert capsys.readouterr().err == said


def test_a_developer_may_have_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L2MESH_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        guarded(raising(ZeroDivisionError()))


def test_a_command_s_number_is_the_exit_status() -> None:
    assert guarded(lambda: 1) == 1
    assert guarded(lambda: None) == 0


def test_a_reader_that_leaves_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as closed:
        ended = subprocess.run(
            [sys.executable, "-m", "l2mesh"], stdout=closed, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (ended.returncode, ended.stderr) == (FAILED, "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_one_may_not_write_is_told() -> None:
    Path("locked").mkdir(0o500)
    shown = shell("init", "mpc", "--supernode", "a:1", "--dir", "locked")
    assert shown.returncode in {FAILED, WRONG}
    assert "permission denied" in shown.stderr
