from __future__ import annotations

import asyncio
from typing import Any

import pytest

from l2mesh.shell.netlink import NetworkWatch, is_candidate, is_tap, local_hosts, networks_of
from l2mesh.shell.tap import Tap


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "169.254.1.1", "fe80::1", "224.0.0.1", "0.0.0.0"])
def test_addresses_nobody_else_can_reach_are_no_candidates(host: str) -> None:
    assert not is_candidate(host)


@pytest.mark.parametrize("host", ["192.168.1.2", "100.64.0.1", "8.8.8.8", "fd00::1", "2001:db8::1"])
def test_private_and_public_addresses_are_candidates(host: str) -> None:
    assert is_candidate(host)


@pytest.mark.root
def test_container_bridges_come_last_and_our_own_tap_never(namespaces: list[Any]) -> None:
    here = namespaces[0]
    for device, address in (("docker0", "172.17.0.1/16"), ("wan0", "192.0.2.7/24"), ("l2m0", "10.98.0.1/24")):
        here.ip(f"tuntap add {device} mode {'tap' if device == 'l2m0' else 'tun'}")
        here.ip(f"addr add {address} dev {device}")
    here.ip("addr add 2001:db8::7/64 dev wan0 nodad")
    assert local_hosts(["l2m0"]) == ["2001:db8::7", "192.0.2.7", "172.17.0.1"]


@pytest.mark.root
@pytest.mark.parametrize(
    "command", ["addr add 192.0.2.1/24 dev lo", "link set lo down", "route add 198.51.100.0/24 dev lo"]
)
def test_a_change_is_told_once(namespaces: list[Any], command: str) -> None:
    async def run() -> int:
        told = 0

        def on_change() -> None:
            nonlocal told
            told += 1
            changed.set()

        changed = asyncio.Event()
        watch = NetworkWatch(asyncio.get_running_loop(), on_change)
        namespaces[0].ip(command)
        await asyncio.wait_for(changed.wait(), 5)
        watch.close()
        return told

    assert asyncio.run(run()) == 1


@pytest.mark.root
def test_a_tap_of_whoever_is_no_candidate_and_its_network_is_known(namespaces: list[Any]) -> None:
    with namespaces[0].entered():
        tap = Tap("other0")
        namespaces[0].ip("addr add 10.77.0.1/24 dev other0")
        assert is_tap("other0")
        assert not is_tap("lo")
        assert "10.77.0.1" not in local_hosts()
        assert networks_of(["other0", "gone0"]) == ["10.77.0.0/24"]
        tap.close()
