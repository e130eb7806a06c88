from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from l2mesh.shell.errors import ShellError
from l2mesh.shell.link import LinkSettings, configure_link
from l2mesh.shell.tap import Tap

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root


@pytest.fixture
def tap(namespaces: list[Any]) -> Iterator[Tap]:
    device = Tap("l2m0")
    yield device
    device.close()


def test_the_device_becomes_what_was_asked(tap: Tap, namespaces: list[Any]) -> None:
    configure_link(
        LinkSettings(
            "l2m0",
            mtu=1400,
            mac="02:11:22:33:44:55",
            addresses=("10.98.0.1/24", "fd98::1/64"),
            gso_max_size=50_000,
        )
    )
    [link] = json.loads(namespaces[0].ip("-j -d link show l2m0"))
    assert (link["mtu"], link["address"], link["gso_max_size"]) == (1400, "02:11:22:33:44:55", 50_000)
    assert link["txqlen"] == 4000
    assert "UP" in link["flags"]
    [entry] = json.loads(namespaces[0].ip("-j addr show l2m0"))
    addresses = {(info["local"], info["prefixlen"]): info for info in entry["addr_info"]}
    assert ("10.98.0.1", 24) in addresses
    assert addresses["fd98::1", 64]["nodad"]
    assert not addresses["fd98::1", 64].get("tentative")


def test_it_joins_a_bridge(tap: Tap, namespaces: list[Any]) -> None:
    namespaces[0].ip("link add br0 type bridge")
    configure_link(LinkSettings("l2m0", bridge="br0"))
    [link] = json.loads(namespaces[0].ip("-j link show l2m0"))
    assert link["master"] == "br0"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"bridge": "br9"}, "cannot set up l2m0: there is no bridge br9: create it first"),
        ({"bridge": "lo"}, "cannot set up l2m0: lo is not a bridge"),
        ({"device": "l2m9"}, "cannot set up l2m9: there is no device l2m9"),
        ({"mac": "01:00:5e:00:00:01"}, "cannot set up l2m0: set MAC 01:00:5e:00:00:01: "),
        ({"mtu": 100_000}, "cannot set up l2m0: set MTU 100000: "),
        ({"addresses": ("10.0.0.1/24", "10.0.0.1/24")}, "cannot set up l2m0: add address 10.0.0.1/24: "),
    ],
    ids=str,
)
def test_what_fails_is_named(tap: Tap, change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ShellError) as caught:
        configure_link(LinkSettings(**{"device": "l2m0", **change}))
    assert str(caught.value).startswith(complaint)
