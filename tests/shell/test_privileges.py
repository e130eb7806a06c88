"""Each case is a process of its own that drops its privileges, and then shows what the kernel says it has."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("need_root")]

NET_ADMIN = f"{1 << 12:016x}"
NONE = f"{0:016x}"


def run(*calls: str, then: str = "print(open('/proc/self/status').read())") -> str:
    script = "\n".join(["from l2mesh.shell.privileges import drop_privileges", "import subprocess, warnings"])
    script += "\nwarnings.simplefilter('ignore')\n" + "\n".join([*calls, then])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout


def status(*calls: str, then: str = "print(open('/proc/self/status').read())") -> dict[str, str]:
    lines = run(*calls, then=then).splitlines()
    return {key: " ".join(value.split()) for key, _, value in (line.partition(":") for line in lines)}


def test_root_becomes_nobody_with_net_admin_only() -> None:
    found = status("drop_privileges('nobody', True)")
    assert found["Uid"] == "65534 65534 65534 65534"
    assert found["Gid"].split()[0] != "0"
    assert found["Groups"] == ""
    assert [found[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")] == [NET_ADMIN] * 5
    assert found["NoNewPrivs"] == "1"


def test_a_command_it_starts_has_net_admin_too() -> None:
    found = status("drop_privileges('nobody', True)", then="subprocess.run(['cat', '/proc/self/status'])")
    assert found["CapEff"] == NET_ADMIN


def test_root_becomes_nobody_with_nothing() -> None:
    found = status("drop_privileges('nobody', False)")
    assert [found[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")] == [NONE] * 5


def test_root_that_stays_root_has_no_way_back() -> None:
    found = status("drop_privileges(None, False)", then="subprocess.run(['cat', '/proc/self/status'])")
    assert found["Uid"] == "0 0 0 0"
    assert found["CapEff"] == NONE


def test_a_user_with_a_file_capability_drops_the_rest() -> None:
    """Not root: the user argument is ignored, for nothing could be done about it."""
    found = status("drop_privileges('nobody', True)", "drop_privileges('root', True)")
    assert (found["CapEff"], found["Uid"].split()[0]) == (NET_ADMIN, "65534")
    assert status("drop_privileges('nobody', True)", "drop_privileges(None, False)")["CapPrm"] == NONE


def test_an_unknown_user_is_named() -> None:
    text = run(then="try: drop_privileges('nosuchuser', True)\nexcept Exception as error: print(error)")
    assert "there is no user 'nosuchuser'" in text
