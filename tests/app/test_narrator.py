"""Events as lines of the log."""

from __future__ import annotations

import logging

import pytest

from l2mesh.app.narrator import narrate
from l2mesh.core.events import Event, NatFound, PathChanged, ProbeAnswered
from l2mesh.core.nat import PORTS_HIGH, PORTS_LOW, Allocation, AllocationKind, Filtering, Mapping, NatBehaviour

HOME = NatBehaviour(Mapping.ENDPOINT_INDEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT)
CARRIER = NatBehaviour(
    Mapping.ADDRESS_AND_PORT_DEPENDENT, allocation=Allocation(AllocationKind.RANDOM, PORTS_LOW, PORTS_HIGH)
)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (PathChanged("bob", "none", "relay carol"), "peer bob: path none -> relay carol"),
        (NatFound(4, HOME), "NAT: endpoint-independent mapping, address-and-port-dependent filtering"),
        (
            NatFound(4, CARRIER),
            "NAT: address-and-port-dependent mapping, unknown filtering, random ports 1024 to 65535",
        ),
        (NatFound(6, NatBehaviour(Mapping.NONE)), "NAT of IPv6: no NAT"),
        (ProbeAnswered(b"", 0.1), ""),
    ],
)
def test_what_is_for_the_log_is_a_line(event: Event, line: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        narrate(logging.getLogger("l2mesh"), event)
    assert [record.getMessage() for record in caplog.records] == [line] * bool(line)
