"""Directory and registry: whatever changes and whatever is lost, the copy becomes the members."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2mesh.core import directory as directory_module
from l2mesh.core import registry as registry_module
from l2mesh.core.directory import Changes, Directory
from l2mesh.core.registry import ENTRIES_PER_PAGE_MAX, TOMBSTONES_MAX, NetworkRegistry, Registration
from l2mesh.wire.control import CONTROL_SIZE_MAX, Candidate, DirectoryPage, DirectoryRequest, Entry, emit_control

EPOCH = b"epoch--1"


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def registration(number: int, run: int = 0, candidates: tuple[Candidate, ...] = ()) -> Registration[None]:
    return Registration(None, key(number), f"n{number}", run.to_bytes(8, "big"), candidates, 0.0)


def new_registry(epoch: bytes = EPOCH) -> NetworkRegistry[None]:
    return NetworkRegistry(epoch)


def ask(registry: NetworkRegistry[None], request: DirectoryRequest) -> DirectoryPage:
    """As the supernode does."""
    since, base = (request.since, request.base) if request.epoch == registry.epoch else (0, 0)
    return registry.page(since, base)


def synchronize(copy: Directory, registry: NetworkRegistry[None], limit: int = 1000) -> int:
    """Ask until there is nothing more to ask; how many pages that took."""
    copy.learn_version(registry.epoch, registry.version)
    for pages in range(limit):
        request = copy.request()
        if request is None:
            return pages
        copy.receive(ask(registry, request))
    raise AssertionError(f"not synchronized after {limit} pages: {copy.version} of {registry.version}")


def assert_same(copy: Directory, registry: NetworkRegistry[None]) -> None:
    assert {public_key: entry.instance for public_key, entry in copy.entries.items()} == {
        public_key: member.instance for public_key, member in registry.members.items()
    }


@dataclass
class Listener:
    """Follows what `receive` says changed, as the edge does."""

    known: set[bytes]

    def hear(self, changes: Changes | None) -> None:
        if changes is not None:
            self.known |= {entry.public_key for entry in changes.changed}
            self.known -= set(changes.gone)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 12), st.integers(1, 3)),
        st.tuples(st.just("remove"), st.integers(0, 12), st.just(0)),
        st.tuples(st.just("ask"), st.just(0), st.just(0)),  # a request goes out, its page is under way
        st.tuples(
            st.just("deliver"), st.integers(0, 5), st.integers(0, 1)
        ),  # any page under way; it may come again
        st.tuples(st.just("lose"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("hint"), st.just(0), st.just(0)),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
    ),
    max_size=80,
)


class Exchange:
    """A registry, a copy, and the pages under way between them."""

    def __init__(self) -> None:
        self.registry, self.runs = new_registry(), 1
        self.copy, self.listener = Directory(), Listener(set())
        self.under_way: list[DirectoryPage] = []

    def put(self, number: int, run: int) -> None:
        self.registry.put(registration(number, run))

    def remove(self, number: int, _: int) -> None:
        self.registry.remove(key(number))

    def hint(self, *_: int) -> None:
        self.copy.learn_version(self.registry.epoch, self.registry.version)

    def ask(self, *_: int) -> bool:
        request = self.copy.request()
        if request is not None:
            self.under_way.append(ask(self.registry, request))
        return request is not None

    def restart(self, *_: int) -> None:
        self.runs += 1
        self.registry = new_registry(b"epoch" + self.runs.to_bytes(3, "big"))

    def lose(self, number: int, _: int) -> None:
        if self.under_way:
            self.under_way.pop(number % len(self.under_way))

    def deliver(self, number: int, again: int) -> None:
        if self.under_way:
            page = self.under_way[number % len(self.under_way)]
            self.listener.hear(self.copy.receive(page))
            if not again:
                self.under_way.remove(page)


@settings(max_examples=400)
@given(STEPS, st.integers(1, 4), st.integers(0, 3))
def test_any_changes_and_any_loss_converge(
    steps: list[tuple[str, int, int]], per_page: int, tombstones: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry_module, "ENTRIES_PER_PAGE_MAX", per_page)
        patch.setattr(registry_module, "TOMBSTONES_MAX", tombstones)
        exchange = Exchange()
        for action, number, detail in steps:
            getattr(exchange, action)(number, detail)
            assert exchange.listener.known == set(exchange.copy.entries)
        exchange.hint()
        for _ in range(200):
            for _ in list(exchange.under_way):
                exchange.deliver(0, 0)
            if not exchange.ask():
                break
        if exchange.registry.version:
            assert_same(exchange.copy, exchange.registry)
            assert exchange.listener.known == set(exchange.copy.entries)
            assert exchange.copy.synchronized


def test_a_full_copy_takes_as_many_pages_as_it_must() -> None:
    registry, copy = new_registry(), Directory()
    for number in range(500):
        registry.put(registration(number))
    pages = synchronize(copy, registry)
    assert 500 / ENTRIES_PER_PAGE_MAX <= pages <= 500 / 14
    assert_same(copy, registry)
    assert synchronize(copy, registry) == 0


def test_a_change_is_one_page_of_one_entry() -> None:
    registry, copy = new_registry(), Directory()
    for number in range(100):
        registry.put(registration(number))
    synchronize(copy, registry)
    assert registry.put(registration(7, run=1))
    copy.learn_version(EPOCH, registry.version)
    request = copy.request()
    assert request is not None
    page = ask(registry, request)
    assert [entry.public_key for entry in page.entries] == [key(7)]


def test_a_renewal_that_changes_nothing_is_no_change() -> None:
    registry = new_registry()
    assert registry.put(registration(1))
    assert not registry.put(registration(1))
    assert registry.version == 1
    assert not registry.remove(key(2))
    assert registry.remove(key(1))
    assert registry.put(registration(1))


def test_a_newcomer_gets_all_of_a_large_network_with_many_who_left() -> None:
    """Members of old are listed over many pages though newer tombstones are forgotten."""
    registry = new_registry()
    for number in range(200):
        registry.put(registration(number))
    for number in range(1000, 1000 + TOMBSTONES_MAX + 50):
        registry.put(registration(number))
        registry.remove(key(number))
    copy = Directory()
    synchronize(copy, registry)
    assert_same(copy, registry)


def test_who_asks_from_before_a_forgotten_tombstone_gets_a_full_copy() -> None:
    registry, copy = new_registry(), Directory()
    for number in range(50):
        registry.put(registration(number))
    synchronize(copy, registry)
    registry.remove(key(3))
    for number in range(1000, 1000 + TOMBSTONES_MAX + 50):
        registry.put(registration(number))
        registry.remove(key(number))
    synchronize(copy, registry)
    assert key(3) not in copy.entries
    assert_same(copy, registry)


def test_what_is_remembered_of_those_who_left_is_bounded() -> None:
    registry = new_registry()
    for number in range(TOMBSTONES_MAX * 3):
        registry.put(registration(number))
        registry.remove(key(number))
    assert len(registry._log) == TOMBSTONES_MAX
    assert not registry.members


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(0, 63), st.integers(0, 16), st.sampled_from((4, 16)), st.integers(0, 255)),
        min_size=1,
        max_size=60,
    )
)
def test_every_page_fits_in_a_control_message(members: list[tuple[int, int, int, int]]) -> None:
    registry = new_registry()
    for number, (name, candidates, ip_size, origin) in enumerate(members):
        addresses = tuple(Candidate(bytes(ip_size), 65535, origin) for _ in range(candidates))
        registry.put(Registration(None, key(number), "n" * name, b"instance", addresses, 0.0))
    since = 0
    while since < registry.version:
        page = registry.page(since)
        assert len(emit_control(page)) <= CONTROL_SIZE_MAX
        assert page.version > since
        since = page.version


def test_a_copy_is_bounded_whatever_a_supernode_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory_module, "ENTRIES_MAX", 100)
    copy = Directory()
    copy.learn_version(EPOCH, 1 << 62)
    for number in range(200):
        changes = copy.receive(
            DirectoryPage(EPOCH, number, number + 1, 1 << 62, (Entry(key(number), "x", b"instance", ()),))
        )
        assert changes is not None
        assert len(changes.changed) == (number < 100)
    assert len(copy.entries) == 100


@pytest.mark.parametrize(
    "page",
    [
        DirectoryPage(b"another1", 0, 5, 5, ()),
        DirectoryPage(EPOCH, 3, 5, 5, ()),
        DirectoryPage(EPOCH, 5, 5, 5, ()),
        DirectoryPage(EPOCH, 9, 5, 5, ()),
    ],
)
def test_a_page_that_answers_no_question_of_ours_is_passed_over(page: DirectoryPage) -> None:
    copy = Directory()
    copy.learn_version(EPOCH, 5)
    assert copy.receive(page) is None
    assert copy.version == 0
