"""What the server offers those who watch.

GET  /                              the page
GET  /status                        how each session is (JSON)
WS   /stream?after=ID               what happens as it happens, a JSON message each, see `board`; takes reports, see `viewers`
GET  /events                        the same as server-sent events; `Last-Event-ID` goes on after that one
GET  /captions/SESSION/LANG.srt     all captions so far (also .vtt), with range requests
POST /control/pause|resume|stop     for those who have the control token
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from importlib.resources import files

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from .board import Board
from .downloads import FORMATS
from .media import content_type_of, missing, ranged
from .viewers import Viewers

_SECONDS_BETWEEN_SIGNS = 15.0
"""Something is sent at least so often, that neither side nor a proxy takes the line for dead."""
_GOING_AWAY = 1001
"""WebSocket close code (RFC 6455)."""
_NO_STORE = {"Cache-Control": "no-store"}


class Pages:
    """The routes over a board. `stop` ends the process in an orderly way."""

    def __init__(self, board: Board, viewers: Viewers, stop: Callable[[], None]) -> None:
        self._board = board
        self._viewers = viewers
        self._stop = stop
        folder = files(__package__) / "page"
        self._files = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.is_file()}

    def routes(self) -> list[BaseRoute]:
        """What the server is given."""
        return [
            Route("/", self._page),
            Route("/page/{name}", self._page),
            Route("/status", self._status),
            WebSocketRoute("/stream", self._stream),
            Route("/events", self._events),
            Route("/captions/{session:path}/{file}", self._captions),
            Route("/control/{action}", self._control, methods=["POST"]),
        ]

    async def _page(self, request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        content = self._files.get(name)
        if content is None:
            return missing()
        return Response(content, media_type=content_type_of(name), headers={"Cache-Control": "no-cache"})

    async def _status(self, request: Request) -> Response:
        status = {"role": request.state.role, **self._board.status()}
        for session in status["sessions"]:
            session["viewers"] = self._viewers.of(session["session"]).counters
        return Response(msgspec.json.encode(status), media_type="application/json", headers=_NO_STORE)

    async def _stream(self, socket: WebSocket) -> None:
        await socket.accept()
        reader = self._board.reader(socket.query_params.get("after", ""))

        async def send() -> None:
            while await self._board.wait(reader):
                for _, message in self._board.next_for(reader):
                    await socket.send_text(message.decode())

        tasks = [asyncio.create_task(send()), asyncio.create_task(self._viewers.listen(socket))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if tasks[0] in done:
                await socket.close(_GOING_AWAY)
        except WebSocketDisconnect:
            pass
        finally:
            for task in tasks:
                task.cancel()

    async def _events(self, request: Request) -> Response:
        last_id = request.headers.get("last-event-id") or request.query_params.get("after", "")
        reader = self._board.reader(last_id)

        async def events() -> AsyncIterator[bytes]:
            yield b"retry: 1000\n\n"
            while True:
                try:
                    if not await asyncio.wait_for(self._board.wait(reader), _SECONDS_BETWEEN_SIGNS):
                        return
                except TimeoutError:
                    yield b": still here\n\n"
                    continue
                for number, message in self._board.next_for(reader):
                    yield b"id: " + number.encode() + b"\ndata: " + message + b"\n\n"

        return StreamingResponse(events(), media_type="text/event-stream", headers=_NO_STORE)

    async def _captions(self, request: Request) -> Response:
        language, _, format = request.path_params["file"].rpartition(".")
        content = self._board.captions(request.path_params["session"], language, format) if format in FORMATS else None
        if content is None:
            return missing()
        return ranged(request, content, content_type_of(f"captions.{format}"), _NO_STORE)

    async def _control(self, request: Request) -> Response:
        action = request.path_params["action"]
        if action in ("pause", "resume"):
            self._board.pause(action == "pause")
        elif action == "stop":
            self._stop()
        else:
            return PlainTextResponse("There is pause, resume and stop.\n", 404)
        return JSONResponse({"paused": self._board.paused, "stopped": action == "stop"}, headers=_NO_STORE)
