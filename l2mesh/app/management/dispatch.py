"""From a request to its answer: a small table of routes, and what goes wrong on the way as an HTTP status."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

import msgspec

from l2mesh.app.management.documents import Failure

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """`arguments`: what stood in the places of a pattern's {names}."""

    method: str
    path: str
    body: bytes = b""
    arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a JSON document. `allow`: the methods there are, for 405."""

    status: int
    body: bytes
    allow: str = ""


class HttpError(Exception):
    """What a route raises to answer other than 200; the text reaches the user."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


Handler = Callable[[Request], object | Awaitable[object]]
Routes = Mapping[tuple[str, str], Handler]
"""(method, pattern) -> what makes the document, a msgspec-encodable value. Pattern: `/v1/peers/{name}`."""


async def answer(routes: Routes, method: str, target: str, body: bytes) -> Answer:
    """`target` as in the request line. Never raises: an exception of a handler is logged, and answered 500."""
    try:
        path = path_of(target)
        handler, arguments = find(routes, method, path)
        result = handler(Request(method, path, body, arguments))
        if inspect.isawaitable(result):
            result = await result
        return Answer(HTTPStatus.OK, msgspec.json.encode(result))
    except MethodNotAllowed as error:
        return Answer(error.status, failure(str(error)), ", ".join(error.allowed))
    except HttpError as error:
        return Answer(error.status, failure(str(error)))
    except Exception as error:
        log.exception("management: %s %s", method, target)
        return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, failure(f"a fault of l2mesh itself: {error!r}"))


def path_of(target: str) -> str:
    """Of `/v1/status?x=1`, and of `http://l/v1/status`, which a server must take as well (RFC 9112, 3.2.2)."""
    try:
        return urlsplit(target).path
    except ValueError as error:
        raise HttpError(HTTPStatus.BAD_REQUEST, f"no URL: {error}") from None


class MethodNotAllowed(HttpError):
    def __init__(self, path: str, allowed: list[str]) -> None:
        super().__init__(HTTPStatus.METHOD_NOT_ALLOWED, f"{path} takes only {' and '.join(allowed)}")
        self.allowed = allowed


def find(routes: Routes, method: str, path: str) -> tuple[Handler, dict[str, str]]:
    """The handler of a request and its arguments; HttpError 404 or 405."""
    allowed = []
    for (known, pattern), handler in routes.items():
        arguments = match(pattern, path)
        if arguments is None:
            continue
        if known == method:
            return handler, arguments
        allowed.append(known)
    if allowed:
        raise MethodNotAllowed(path, sorted(allowed))
    known_paths = ", ".join(f"{known} {pattern}" for known, pattern in routes)
    raise HttpError(HTTPStatus.NOT_FOUND, f"no such path; known are {known_paths}")


def match(pattern: str, path: str) -> dict[str, str] | None:
    """The arguments of a path, percent-decoded; None if it does not fit. An argument is one non-empty segment."""
    expected, given = pattern.split("/"), path.split("/")
    if len(expected) != len(given):
        return None
    arguments = {}
    for one, other in zip(expected, given, strict=True):
        if one.startswith("{") and other:
            arguments[one.strip("{}")] = unquote(other)
        elif one != other:
            return None
    return arguments


def failure(text: str) -> bytes:
    return msgspec.json.encode(Failure(error=text))
