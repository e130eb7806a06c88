"""Tests in real network namespaces. Mark `root`: skipped, with the reason, where no lab can be; in CI failed."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from l2mesh.lab import Lab, requirements, sweep
from tests.net.mesh import Mesh

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from contextlib import AbstractContextManager

# tools/nat-matrix is not installed; its tests use what it is made of.
TOOLS = str(Path(__file__).parents[2] / "tools")
if TOOLS not in sys.path:
    sys.path.insert(0, TOOLS)

LOG_LINES = 30  # of each daemon, shown with a failure

living: list[Mesh] = []


@cache
def lacks() -> str:
    return "; ".join(requirements())


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and lacks():
        if os.environ.get("CI"):
            pytest.fail(f"CI must be able to build a lab: {lacks()}", pytrace=False)
        pytest.skip(lacks())


@pytest.fixture(scope="session")
def swept() -> None:
    """What a killed run left is gone."""
    sweep()


@pytest.fixture
def lab(tmp_path: Path, swept: None) -> Iterator[Lab]:
    """A lab with nothing but its core; logs stay in tmp_path."""
    with Lab(directory=tmp_path) as built:
        yield built


# Meshes of real daemons (mesh.py).


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure comes with the ends of the daemons' logs."""
    report = yield
    if report.failed:
        for mesh in living:
            for daemon in (*mesh.supernodes, *mesh.edges):
                if daemon.running:
                    report.sections.append((f"log of {daemon.name}", daemon.running.tail(LOG_LINES)))
    return report


@contextmanager
def made_mesh() -> Iterator[Mesh]:
    with tempfile.TemporaryDirectory(prefix="l2mesh-net-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # daemons that are nobody any more write their state in there
        with Lab() as built:
            mesh = Mesh(built, directory)
            living.append(mesh)
            try:
                yield mesh
            finally:
                living.remove(mesh)


@pytest.fixture(scope="session")
def meshes(swept: None) -> Callable[[], AbstractContextManager[Mesh]]:
    """For a fixture that many tests share: `with meshes() as mesh:` is a lab of its own, with no daemon yet."""
    return made_mesh


@pytest.fixture
def mesh(swept: None) -> Iterator[Mesh]:
    """A mesh of this test's own, with no daemon yet."""
    with made_mesh() as built:
        yield built


# What was measured.


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str, float], None]:
    """`measured("to the first answer", seconds)`: told at the end of the run."""
    return lambda what, seconds: request.node.user_properties.append((what, seconds))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    lines = [
        f"{seconds:6.2f} s {what}: {report.nodeid.partition('::')[2]}"
        for report in reports
        if getattr(report, "when", "") == "call"
        for what, seconds in report.user_properties
    ]
    if lines:
        terminalreporter.section("measured")
        terminalreporter.write("\n".join([*lines, ""]))
