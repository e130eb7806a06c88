"""What may happen below a running TCP stream, and the gap that it makes.

alice ── router ── core ── router ── bob        the stream goes from alice to bob
                    │
                supernode(s)
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from l2mesh.lab import Drop, Lab, LabError, Site, wait_until
from traversal.daemons import Daemon, Edge, Programs, wait_ready
from traversal.stream import Stream

PREFIX: Final = "l2x"
UNDISTURBED_S: Final = 1.5
"""The stream alone, before the first change: for the gaps that it has anyhow."""
LOOK_EVERY_S: Final = 0.05
PATH_S: Final = 20.0
"""Until both have the path that a scene begins with."""
FULL_SIZE_S: Final = 5.0
FULL_SIZE: Final = 1400
"""Bytes of datagrams: the search for the path's MTU, 1500 here, is past its start."""
ALIVE_S: Final = 8.0
"""A stream that got on within this time, if by little, has survived: TCP's own retries may be as far apart."""
PATIENCE_S: Final = 25.0
"""How long a stream that stopped is waited for: it would be late, but it lives."""

GAP_S, BLOCK_GAP_S, BLACK_HOLE_GAP_S = 1.0, 8.0, 5.0
"""The issue's bounds."""

BLOCK_WATCH_S: Final = 16.0
"""Then what was begun when the path failed, 6.5 s of checks, is over, and only a retry can find it open again."""
RETRIED_S: Final = 40.0
"""The first retry is due 30 s after the path failed."""
BLACK_HOLE_WATCH_S: Final = 8.0


@dataclass(eq=False)
class Scene:
    """The lab as it is when the stream begins."""

    lab: Lab
    alice: Site
    bob: Site
    edges: tuple[Edge, Edge]
    supernodes: list[Daemon]
    drops: list[Drop] = field(default_factory=list)

    def paths(self) -> list[str | None]:
        alice, bob = self.edges
        return [alice.path_to(bob.name), bob.path_to(alice.name)]


Act = Callable[[Scene], object]


@dataclass(frozen=True, slots=True)
class Step:
    """`watch_s`: how long it is looked at, at least; `until`: and until both have this path, or `within_s` passed.
    `by_rate`: the bound is for the time until the stream is well again, not only for the longest gap.
    """

    name: str
    title: str
    act: Act
    bound_s: float = GAP_S
    watch_s: float = 4.0
    by_rate: bool = False
    until: str | None = None
    within_s: float = PATIENCE_S


@dataclass(frozen=True, slots=True)
class Story:
    """`relayed`: the two get no UDP from each other, and have two supernodes."""

    name: str
    steps: tuple[Step, ...]
    relayed: bool = False
    before: Act | None = None
    """Done before the edges start."""


def _new_outer_address(site: Site) -> None:
    site.router.change_address()
    site.router.flush_conntrack()


def _black_hole(scene: Scene) -> None:
    """Trains must be cut before the core, or it would take them for big packets."""
    for site in (scene.alice, scene.bob):
        site.host.offload("tx-udp-segmentation", False)
    for supernode in scene.supernodes:
        supernode.host.offload("tx-udp-segmentation", False)
    scene.drops.append(scene.lab.core.drop("ip length > 1280"))


def _nothing(scene: Scene) -> None:
    """It was done before."""


def _relay_of(scene: Scene) -> Daemon:
    """The one that carries alice's frames."""
    alice, bob = scene.edges
    endpoint = str(alice.peer(bob.name)["endpoint"])
    (relay,) = [one for one in scene.supernodes if endpoint.rpartition(":")[0] in one.host.addresses4]
    return relay


def _silence_relay(scene: Scene) -> None:
    """Nobody says that it is gone."""
    addresses = ", ".join(_relay_of(scene).host.addresses4)
    scene.drops += [scene.lab.core.drop(f"ip {way} {{ {addresses} }}") for way in ("saddr", "daddr")]


def _single(name: str, title: str, act: Act, *, relayed: bool = False, bound_s: float = GAP_S) -> Story:
    return Story(name, (Step(name, title, act, bound_s=bound_s),), relayed=relayed)


