"""Tests in real network namespaces. Mark `root`: skipped, with the reason, where no lab can be; in CI failed."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

import pytest

from l2mesh.lab import Lab, requirements, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
