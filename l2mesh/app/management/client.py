"""The verbs' side of the management socket: one request at a time, and errors that say what to do."""

from __future__ import annotations

import http.client
import socket
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from l2mesh.app.errors import CommandError, describe_os_error
from l2mesh.app.management.documents import Failure

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")

TIMEOUT_S: Final = 10.0
"""Longer than any route takes: a ping gives up after 2 s."""
LARGEST_ANSWER: Final = 1 << 26
"""Bytes: ten times the fullest forwarding database."""


class RequestFailed(CommandError):
    """The daemon answered, and not with 200."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class ManagementClient:
    """Doors: get, post: the JSON document of the answer, as bytes. CommandError, RequestFailed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, target: str) -> bytes:
        return self._request("GET", target)

    def post(self, target: str, document: object) -> bytes:
        return self._request("POST", target, msgspec.json.encode(document))

    def _request(self, method: str, target: str, body: bytes | None = None) -> bytes:
        connection = _UnixConnection(self.path)
        try:
            connection.request(method, target, body, {"Connection": "close"})
            response = connection.getresponse()
            answer = response.read(LARGEST_ANSWER)
        # A connection that ends before the status line is of both kinds.
        except OSError as error:
            raise CommandError(_why(self.path, error)) from None
        except http.client.HTTPException as error:
            raise CommandError(f"{self.path}: what answers there is no l2mesh: {error!r}") from None
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise RequestFailed(response.status, _reason(answer, response.reason))
        return answer


def decode(document: bytes, kind: type[T]) -> T:
    """A document as the type that it should be. CommandError."""
    try:
        return msgspec.json.decode(document, type=kind)
    except msgspec.MsgspecError as error:
        raise CommandError(
            f"the answer is not what this version of l2mesh expects: {error}: "
            "restart the daemon after an upgrade, or use --json"
        ) from None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("l2mesh", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _why(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"no l2mesh runs here (no socket {path}): start one: sudo l2mesh edge FILE.toml"
    if isinstance(error, ConnectionRefusedError):
        return f"no l2mesh runs here (nobody answers at {path}): start one: sudo l2mesh edge FILE.toml"
    if isinstance(error, PermissionError):
        return f"{path}: permission denied: it belongs to another user: run this with sudo"
    if isinstance(error, TimeoutError | BlockingIOError):
        return f"{path}: no answer within {TIMEOUT_S:g} s: the daemon hangs, is stopped, or is very busy"
    if isinstance(error, ConnectionError):
        return f"{path}: it hung up: it is ending, or too many ask at once: try again"
    return f"{path}: {describe_os_error(error)}"


def _reason(answer: bytes, otherwise: str) -> str:
    try:
        return msgspec.json.decode(answer, type=Failure).error
    except msgspec.MsgspecError:
        return otherwise
