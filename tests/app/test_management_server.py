"""The management socket with real connections: curl, http.client, and bytes that no client would send."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from l2mesh.app.errors import CommandError
from l2mesh.app.management.client import ManagementClient, RequestFailed
from l2mesh.app.management.dispatch import HttpError, Request, Routes, match
from l2mesh.app.management.exchange import BODY_MAX, HEAD_MAX
from l2mesh.app.management.server import ManagementServer

SOCKET = Path("run/l2mesh/test.sock")


async def slow(_request: Request) -> object:
    await asyncio.sleep(0.01)
    return {"slow": True}


def refuse(_request: Request) -> object:
    raise HttpError(HTTPStatus.CONFLICT, "not now")


def stumble(_request: Request) -> object:
    raise ZeroDivisionError("division by zero")


ROUTES: Routes = {
    ("GET", "/v1/hello"): lambda _request: {"hello": "world"},
    ("GET", "/v1/echo/{name}"): lambda request: {"name": request.arguments["name"]},
    ("POST", "/v1/echo"): lambda request: {"size": len(request.body)},
    ("GET", "/v1/slow"): slow,
    ("GET", "/v1/refuse"): refuse,
    ("GET", "/v1/stumble"): stumble,
    ("GET", "/v1/large"): lambda _request: {"large": "x" * 3_000_000},
}


@contextlib.asynccontextmanager
async def serving(routes: Routes = ROUTES, **options: Any) -> AsyncIterator[ManagementServer]:
    server = ManagementServer(SOCKET, routes, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Both loops: tests of others use asyncio's, the daemons uvloop's."""
    runner: Callable[[Coroutine[Any, Any, None]], None] = request.param
    return runner


Run = Callable[[Coroutine[Any, Any, None]], None]


async def sent(data: bytes) -> bytes:
    """What comes back for these bytes, up to the end of the connection."""
    reader, writer = await asyncio.open_unix_connection(SOCKET)
    writer.write(data)
    if writer.can_write_eof():
        writer.write_eof()
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def got(target: str) -> Any:
    return json.loads(await asyncio.to_thread(ManagementClient(SOCKET).get, target))


def test_a_document_is_served_and_the_socket_goes_at_close(run: Run) -> None:
    async def scenario() -> None:
        async with serving():
            assert await got("/v1/hello") == {"hello": "world"}
            assert await got("/v1/echo/b%C3%B6b?x=1") == {"name": "böb"}
            assert await got("/v1/slow") == {"slow": True}
            posted = await asyncio.to_thread(ManagementClient(SOCKET).post, "/v1/echo", {"peer": "bob"})
            assert json.loads(posted) == {"size": len('{"peer":"bob"}')}
        assert not SOCKET.exists()

    run(scenario())


def test_the_socket_is_for_owner_and_group_in_a_directory_for_all(run: Run) -> None:
    async def scenario() -> None:
        before = os.umask(0o077)
        try:
            async with serving():
                assert stat.S_IMODE(SOCKET.stat().st_mode) == 0o660
                assert stat.S_IMODE(SOCKET.parent.stat().st_mode) == 0o755
        finally:
            os.umask(before)

    run(scenario())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_root_gives_the_socket_to_the_user_the_daemon_becomes() -> None:
    async def scenario() -> None:
        async with serving(owner=(65534, 65533)):
            status = SOCKET.stat()
            assert (status.st_uid, status.st_gid) == (65534, 65533)

    asyncio.run(scenario())


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_curl_can_ask(run: Run) -> None:
    async def scenario() -> None:
        async with serving():
            command = ["curl", "-sS", "-i", "--unix-socket", str(SOCKET), "http://l/v1/hello", "http://l/v1/no"]
            shown = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
            # Two answers on one connection.
            assert shown.stdout.count("HTTP/1.1 ") == 2
            assert '{"hello":"world"}' in shown.stdout
            assert "HTTP/1.1 404" in shown.stdout
            large = [*command[:3], *command[4:6], "--data-binary", "@large", "http://l/v1/echo"]
            Path("large").write_bytes(b"x" * BODY_MAX)
            large = ["curl", "-sS", "--unix-socket", str(SOCKET), "-H", "Expect: 100-continue", *large[-3:]]
            shown = await asyncio.to_thread(subprocess.run, large, capture_output=True, text=True, check=True)
            assert json.loads(shown.stdout) == {"size": BODY_MAX}

    run(scenario())


def test_a_connection_is_kept_until_the_client_says_close(run: Run) -> None:
    def ask() -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(SOCKET))
            client = http.client.HTTPConnection("l")
            client.sock = connection.dup()
            for _ in range(3):
                client.request("GET", "/v1/hello")
                response = client.getresponse()
                assert response.read() == b'{"hello":"world"}'
                assert not response.will_close
            client.request("GET", "/v1/hello", headers={"Connection": "close"})
            response = client.getresponse()
            response.read()
            assert response.will_close
            assert connection.recv(1) == b""

    async def scenario() -> None:
        async with serving():
            await asyncio.to_thread(ask)

    run(scenario())


