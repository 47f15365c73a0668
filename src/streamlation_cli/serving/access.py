"""Who may do what, and a line in the audit log for each time that somebody asks.

    view      sees the page, the captions, the media           control   may also pause and stop

On loopback everyone on this machine views; anywhere else, and where a view token is set, viewing takes it. Control
always takes the control token. A token is given as `?token=…` (a page then keeps it as a cookie and drops it from its
address) or as `Authorization: Bearer …`.

Every request passes here first: a Host that is a name other than this server's is refused, so that no other site's name can
be pointed at this machine (DNS rebinding), and so is a WebSocket or a change asked for by another site's page.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import secrets
import socket
import time
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

from ..artefacts import writing
from .media import MEDIA
from .server import is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

Role = Literal["view", "control"]

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_POLICY_VIOLATION = 1008
"""WebSocket close code (RFC 6455)."""


class Audit:
    """One JSON line a request or decision, appended to a file; nowhere where none is named."""

    def __init__(self, target: str = "") -> None:
        self._target = target
        self._stream: IO[str] | None = None
        if target:
            with writing(target):
                self._stream = Path(target).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed by close

    def write(self, **fields: object) -> None:
        """Appends a line with the time."""
        if self._stream is not None:
            with writing(self._target):
                self._stream.write(json.dumps({"time": round(time.time(), 3), **fields}, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Nothing more is written."""
        if self._stream is not None:
            self._stream.close()


class Access:
    """Tokens, and the names this server answers to."""

    def __init__(self, host: str, view_token: str = "", control_token: str = "", audit: Audit | None = None) -> None:
        self.view_token = view_token or ("" if is_loopback(host) else secrets.token_urlsafe(12))
        """Empty where viewing takes none."""
        self.control_token = control_token or secrets.token_urlsafe(12)
        self.audit = audit or Audit()
        self._names = {host.lower(), "localhost"}
        if not is_loopback(host):
            name = socket.gethostname().lower()
            self._names |= {name, f"{name}.local"}

    def role_of(self, token: str) -> Role | None:
        """The role that a token gives; an empty one that of everybody."""
        if token and hmac.compare_digest(token.encode(), self.control_token.encode()):
            return "control"
        if not self.view_token or (token and hmac.compare_digest(token.encode(), self.view_token.encode())):
            return "view"
        return None

    def answers_to(self, host: str) -> bool:
        """Whether a Host header is this server's: one of its names, or any address, for no one can redirect an address."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class Guard:
    """The application behind `access`."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _Request(scope, self._access)
        refusal = request.refusal
        scope.setdefault("state", {})["role"] = request.role
        answered = False

        async def answer(message: Message) -> None:
            nonlocal answered
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if request.is_page_with_token:
                    headers.append("Set-Cookie", request.cookie)
                answered = True
                request.log(message["status"])
            elif message["type"] == "websocket.accept":
                answered = True
                request.log(101)
            elif message["type"] == "websocket.close" and not answered:
                request.log(403)
            await send(message)

        if refusal is not None:
            status, text = refusal
            if scope["type"] == "websocket":
                await receive()
                await answer({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": text})
            else:
                await PlainTextResponse(f"{text}\n", status, headers={"Cache-Control": "no-store"})(
                    scope, receive, answer
                )
            return
        if request.is_page_with_token:  # the address is kept in histories and shown on projectors
            await PlainTextResponse("", 303, headers={"Location": request.path, "Cache-Control": "no-store"})(
                scope, receive, answer
            )
            return
        await self._app(scope, receive, answer)


class _Request:
    def __init__(self, scope: Scope, access: Access) -> None:
        self._scope = scope
        self._access = access
        self._headers = Headers(scope=scope)
        self.path: str = scope["path"]
        self._changes = scope["type"] == "http" and scope["method"] not in ("GET", "HEAD", "OPTIONS")
        self._token, self._from_query = self._find_token()
        self.role: Role | None = access.role_of(self._token)
        self.refusal = self._refusal()

    def _find_token(self) -> tuple[str, bool]:
        query = parse_qs(self._scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        if query:
            return query, True
        scheme, _, value = self._headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return value.strip(), False
        try:
            cookie = SimpleCookie(self._headers.get("cookie", "")).get(self._cookie_name)
        except CookieError:
            cookie = None
        return (cookie.value if cookie is not None else ""), False

    @property
    def _cookie_name(self) -> str:
        # A cookie is of a host, whatever the port.
        server = self._scope.get("server") or ("", 0)
        return f"streamlation-{server[1]}"

    @property
    def cookie(self) -> str:
        return f"{self._cookie_name}={self._token}; Path=/; HttpOnly; SameSite=Lax"

    @property
    def is_page_with_token(self) -> bool:
        """Whether a page is asked for with a good token in its address."""
        return self._from_query and self.path == "/" and self.role is not None and self.refusal is None

    def _refusal(self) -> tuple[int, str] | None:
        host = self._headers.get("host", "")
        if self.path.startswith(f"{MEDIA}/"):
            return None  # the path is the permission
        if not self._access.answers_to(host):
            return 421, f"This server is not called {host!r}."
        origin = self._headers.get("origin")
        guarded = self._changes or self._scope["type"] == "websocket"
        if guarded and origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, "Another site's page may not do this."
        if self.role is None:
            return 401, "This takes the token that is in the address which streamlation printed (?token=...)."
        if self._changes and self.role != "control":
            return 403, "This takes the control token."
        return None

    def log(self, status: int) -> None:
        """The line of the audit log."""
        client = self._scope.get("client") or ("", 0)
        reason = {"reason": self.refusal[1]} if self.refusal is not None else {}
        self._access.audit.write(
            event="control" if self._changes else "access", client=client[0], role=self.role or "",
            method=self._scope.get("method", "WEBSOCKET"), path=self.path, status=status,
            allowed=self.refusal is None, agent=self._headers.get("user-agent", ""), **reason,
        )  # fmt: skip
