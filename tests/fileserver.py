"""A file server on this machine with the manners of real ones: ranges, redirects, transfers that break off, errors."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Stall:
    """The server stops in the middle, says that it has, and sends no more until it is let go."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.let_go = threading.Event()


@dataclass
class Resource:
    """What lies at a path. `mishaps` are taken one a request, first things first, before the content is served well."""

    body: bytes = b""
    mishaps: list[Any] = field(default_factory=list)
    """An int is a status; a float in (0, 1) the share of the body after which the line goes dead; a Stall half of it."""
    redirect: str = ""
    ranges: bool = True
    etag: bool = True
    headers: dict[str, str] = field(default_factory=dict)


class FileServer(ThreadingHTTPServer):
    """Serves `resources`; keeps what was asked of it in `requests` as (path, headers)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.resources: dict[str, Resource] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def put(self, path: str, body: bytes, **settings: Any) -> str:
        """Puts content at a path and returns its address."""
        self.resources[path] = Resource(body, **settings)
        return self.url + path

    def asked(self, path: str) -> list[dict[str, str]]:
        """The headers of each request for a path."""
        return [headers for asked, headers in self.requests if asked == path]

    def __enter__(self) -> FileServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        self.server.requests.append((self.path, dict(self.headers.items())))
        resource = self.server.resources.get(self.path)
        if resource is None:
            self._answer(404, b"no such thing")
            return
        mishap = resource.mishaps.pop(0) if resource.mishaps else None
        if isinstance(mishap, int):
            self._answer(mishap, b"not now", resource.headers)
        elif resource.redirect:
            self._answer(302, b"", {"Location": resource.redirect})
        else:
            self._serve(resource, mishap)

    def _serve(self, resource: Resource, mishap: float | Stall | None) -> None:
        etag = f'"{hashlib.md5(resource.body, usedforsecurity=False).hexdigest()}"' if resource.etag else ""
        headers = dict(resource.headers) | ({"ETag": etag} if etag else {})
        start, status = 0, 200
        asked = self.headers.get("Range", "")
        if asked and resource.ranges and self.headers.get("If-Range", etag) == etag:
            start, status = int(asked.removeprefix("bytes=").partition("-")[0]), 206
            if start >= len(resource.body):
                self._answer(416, b"")
                return
            headers["Content-Range"] = f"bytes {start}-{len(resource.body) - 1}/{len(resource.body)}"
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(resource.body) - start)}).items():
            self.send_header(name, value)
        self.end_headers()
        share = {Stall: 0.5, type(None): 1.0}.get(type(mishap), mishap)
        self.wfile.write(resource.body[start : start + int((len(resource.body) - start) * share)])
        if isinstance(mishap, Stall):
            mishap.reached.set()
            mishap.let_go.wait(60)
        self.close_connection = True

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
