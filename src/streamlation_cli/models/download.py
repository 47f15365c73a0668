"""Files over http(s): resumed, retried, and checked.

A file arrives in NAME.part with NAME.part.json beside it, which says what it is a part of, so that a later call goes on
where the last one stopped as long as the server still has the same content. It gets its name when its size and sum are
right.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import IO, Any

from .. import __version__
from ..errors import OfflineRefused, OutputFailed, StreamlationError, TryAgain, Unavailable, UsageError
from .checksum import BLOCK_BYTES

ATTEMPTS = 5
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0
TIMEOUT_S = 30.0
"""Without a byte, after which a connection counts as lost."""

Report = Callable[[str, int, int], None]
"""Name of the file, bytes so far, bytes in all (0 where unknown)."""


class WrongContent(Unavailable):
    """What arrived is not what its size or sum says; a second try from the start may help, a third will not."""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is known of a file before it is fetched."""

    size: int = 0
    """Bytes; 0 where unknown."""
    sha256: str = ""
    """Lower-case hex; empty where unknown."""
    git_sha1: str = ""
    """Name of the content in git, lower-case hex, where a hub states only that; empty where unknown."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """Where the network is reached and how."""

    offline: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent to the first server only, never to one that it redirects to."""
    report: Report = lambda name, done, total: None
    wait: Callable[[float], None] = time.sleep

    def fetch(self, url: str, target: Path, expected: Expected = Expected()) -> str:
        """Fetches `url` to `target` and returns its SHA-256; a `target` that is there and right is not fetched again.

        Raises OfflineRefused; Unavailable where the server has it not or refuses it; WrongContent where size or sum
        differ; TryAgain where the network or the server failed every time; OutputFailed where it cannot be written.
        """
        part, notes = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.json")
        try:
            if target.is_file():
                with contextlib.suppress(WrongContent):
                    return _checked(target, url, expected)
                target.unlink()
            target.parent.mkdir(parents=True, exist_ok=True)
            self._patiently(url, lambda: self._continue(url, part, notes, expected))
            try:
                digest = _checked(part, url, expected)
            except WrongContent:
                part.unlink()  # a wrong beginning must not be continued
                notes.unlink(missing_ok=True)
                raise
            part.replace(target)
            notes.unlink(missing_ok=True)
            return digest
        except OSError as error:
            raise OutputFailed(f"{target}: {error.strerror or error}") from error

    def read(self, url: str, limit: int = 64 << 20) -> bytes:
        """The content of a small document; raises like `fetch`."""
        answers: list[bytes] = []

        def attempt() -> None:
            with self._open(url, {}) as answer:
                answers.append(answer.read(limit + 1))

        self._patiently(url, attempt)
        if len(answers[-1]) > limit:
            raise WrongContent(f"{url}: more than {limit} bytes")
        return answers[-1]

    def _continue(self, url: str, part: Path, notes: Path, expected: Expected) -> None:
        """One attempt: asks for what is missing of `part` and appends it."""
        have = part.stat().st_size if part.exists() else 0
        validator = _validator(notes, url)
        if have and not validator:
            have = 0
        if expected.size and have >= expected.size:
            return
        headers = {"Range": f"bytes={have}-", "If-Range": validator} if have else {}
        try:
            answer = self._open(url, headers)
        except urllib.error.HTTPError as error:
            if error.code != 416:
                raise
            error.close()
            part.unlink()
            raise ConnectionError("what there is now is shorter than what had arrived") from None
        with answer:
            if answer.status == 206:
                if not str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-"):
                    part.unlink()
                    raise ConnectionError("the server sent another range than the one asked for")
            else:
                have = 0
            length = answer.headers.get("Content-Length", "")
            total = have + int(length) if length.isdigit() else expected.size
            if expected.size and total and total != expected.size:
                raise WrongContent(f"{url}: the server has {total} bytes, {expected.size} are expected")
            _note(notes, url, answer.headers)
            with part.open("ab" if have else "wb") as out:
                self._copy(answer, out, part.name.removesuffix(".part"), have, total)
            if total and part.stat().st_size < total:
                raise ConnectionError(f"it broke off after {part.stat().st_size} of {total} bytes")

    def _copy(self, answer: IO[bytes], out: IO[bytes], name: str, done: int, total: int) -> None:
        self.report(name, done, total)
        while True:
            try:
                block = answer.read(BLOCK_BYTES)
            except http.client.IncompleteRead as short:  # what did arrive is good
                out.write(short.partial)
                raise ConnectionError("it broke off") from short
            if not block:
                return
            out.write(block)
            done += len(block)
            if total and done > total:
                raise ConnectionError(f"more than the announced {total} bytes arrived")
            self.report(name, done, total)

    def _open(self, url: str, headers: Mapping[str, str]) -> Any:
        if self.offline:
            raise OfflineRefused(f"--offline: {url} would have to be fetched; run it without --offline")
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise UsageError(f"{url}: only http and https addresses can be pulled")
        request = urllib.request.Request(url, headers={"User-Agent": f"streamlation/{__version__}", **headers})
        for name, value in self.headers.items():
            request.add_unredirected_header(name, value)
        return urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT_S)

    def _patiently(self, url: str, attempt: Callable[[], None]) -> None:
        """Tries again, later each time, as long as trying again can help."""
        for tried in range(1, ATTEMPTS + 1):
            try:
                return attempt()
            except urllib.error.HTTPError as error:
                error.close()
                if error.code in (408, 425, 429) or error.code >= 500:
                    reason, wait_s = f"{error.code} {error.reason}", _retry_after(error.headers)
                else:
                    raise _refused(url, error) from None
            except (
                urllib.error.URLError,
                http.client.HTTPException,
                ConnectionError,
                TimeoutError,
                ssl.SSLError,
            ) as error:
                reason, wait_s = _plain(error), 0.0
            if tried < ATTEMPTS:
                self.wait(min(LONGEST_WAIT_S, max(wait_s, FIRST_WAIT_S * 2 ** (tried - 1))))
        raise TryAgain(f"{url}: {reason}; tried {ATTEMPTS} times; what has arrived is kept, run it again to go on")


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise Unavailable(f"{req.full_url} redirects to {newurl}, which is not encrypted; refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _checked(file: Path, url: str, expected: Expected) -> str:
    """The SHA-256 of a file that is as expected; raises WrongContent."""
    size = file.stat().st_size
    if expected.size and size != expected.size:
        raise WrongContent(f"{url}: {size} bytes arrived, {expected.size} are expected")
    sha256 = hashlib.sha256()
    git = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with file.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            sha256.update(block)
            git.update(block)
    if expected.sha256 and sha256.hexdigest() != expected.sha256:
        raise WrongContent(
            f"{url}: what arrived has SHA-256 {sha256.hexdigest()}, expected is {expected.sha256}; it was thrown away"
        )
    if expected.git_sha1 and not expected.sha256 and git.hexdigest() != expected.git_sha1:
        raise WrongContent(f"{url}: what arrived is not the content the hub lists ({expected.git_sha1}); thrown away")
    return sha256.hexdigest()


def _validator(notes: Path, url: str) -> str:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        said = json.loads(notes.read_text("utf-8"))
        if said.get("url") == url:
            return str(said.get("validator", ""))
    return ""


def _note(notes: Path, url: str, headers: Message) -> None:
    """Keeps what tells the server's content from another: a strong ETag, else the date."""
    etag = headers.get("ETag", "")
    validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
    notes.write_text(json.dumps({"url": url, "validator": validator}), "utf-8")


def _retry_after(headers: Message) -> float:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0


def _refused(url: str, error: urllib.error.HTTPError) -> StreamlationError:
    if error.code in (401, 403):
        return Unavailable(f"{url}: access refused ({error.code}); a hub's gated models need a token in HF_TOKEN")
    if error.code in (404, 410):
        return Unavailable(f"{url}: there is no such file ({error.code})")
    return Unavailable(f"{url}: {error.code} {error.reason}")


def _plain(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return f"nothing arrived for {TIMEOUT_S:.0f} s"
    return str(getattr(reason, "strerror", None) or reason or type(error).__name__)


def hub_url() -> str:
    """Address of the model hub: `$STREAMLATION_HUB_URL`, else `$HF_ENDPOINT`, else Hugging Face's."""
    return (os.environ.get("STREAMLATION_HUB_URL") or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip(
        "/"
    )
