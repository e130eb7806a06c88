"""The tables of routes of both daemons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import msgspec

from l2mesh.app.management import supernode_views, views
from l2mesh.app.management.dispatch import HttpError, Request, Routes
from l2mesh.app.management.documents import PingReply, PingRequest, WhyRequest
from l2mesh.app.management.why_views import edge_why
from l2mesh.core.mapping_values import MappingStatus
from l2mesh.crypto.keys import encode_key
from l2mesh.shell.clock import now as boot_time
from l2mesh.wire.address import format_address

if TYPE_CHECKING:
    from l2mesh.app.config import EdgeConfig
    from l2mesh.app.management.ping import PingBoard
    from l2mesh.core.edge import EdgeEngine
    from l2mesh.core.remote_edge import RemoteEdge
    from l2mesh.core.supernode import SupernodeEngine
    from l2mesh.shell.statistics import PortStatistics

PING_TIMEOUT_S: Final = 2.0
NAMES_TOLD_MAX: Final = 8

T = TypeVar("T")
Clock = Callable[[], float]


class Driver(Protocol):
    """What the routes need of shell.driver.Driver."""

    unroutable: int

    def call(self, door: Callable[..., None], *arguments: Any) -> None: ...
    def statistics(self) -> Mapping[str, PortStatistics]: ...


def edge_routes(
    engine: EdgeEngine,
    driver: Driver,
    config: EdgeConfig,
    board: PingBoard,
    started_at: float,
    clock: Clock = boot_time,
    port_mapping: Callable[[int], MappingStatus] = lambda version: MappingStatus(),
) -> Routes:
    """`started_at`: by `clock`, which is the engine's. `board` is to be told of every ProbeAnswered."""

    def status(_request: Request) -> object:
        now = clock()
        return views.edge_status(
            engine,
            config,
            driver.statistics(),
            unroutable=driver.unroutable,
            uptime=now - started_at,
            now=now,
            port_mapping=port_mapping,
        )

    async def ping(request: Request) -> object:
        edge = find_peer(engine, _body(request, PingRequest).peer)
        return await _ping(engine, driver, board, edge)

    def why(request: Request) -> object:
        edge = find_peer(engine, _body(request, WhyRequest).peer)
        return edge_why(engine, config, edge, port_mapping(4), clock())

    return {
        ("GET", "/v1/status"): status,
        ("GET", "/v1/peers"): lambda _request: views.edge_peers(engine, config, clock()),
        ("GET", "/v1/fdb"): lambda _request: views.edge_fdb(engine, config, clock()),
        ("POST", "/v1/ping"): ping,
        ("POST", "/v1/why"): why,
    }


def supernode_routes(
    engine: SupernodeEngine,
    driver: Driver,
    started_at: float,
    clock: Clock = boot_time,
) -> Routes:
    """`started_at`: by `clock`, which is the engine's."""

    def status(_request: Request) -> object:
        return supernode_views.supernode_status(
            engine, driver.statistics(), unroutable=driver.unroutable, uptime=clock() - started_at
        )

    return {
        ("GET", "/v1/status"): status,
        ("GET", "/v1/peers"): lambda _request: supernode_views.supernode_peers(engine, clock()),
        ("GET", "/v1/fdb"): _only_edges,
        ("POST", "/v1/ping"): _only_edges,
        ("POST", "/v1/why"): _only_edges,
    }


def find_peer(engine: EdgeEngine, text: str) -> RemoteEdge:
    """The peer of this name, key, or beginning of a key as shown for one without a name; HttpError."""
    found = [edge for edge in engine.edges.values() if text in (edge.label, encode_key(edge.public_key))]
    # After a party made itself a new key, the directory may list its old self for a while.
    found = [edge for edge in found if edge.up] or found
    if not found:
        raise HttpError(HTTPStatus.NOT_FOUND, f"no peer '{text}': {_known(engine)}")
    if len(found) > 1:
        keys = ", ".join(encode_key(edge.public_key) for edge in found[:NAMES_TOLD_MAX])
        raise HttpError(HTTPStatus.CONFLICT, f"several peers are called '{text}': name one by its key: {keys}")
    return found[0]


def _only_edges(_request: Request) -> object:
    raise HttpError(HTTPStatus.NOT_FOUND, "this is a supernode, which is no part of the switch: ask an edge")


async def _ping(engine: EdgeEngine, driver: Driver, board: PingBoard, edge: RemoteEdge) -> PingReply:
    transactions: list[bytes | None] = []
    via = edge.via
    # Through the driver, which sends what the engine makes of it.
    driver.call(lambda now: transactions.append(engine.probe_peer(edge.public_key, now)))
    [transaction] = transactions
    if transaction is None or via is None:
        raise HttpError(
            HTTPStatus.SERVICE_UNAVAILABLE, f"no path to {edge.label} now: l2mesh peers shows what was tried"
        )
    try:
        rtt = await board.answer_to(transaction, PING_TIMEOUT_S)
    except TimeoutError:
        text = f"{edge.label} did not answer within {PING_TIMEOUT_S:g} s"
        raise HttpError(HTTPStatus.GATEWAY_TIMEOUT, text) from None
    return PingReply(
        peer=edge.label,
        public_key=encode_key(edge.public_key),
        path=views.path_kind(via),
        endpoint=format_address(via[0]),
        rtt_ms=views.milliseconds(rtt),
    )


def _known(engine: EdgeEngine) -> str:
    names = sorted(edge.label for edge in engine.edges.values())
    if not names:
        return "no peer is known yet"
    more = f" and {len(names) - NAMES_TOLD_MAX} more" if len(names) > NAMES_TOLD_MAX else ""
    return f"known are {', '.join(names[:NAMES_TOLD_MAX])}{more}"


def _body(request: Request, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(request.body, type=kind)
    except msgspec.MsgspecError as error:  # not JSON, or of another shape
        raise HttpError(HTTPStatus.BAD_REQUEST, f"the body: {error}") from None
