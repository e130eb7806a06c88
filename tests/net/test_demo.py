"""`l2mesh demo` as users run it: it shows a mesh that works, and nothing of it is left, however it ends."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from l2mesh.app.demo.keeping import PREFIX
from l2mesh.lab import system, user_namespace_requirements, wait_until
from l2mesh.lab.ownership import RUN_DIRECTORY

pytestmark = pytest.mark.root

DEMO = [sys.executable, "-m", "l2mesh", "demo"]
NAMES = ["alice", "bob", "carol"]
IN_USER_NAMESPACE = "import sys; from l2mesh.lab import reexec_in_user_namespace as go; go(sys.argv[1:])"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short one: a socket's path has 107 bytes at most, and pytest's own takes most of them."""
    with TemporaryDirectory(prefix="l2d-") as name:
        Path(name).chmod(0o711)  # the parties are no root
        yield Path(name)


@pytest.fixture
def left(tmp_path: Path) -> Callable[[], list[str]]:
    """What is there of the test's demos: its files are below tmp_path, by TMPDIR."""

    def look() -> list[str]:
        return [str(path) for path in tmp_path.glob("l2mesh-lab-*")] + programs(tmp_path) + mine(tmp_path)

    return look


def programs(below: Path) -> list[str]:
    """Command lines that name a file below a directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(word.startswith(bytes(below)) for word in words):
            found.append(b" ".join(words).decode())
    return found


def mine(below: Path) -> list[str]:
    """Tags and namespaces of demos whose directory is below this one."""
    tags = []
    for note in RUN_DIRECTORY.glob(f"{PREFIX}-*"):
        try:
            if str(below) in note.read_text():
                tags.append(note.name)
        except OSError:
            continue
    return [*tags, *(name for tag in tags for name in system.names_with(tag))]


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(tmp_path), "L2MESH_DEBUG": "1", **more}


def run(command: list[str], tmp_path: Path, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
        env=environment(tmp_path, **more),
        stdin=subprocess.DEVNULL,
    )


def check_document(document: dict[str, Any]) -> None:
    assert document["failures"] == []
    assert document["ok"]
    assert document["total_s"] < 30
    assert len(document["pairs"]) == 6
    for pair in document["pairs"]:
        assert pair["path"] == "direct"
        assert pair["first_frame_s"] < 2
        assert pair["direct_s"] < 5
        assert pair["ping"]["received"] == pair["ping"]["sent"] > 0
    assert sorted(document["broadcast"]["received_by"]) == ["bob", "carol"]
    assert not document["broadcast"]["reflected"]
    assert document["transfer"]["mbit_per_s"] > 1


@contextmanager
def running(tmp_path: Path, until: str) -> Iterator[subprocess.Popen[str]]:
    """A demo that has said a line like `until`."""
    with subprocess.Popen(DEMO, stderr=subprocess.PIPE, text=True, env=environment(tmp_path)) as demo:
        assert demo.stderr is not None
        for line in demo.stderr:
            if re.search(until, line):
                break
        yield demo


def test_it_shows_a_mesh_that_works_and_nothing_of_it_is_left(
    tmp_path: Path, left: Callable[[], list[str]]
) -> None:
    done = run(DEMO, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "└───┬───┘" in done.stderr
    assert max(map(len, done.stderr.splitlines()[:11])) <= 80
    for name in NAMES:
        assert re.search(rf"path +{name} -> \w+: direct by 198\.18\.", done.stderr)
    assert "It works: alice, bob and carol share one Ethernet" in done.stdout
    assert re.search(r"ping +30 of 30 answered", done.stdout)
    assert "\x1b" not in done.stdout + done.stderr
    assert left() == []


def test_kept_it_is_entered_by_the_command_it_prints_until_it_is_taken_down(
    tmp_path: Path, left: Callable[[], list[str]]
) -> None:
    done = run([*DEMO, "--keep", "--json"], tmp_path)
    try:
        assert done.stderr == ""
        document = json.loads(done.stdout)
        check_document(document)
        shell = shlex.split(document["shells"]["alice"])
        carol = document["parties"][2]["address"]
        assert run([*shell, "-c", f"ping -n -c 2 -i 0.2 -W 2 {carol}"], tmp_path).returncode == 0
        assert (Path(document["directory"]) / "carol" / "demo.toml").exists()
        peers = run(shlex.split(document["peers"]), tmp_path).stdout
        assert "bob" in peers
        assert len(programs(tmp_path)) == 4
    finally:
        down = run([*DEMO, "--down"], tmp_path)
    assert f"took down {PREFIX}-" in down.stdout
    wait_until(lambda: not left(), 2.0, "nothing is left")


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
    ids=lambda value: getattr(value, "name", ""),
)
@pytest.mark.parametrize("moment", ["internet of", "edge are ready"])
def test_a_signal_leaves_nothing_not_even_one_that_cannot_be_caught(
    tmp_path: Path, left: Callable[[], list[str]], number: signal.Signals, status: int, moment: str
) -> None:
    with running(tmp_path, moment) as demo:
        demo.send_signal(number)
        demo.communicate(timeout=10)
        assert demo.returncode == status
        wait_until(lambda: not left(), 5.0 if number == signal.SIGKILL else 0.0, "nothing is left")


def test_what_fails_is_said_and_is_the_status(tmp_path: Path, left: Callable[[], list[str]]) -> None:
    """Here ping and iperf3 are the ones that fail."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("ping", "iperf3"):
        (tools / name).write_text(f"#!/bin/sh\necho no {name} today\nexit 3\n")
        (tools / name).chmod(0o755)
    done = run(DEMO, tmp_path, PATH=f"{tools}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert "It does not work" in done.stdout
    assert "ping alice → bob: 0 of 5 answered" in done.stdout
    assert "no iperf3 today" in done.stdout
    assert "the log of carol ends" in done.stderr
    assert left() == []


def test_a_user_without_root_has_it_in_a_user_namespace_here_also_without_iperf3(tmp_path: Path) -> None:
    if lacks := user_namespace_requirements():
        pytest.skip("; ".join(lacks))
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("ip", "nft", "ping", "conntrack", "unshare", "sh"):
        (tools / name).symlink_to(shutil.which(name, path=system.environment()["PATH"]) or "")
    command = [sys.executable, "-c", IN_USER_NAMESPACE, *DEMO, "--json"]
    done = run(command, tmp_path, PATH=str(tools))
    assert done.stderr == ""
    document = json.loads(done.stdout)
    check_document(document)
    assert document["transfer"]["tool"] == "the demo's own"
    assert list(tmp_path.glob("l2mesh-lab-*")) == []