def test_http_1_0_and_requests_sent_ahead_are_answered_in_order(run: Run) -> None:
    async def scenario() -> None:
        async with serving():
            assert (await sent(b"GET /v1/hello HTTP/1.0\r\n\r\n")).endswith(b'{"hello":"world"}')
            ahead = b"".join(b"GET /v1/echo/%d HTTP/1.1\r\nHost: l\r\n\r\n" % number for number in range(50))
            answers = (await sent(ahead)).split(b"HTTP/1.1 200")[1:]
            assert [json.loads(one.split(b"\r\n\r\n")[1])["name"] for one in answers] == list(map(str, range(50)))

    run(scenario())


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /v1/no HTTP/1.1\r\nHost: l\r\n\r\n", 404),
        (b"GET /v1/echo/ HTTP/1.1\r\nHost: l\r\n\r\n", 404),
        (b"GET // HTTP/1.1\r\nHost: l\r\n\r\n", 404),
        (b"GET http://[/v1 HTTP/1.1\r\nHost: l\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: l\r\n\r\n", 404),
        (b"DELETE /v1/hello HTTP/1.1\r\nHost: l\r\n\r\n", 405),
        (b"CONNECT /v1/hello HTTP/1.1\r\nHost: l\r\n\r\n", 405),
        (b"GET /v1/hello HTTP/1.1\r\n\r\n", 400),
        (b"hello\r\n\r\n", 400),
        (b"GET /v1/hello HTTP/1.1\r\nHost: l\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET /v1/refuse HTTP/1.1\r\nHost: l\r\n\r\n", 409),
        (b"GET /v1/stumble HTTP/1.1\r\nHost: l\r\n\r\n", 500),
        (b"GET /" + b"x" * 2 * HEAD_MAX + b" HTTP/1.1\r\nHost: l\r\n\r\n", 431),
        (b"POST /v1/echo HTTP/1.1\r\nHost: l\r\nContent-Length: 99999999\r\n\r\n" + bytes(BODY_MAX + 1), 413),
        (b"POST /v1/echo HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
def test_what_is_wrong_is_told_in_json(request_bytes: bytes, status: int) -> None:
    async def scenario() -> None:
        async with serving():
            head, _, body = (await sent(request_bytes)).partition(b"\r\n\r\n")
            assert int(head.split()[1]) == status
            assert list(json.loads(body)) == ["error"]
            assert b"Content-Type: application/json" in head
            assert await got("/v1/hello") == {"hello": "world"}

    asyncio.run(scenario())


def test_405_names_the_methods_there_are_and_head_has_no_body() -> None:
    async def scenario() -> None:
        async with serving():
            answer = await sent(b"POST /v1/hello HTTP/1.1\r\nHost: l\r\n\r\n")
            assert b"Allow: GET\r\n" in answer
            assert b'{"error":"/v1/hello takes only GET"}' in answer
            assert (await sent(b"HEAD /v1/hello HTTP/1.1\r\nHost: l\r\n\r\n")).endswith(b"\r\n\r\n")

    asyncio.run(scenario())


def test_a_large_answer_comes_whole(run: Run) -> None:
    async def scenario() -> None:
        async with serving():
            assert len((await got("/v1/large"))["large"]) == 3_000_000

    run(scenario())


def test_many_ask_at_once(run: Run) -> None:
    async def scenario() -> None:
        async with serving():
            asked = [sent(b"GET /v1/slow HTTP/1.1\r\nHost: l\r\nConnection: close\r\n\r\n") for _ in range(30)]
            answers = await asyncio.gather(*asked)
            assert all(one.endswith(b'{"slow":true}') for one in answers)

    run(scenario())


def test_beyond_the_bound_connections_are_refused_until_one_leaves() -> None:
    async def scenario() -> None:
        async with serving(connections_max=2):
            held = [await asyncio.open_unix_connection(SOCKET) for _ in range(2)]
            for reader, writer in held:
                writer.write(b"GET /v1/hello HTTP/1.1\r\nHost: l\r\n\r\n")
                await reader.readuntil(b"}")
            answer = await sent(b"")
            assert b"503" in answer.split(b"\r\n")[0]
            assert b"too many connections" in answer
            for reader, writer in held:
                writer.close()
                await writer.wait_closed()
                assert not await reader.read()
            while True:  # the server hears of it when the loop turns
                with contextlib.suppress(RequestFailed):
                    assert await got("/v1/hello") == {"hello": "world"}
                    break

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "beginning", [b"", b"GET /v1/hel", b"POST /v1/echo HTTP/1.1\r\nHost: l\r\nContent-Length: 9\r\n\r\n"]
)
def test_who_says_nothing_more_is_hung_up_on(beginning: bytes) -> None:
    async def scenario() -> None:
        async with serving(patience=0.02):
            reader, writer = await asyncio.open_unix_connection(SOCKET)
            writer.write(beginning)
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    asyncio.run(scenario())


