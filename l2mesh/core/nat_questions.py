"""What a survey of the NAT asks, and what it writes down of the answers (nat_survey.py)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from l2mesh.core.candidates import is_private
from l2mesh.core.nat import ServerFinding
from l2mesh.wire.address import Address, ip_version, is_sendable
from l2mesh.wire.stun import BindingAnswer

if TYPE_CHECKING:
    from l2mesh.core.nat_survey import Survey


class Ask(Enum):
    SERVER = "server"
    ALTERNATE = "alternate"
    OPEN = "open"
    OTHER_HOST = "other host"
    OTHER_PORT = "other port"
    CONTROL = "control"
    HAIRPIN = "hairpin"
    SAMPLE = "sample"


MAPPING_QUESTIONS: Final = frozenset({Ask.SERVER, Ask.ALTERNATE})
FILTERING_QUESTIONS: Final = frozenset({Ask.ALTERNATE, Ask.OPEN, Ask.OTHER_HOST, Ask.OTHER_PORT, Ask.CONTROL})


@dataclass(frozen=True, slots=True)
class Question:
    """What a request is for. `survey` None: a single sample, on demand. `number`: of a sample's side socket."""

    survey: Survey | None
    ask: Ask
    number: int = 0


@dataclass(slots=True)
class FilterTest:
    """`server` says that it has an address `other`. None: no server does, so it is only for the hairpin."""

    server: Address
    other: Address | None
    side: Address | None = None
    """Where the server sees the side socket."""
    passed: frozenset[Ask] = frozenset()
    silent: frozenset[Ask] = frozenset()
    controlled: bool = False
    """After the silence the server still answered plainly, and saw the same mapping."""

    def result(self, ask: Ask, *, there: bool) -> bool | None:
        """Whether that came in; None when it is not known. `there`: the other address answers us plainly."""
        if ask in self.passed:
            return True
        return False if ask in self.silent and self.controlled and there else None


@dataclass(frozen=True, slots=True)
class Sample:
    port: int
    prompt: bool
    """The first request was answered, so its place in the order is known."""


def nearest_server(findings: Iterable[ServerFinding]) -> ServerFinding | None:
    """Of those that answer."""
    answering = [finding for finding in findings if finding.reflexive is not None]
    return min(answering, key=lambda one: float("inf") if one.rtt is None else one.rtt, default=None)


def with_rtt(finding: ServerFinding, before: dict[Address, float | None]) -> ServerFinding:
    """A round trip that a repeat made ambiguous is taken to be as it was."""
    if finding.reflexive is None or finding.rtt is not None:
        return finding
    return replace(finding, rtt=before.get(finding.address))


NUMBERS: Final = 1000
"""Side sockets of surveys have numbers from 1000 times the IP version on: far from those of a birthday search."""


def first_number(version: int) -> int:
    return version * NUMBERS


def other_address(server: Address, answer: BindingAnswer) -> Address | None:
    """Where else a server says it is; None when it does not, or nowhere that could be reached.

    One behind a static NAT, as rented ones are, knows but its inside addresses: its other port is right, then.
    """
    if answer.other is None:
        return None
    host, port = answer.other
    if answer.origin is not None and answer.origin[0] != server[0] and host == answer.origin[0]:
        host = server[0]
    elif is_private(host) and not is_private(server[0]):
        return None
    other = (host, port)
    usable = is_sendable(other) and ip_version(host) == ip_version(server[0]) and other != server
    return other if usable else None
