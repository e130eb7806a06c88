"""One connection to the management socket: requests in, answers out, HTTP/1.1 as h11 understands it.

    read a whole request -> answer -> write it -> the next, if both sides keep the connection

A client is never trusted with our memory or our time: bounds on head, body and on the seconds it may take. What
it does wrong is answered in JSON where HTTP leaves a way to, then the connection is closed.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

import h11

from l2mesh.app.management.dispatch import Answer, Routes, answer, failure

HEAD_MAX: Final = 8 * 1024
"""Bytes of request line and headers: curl sends a hundred."""
BODY_MAX: Final = 16 * 1024
"""Bytes of a request's body: the largest we know names one peer."""
PATIENCE_S: Final = 30.0
"""For the next request to come in whole, and for an answer to be taken."""
READ_SIZE: Final = 4096


class TooLarge(Exception):
    """A request's body is beyond BODY_MAX."""


class Exchange:
    """Doors: run(), refuse(answer). Both leave the connection to be closed."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        routes: Routes,
        patience: float = PATIENCE_S,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._routes = routes
        self._patience = patience
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX)
        self._head_only = False

    async def run(self) -> None:
        """Answer until one side has enough. Raises ConnectionError and TimeoutError, which mean the same."""
        while await self._answer_one():
            self._http.start_next_cycle()
            # A client that sends ahead would keep the loop to itself.
            await asyncio.sleep(0)

    async def refuse(self, status: HTTPStatus, text: str) -> None:
        """Answer, whatever is asked, and be done."""
        await self._send(Answer(status, failure(text)), close=True)

    async def _answer_one(self) -> bool:
        """Whether the connection goes on."""
        try:
            async with asyncio.timeout(self._patience):
                request = await self._read_request()
        except h11.RemoteProtocolError as error:
            await self._refuse_if_possible(HTTPStatus(error.error_status_hint), f"no HTTP: {error}")
            return False
        except TooLarge:
            await self._refuse_if_possible(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has more than {BODY_MAX} bytes"
            )
            return False
        if request is None:
            return False
        head, body = request
        method = head.method.decode("ascii", "replace")
        self._head_only = method == "HEAD"
        made = await answer(self._routes, method, head.target.decode("ascii", "replace"), body)
        await self._send(made)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _read_request(self) -> tuple[h11.Request, bytes] | None:
        """The next request with its body; None when the client has left."""
        head: h11.Request | None = None
        body = bytearray()
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > BODY_MAX:
                    raise TooLarge
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                return head, bytes(body)
            else:
                return None

    async def _next_event(self) -> object:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=HTTPStatus.CONTINUE, headers=[])
                self._writer.write(self._http.send(go_on) or b"")
            self._http.receive_data(await self._reader.read(READ_SIZE))

    async def _refuse_if_possible(self, status: HTTPStatus, text: str) -> None:
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            await self.refuse(status, text)

    async def _send(self, made: Answer, *, close: bool = False) -> None:
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(made.body)))]
        if made.allow:
            headers.append(("Allow", made.allow))
        if close:
            headers.append(("Connection", "close"))
        events: list[h11.Event] = [h11.Response(status_code=made.status, headers=headers)]
        if not self._head_only:
            events.append(h11.Data(data=made.body))
        events.append(h11.EndOfMessage())
        for event in events:
            self._writer.write(self._http.send(event) or b"")
        async with asyncio.timeout(self._patience):
            await self._writer.drain()
