"""In processes of their own: a limit that was lowered cannot be raised again."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from l2mesh.shell.limits import DESCRIPTORS

HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]


@pytest.mark.parametrize(
    ("soft", "hard", "after"),
    [(256, HARD, DESCRIPTORS), (256, 512, 512), (2048, 2048, 2048)],
    ids=["raised", "as far as it can be", "left alone"],
)
def test_descriptors_are_allowed(soft: int, hard: int, after: int) -> None:
    script = (
        "import resource\n"
        "from l2mesh.shell.limits import allow_descriptors\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
        "allow_descriptors()\n"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(after), str(hard)]
