"""The server: addresses, ranges, types, CORS, and addresses that cannot be served on."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from streamlation_cli.errors import Unavailable
from streamlation_cli.serving.server import Server, address_towards


def fetch(address: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in lower case) and body."""
    request = urllib.request.Request(address, headers=headers, method=method)
    try:
        response = urllib.request.urlopen(request, timeout=20)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        return response.status, {name.lower(): value for name, value in response.headers.items()}, response.read()


class Folder:
    """A store in memory."""

    def __init__(self, **content: bytes) -> None:
        self.content = content

    def get(self, name: str) -> bytes | None:
        return self.content.get(name)


@pytest.mark.parametrize("kind", ["file", "text", "store"])
def test_media_is_served_with_ranges_and_to_any_origin(kind: str, tmp_path: Path) -> None:
    data = bytes(range(48, 122)) * 40
    (tmp_path / "talk é.vtt").write_bytes(data)
    with Server() as server:
        address = {
            "file": lambda: server.serve_file(tmp_path / "talk é.vtt"),
            "text": lambda: server.serve_text("talk.vtt", data.decode()),
            "store": lambda: server.serve_store(Folder(**{"talk.vtt": data}), "talk.vtt"),
        }[kind]()
        status, headers, body = fetch(address)
        assert (status, body, headers["content-type"]) == (200, data, "text/vtt; charset=utf-8")
        assert headers["access-control-allow-origin"] == "*"
        last = len(data) - 1
        for asked, first, end in (("0-0", 0, 0), ("100-199", 100, 199), ("2900-", 2900, last), ("-5", last - 4, last)):
            status, headers, body = fetch(address, Range=f"bytes={asked}")
            assert (status, body) == (206, data[first : end + 1]), asked
            assert headers["content-range"] == f"bytes {first}-{end}/{len(data)}"
        status, headers, _ = fetch(address, Range=f"bytes={len(data)}-")
        assert status == 416
        assert headers["content-range"].endswith(f"*/{len(data)}")
        # Of another version than ours nobody gets a part.
        assert fetch(address, **{"Range": "bytes=0-9", "If-Range": '"other"'})[::2] == (200, data)
        status, headers, body = fetch(address, "HEAD")
        assert (status, headers["content-length"], body) == (200, str(len(data)), b"")
        status, headers, _ = fetch(address, "OPTIONS", Origin="https://elsewhere.example")
        assert (status, headers["access-control-allow-headers"]) == (204, "Range")


def test_media_is_found_by_its_own_address_only(tmp_path: Path) -> None:
    (tmp_path / "talk.mp4").write_bytes(b"x")
    (tmp_path / "secret").write_bytes(b"y")
    with Server() as server:
        address = server.serve_file(tmp_path / "talk.mp4")
        assert server.serve_file(tmp_path / "talk.mp4") != address
        for other in (f"{address}x", address.replace("talk.mp4", "../secret"), address.replace("talk.mp4", "secret"),
                      f"{server.address}/media/x/talk.mp4", f"{server.address}/"):  # fmt: skip
            assert fetch(other)[0] == 404, other
        server.withdraw(address)
        assert fetch(address)[0] == 404


def test_playlists_are_not_kept_and_segments_are() -> None:
    with Server() as server:
        address = server.serve_store(Folder(**{"master.m3u8": b"#EXTM3U\n", "video/1.m4s": b"x"}))
        _, headers, _ = fetch(address)
        assert (headers["content-type"], headers["cache-control"]) == ("application/vnd.apple.mpegurl", "no-cache")
        _, headers, body = fetch(address.replace("master.m3u8", "video/1.m4s"))
        assert (headers["content-type"], body) == ("video/mp4", b"x")
        assert "max-age" in headers["cache-control"]


def test_an_address_that_cannot_be_served_on_is_said_in_one_line() -> None:
    with Server() as first, pytest.raises(Unavailable, match="another program serves there"), Server(port=first.port):
        pass
    with pytest.raises(Unavailable, match="no machine is called"), Server("nowhere.invalid"):
        pass
    with pytest.raises(Unavailable, match="no such address"), Server("192.0.2.7"):
        pass


def test_the_way_to_a_peer() -> None:
    assert address_towards("127.0.0.1") == "127.0.0.1"
    with pytest.raises(Unavailable, match="no way there"):
        address_towards("nowhere.invalid")


def test_a_stopped_server_leaves_its_port() -> None:
    with Server() as server:
        port = server.port
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    with Server(port=port):
        pass