def _holed(name: str, title: str, act: Act, *, before: Act | None = None) -> Story:
    """A stream may limp through a black hole: what counts is when it is well."""
    step = Step(name, title, act, bound_s=BLACK_HOLE_GAP_S, watch_s=BLACK_HOLE_WATCH_S, by_rate=True)
    return Story(name, (step,), before=before)


BLOCK: Final = Step(
    "block",
    "no UDP between the two sites",
    lambda scene: scene.lab.block_udp(scene.alice, scene.bob),
    bound_s=BLOCK_GAP_S,
    watch_s=BLOCK_WATCH_S,
)
UNBLOCK: Final = Step(
    "unblock",
    "UDP passes again",
    lambda scene: scene.lab.unblock_udp(scene.alice, scene.bob),
    until="direct",
    within_s=RETRIED_S,
)

STORIES: Final = (
    _single(
        "address_of_sender",
        "the sender's host gets another address",
        lambda scene: scene.alice.host.change_address(),
    ),
    _single(
        "address_of_receiver",
        "the receiver's host gets another address",
        lambda scene: scene.bob.host.change_address(),
    ),
    _single(
        "reboot_at_sender", "the sender's NAT forgets all", lambda scene: scene.alice.router.flush_conntrack()
    ),
    _single(
        "reboot_at_receiver", "the receiver's NAT forgets all", lambda scene: scene.bob.router.flush_conntrack()
    ),
    _single(
        "new_outside_at_sender",
        "the sender's NAT forgets all, and has another address",
        lambda scene: _new_outer_address(scene.alice),
    ),
    _single(
        "new_outside_at_receiver",
        "the receiver's NAT forgets all, and has another address",
        lambda scene: _new_outer_address(scene.bob),
    ),
    Story("block", (BLOCK, UNBLOCK)),
    _single("supernode_killed", "the only supernode is killed", lambda scene: scene.supernodes[0].process.kill()),
    _single(
        "relay_killed",
        "of two supernodes, the one that relays is killed",
        lambda scene: _relay_of(scene).process.kill(),
        relayed=True,
    ),
    _single(
        "relay_silent",
        "of two supernodes, the one that relays falls silent",
        _silence_relay,
        relayed=True,
        bound_s=BLOCK_GAP_S,
    ),
    _holed("black_hole", "above 1280 bytes all gets lost, in silence", _black_hole),
    _holed("black_hole_from_start", "so it is from the start", _nothing, before=_black_hole),
)


@dataclass
class Gap:
    """What a step did. `before_s`: the largest gap of the stream while nothing happened."""

    name: str
    title: str
    bound_s: float
    before_s: float
    gap_s: float
    slow_s: float
    """Until the stream had half of its rate again at least, and kept it."""
    by_rate: bool
    survived: bool
    paths: list[str | None]
    """Of alice and bob, at the end."""
    path_again_s: float | None = None
    """Until both had the path they had before, or the one that was waited for."""
    failure: str = ""

    @property
    def measured_s(self) -> float:
        """What the bound is for."""
        return max(self.gap_s, self.slow_s) if self.by_rate else self.gap_s

    @property
    def ok(self) -> bool:
        return self.survived and not self.failure and self.measured_s <= self.bound_s