def test_who_does_not_take_the_answer_is_hung_up_on() -> None:
    async def scenario() -> None:
        async with serving(patience=0.02) as server:
            _, writer = await asyncio.open_unix_connection(SOCKET, limit=1)
            writer.write(b"GET /v1/large HTTP/1.1\r\nHost: l\r\n\r\n")
            await writer.drain()
            while not server.connections:
                await asyncio.sleep(0)
            async with asyncio.timeout(5):
                while server.connections:
                    await asyncio.sleep(0.01)
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    asyncio.run(scenario())


def test_close_ends_open_connections(run: Run) -> None:
    async def scenario() -> None:
        async with serving():
            reader, writer = await asyncio.open_unix_connection(SOCKET)
            writer.write(b"GET /v1/hello HTTP/1.1\r\nHost: l\r\n\r\n")
            await reader.readuntil(b"}")
        assert await reader.read() == b""
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    run(scenario())


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(run: Run) -> None:
    SOCKET.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(SOCKET))
        killed.listen()

    async def scenario() -> None:
        async with serving():
            with pytest.raises(CommandError, match=r"another l2mesh uses run/l2mesh/test\.sock: stop it, or set"):
                await ManagementServer(SOCKET, ROUTES).start()
            assert await got("/v1/hello") == {"hello": "world"}

    run(scenario())


def test_what_is_no_socket_is_left_alone() -> None:
    SOCKET.parent.mkdir(parents=True)
    SOCKET.write_text("precious")
    with pytest.raises(CommandError, match="is no socket: move it away"):
        asyncio.run(ManagementServer(SOCKET, ROUTES).start())
    assert SOCKET.read_text() == "precious"


def test_a_place_where_no_socket_can_be_is_told_with_a_remedy() -> None:
    Path("run").write_text("")
    with pytest.raises(CommandError, match=r"cannot make the management socket run/.*: .*: run as root, or set"):
        asyncio.run(ManagementServer(SOCKET, ROUTES).start())


def test_close_is_harmless_when_never_started() -> None:
    asyncio.run(ManagementServer(SOCKET, ROUTES).close())


def failing(path: Path) -> str:
    with pytest.raises(CommandError) as caught:
        ManagementClient(path).get("/v1/status")
    return str(caught.value)


def test_the_client_says_what_to_do_where_nobody_answers() -> None:
    assert failing(SOCKET) == (
        "no l2mesh runs here (no socket run/l2mesh/test.sock): start one: sudo l2mesh edge FILE.toml"
    )
    SOCKET.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(SOCKET))
        assert "nobody answers at run/l2mesh/test.sock" in failing(SOCKET)


@pytest.mark.parametrize(
    ("answer", "said"), [(b"SSH-2.0\r\n", "what answers there is no l2mesh"), (b"", "it hung up")]
)
def test_the_client_survives_what_is_no_l2mesh(answer: bytes, said: str) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async def scenario() -> None:
        SOCKET.parent.mkdir(parents=True)
        server = await asyncio.start_unix_server(babble, SOCKET)
        try:
            assert said in await asyncio.to_thread(failing, SOCKET)
        finally:
            server.close()
            await server.wait_closed()

    asyncio.run(scenario())


def test_patterns_match_whole_paths() -> None:
    assert match("/v1/peers/{name}", "/v1/peers/a%2Fb") == {"name": "a/b"}
    assert match("/v1/peers/{name}", "/v1/peers/") is None
    assert match("/v1/peers/{name}", "/v1/peers/a/b") is None
    assert match("/v1/peers", "/v1/peers/") is None


PIECES = st.sampled_from(
    [
        b"GET ",
        b"POST ",
        b"/v1/hello",
        b"/v1/echo",
        b" HTTP/1.1\r\n",
        b" HTTP/1.0\r\n",
        b"Host: l\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        b"Expect: 100-continue\r\n",
        b"\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
    ]
)
RUBBISH = st.lists(st.one_of(PIECES, st.binary(max_size=30)), max_size=14).map(b"".join)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(RUBBISH, min_size=1, max_size=8))
def test_no_bytes_at_the_socket_disturb_the_server(caplog: pytest.LogCaptureFixture, rubbish: list[bytes]) -> None:
    async def scenario() -> None:
        async with serving():
            answers = await asyncio.gather(*map(sent, rubbish))
            assert all(not one or one.startswith(b"HTTP/1.1 ") for one in answers)
            assert await got("/v1/hello") == {"hello": "world"}

    caplog.clear()
    asyncio.run(scenario())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
