"""Which address a supernode probes for whom, and by which of its sockets."""

from __future__ import annotations

import pytest

from l2mesh.core.mapped_probe import NOT_YOURS, refusal, seen_from
from l2mesh.wire.address import Address, SideAddress

SESSION: Address = ("198.51.100.1", 40000)
TARGET: Address = ("198.51.100.1", 50000)


@pytest.mark.parametrize(
    ("target", "refused"),
    [
        (TARGET, ""),
        (SESSION, ""),
        (("198.51.100.2", 50000), NOT_YOURS),
        (("2001:db8::1", 50000), NOT_YOURS),
        (("198.51.100.1", 0), "nobody can send there"),
        (("127.0.0.1", 50000), "nobody can send there"),
        (("224.0.0.1", 50000), "nobody can send there"),
    ],
)
def test_only_what_is_the_edges_own_is_probed(target: Address, refused: str) -> None:
    assert refusal(target, SESSION) == refused


def test_nobody_is_probed_on_this_host_itself() -> None:
    assert refusal(("127.0.0.1", 1), ("127.0.0.1", 2))


MAIN: Address = ("192.0.2.1", 7777)
PORT = SideAddress("192.0.2.1", 7778, 1)
HOST = SideAddress("192.0.2.2", 7777, 2)
IPV6: Address = ("2001:db8::1", 7777)


@pytest.mark.parametrize(
    ("listening", "session", "way"),
    [
        ([], SESSION, TARGET),
        ([("0.0.0.0", 7777), ("::", 7777)], SESSION, TARGET),
        ([MAIN, PORT], SESSION, SideAddress(*TARGET, 1)),
        ([MAIN, PORT, HOST, IPV6], SESSION, SideAddress(*TARGET, 2)),
        ([MAIN, PORT, HOST], SideAddress(*SESSION, 2), TARGET),
        ([MAIN, HOST], SideAddress(*SESSION, 2), TARGET),
        ([MAIN, PORT], SideAddress(*SESSION, 1), TARGET),
    ],
)
def test_another_host_is_better_than_another_port_than_none(
    listening: list[Address], session: Address, way: Address
) -> None:
    assert seen_from(TARGET, session, listening) == way