def play(story: Story, logs: Path | None = None) -> list[Gap]:
    """In a lab of its own."""
    with tempfile.TemporaryDirectory(prefix="l2mesh-changes-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        kept = logs / story.name if logs else directory
        kept.mkdir(parents=True, exist_ok=True)
        with Lab(prefix=PREFIX, directory=kept) as lab:
            scene = set_up(lab, directory, story)
            return act(scene, story)


def set_up(lab: Lab, directory: Path, story: Story) -> Scene:
    """Both edges have the path that the story begins with, and carry whole datagrams."""
    programs = Programs(lab, directory)
    supernodes = [programs.supernode(name) for name in ("supernode", "other")[: 1 + story.relayed]]
    alice, bob = lab.site("alice"), lab.site("bob")
    edges = (programs.edge(alice.host, 1), programs.edge(bob.host, 2))
    scene = Scene(lab, alice, bob, edges, supernodes)
    if story.relayed:
        lab.block_udp(alice, bob)
    if story.before:
        story.before(scene)
    for daemons in (supernodes, edges):
        for daemon in daemons:
            daemon.launch()
        wait_ready(*daemons)
    path = "relay" if story.relayed else "direct"
    wait_until(lambda: scene.paths() == [path, path], PATH_S, f"both paths are {path}", poll_s=LOOK_EVERY_S)
    if not story.before:
        with suppress(TimeoutError):
            wait_until(lambda: _full_size(scene), FULL_SIZE_S, "datagrams are of full size", poll_s=LOOK_EVERY_S)
    if story.relayed:
        wait_until(lambda: _relays(scene) == len(supernodes), PATH_S, "all relays are there", poll_s=LOOK_EVERY_S)
    return scene


def _full_size(scene: Scene) -> bool:
    alice, bob = scene.edges
    ends = ((alice, bob), (bob, alice))
    return all((one.peer(other.name).get("datagram_bytes") or 0) >= FULL_SIZE for one, other in ends)


def _relays(scene: Scene) -> int:
    """How many relays both have to each other."""
    alice, bob = scene.edges
    ends = ((alice, bob), (bob, alice))
    paths = [one.peer(other.name).get("paths", []) for one, other in ends]
    return min(len([path for path in each if path["path"] == "relay"]) for each in paths)


def act(scene: Scene, story: Story) -> list[Gap]:
    with streaming(scene) as stream:
        begun_at = time.time()
        time.sleep(UNDISTURBED_S)
        before_s = stream.gap_s(begun_at, time.time())
        return [_take_step(scene, stream, step, before_s) for step in story.steps]


@contextmanager
def streaming(scene: Scene) -> Iterator[Stream]:
    stream = Stream(*scene.edges)
    try:
        yield stream
    finally:
        stream.close()


def _take_step(scene: Scene, stream: Stream, step: Step, before_s: float) -> Gap:
    wanted = [step.until] * 2 if step.until else scene.paths()
    begun_at = time.time()
    step.act(scene)
    again_s, left = _watch(scene, stream, step, wanted, begun_at)
    ended_at = time.time()
    return Gap(
        step.name,
        step.title,
        step.bound_s,
        round(before_s, 3),
        round(stream.gap_s(begun_at, ended_at), 3),
        stream.slow_s(begun_at, ended_at),
        step.by_rate,
        stream.got_on(ended_at - ALIVE_S) and not stream.died(),
        scene.paths(),
        None if again_s is None or not left else round(again_s, 3),
    )


def _watch(
    scene: Scene, stream: Stream, step: Step, wanted: Sequence[str | None], begun_at: float
) -> tuple[float | None, bool]:
    """(seconds until both had the wanted path, whether they were without it at all)"""
    again_s: float | None = None
    left = False
    while not stream.died():
        passed_s = time.time() - begun_at
        if scene.paths() != wanted:
            left, again_s = True, None
        elif again_s is None:
            again_s = passed_s
        waits = step.until is not None and again_s is None and passed_s < step.within_s
        stopped = not stream.well() and passed_s < PATIENCE_S
        if passed_s >= step.watch_s and not waits and not stopped:
            break
        time.sleep(LOOK_EVERY_S)
    return again_s, left


def play_all(stories: Sequence[Story], logs: Path | None = None) -> Iterator[Gap]:
    """One after the other: two at a time would be in each other's gaps."""
    for story in stories:
        try:
            yield from play(story, logs)
        except (LabError, TimeoutError) as error:
            step = story.steps[0]
            failure = str(error)
            yield Gap(step.name, step.title, step.bound_s, 0.0, 0.0, 0.0, step.by_rate, False, [], failure=failure)


def chosen(names: Sequence[str]) -> list[Story]:
    """All without names. KeyError for an unknown one."""
    known = {story.name: story for story in STORIES}
    return [known[name] for name in names] if names else list(STORIES)
