"""The README's first live command, as it stands there: a stream published to a real RTMP server, captioned in another language."""

from __future__ import annotations

import re
import shlex
import signal
from pathlib import Path

import pytest

from conftest import ROOT
from livetools import Broadcast
from terminal import OnTerminal
from test_live_rtmp import Nginx

PUBLISHED = "rtmp://localhost/live/talk"


@pytest.mark.long
def test_a_published_stream_is_captioned_in_another_language_on_a_terminal(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    command, *_ = re.findall(rf"^```bash\nstreamlation (run {PUBLISHED} [^\n]*)\n```", readme, re.MULTILINE)
    with Nginx(tmp_path) as server, Broadcast(server.address, "flv"):
        arguments = shlex.split(command.replace(PUBLISHED, server.address))
        with OnTerminal(arguments, rows=30) as terminal:
            screen = terminal.until(lambda text: "lighthouse" in text and "farol" in text, 60)
            assert "transcribe" in screen
            assert "lag" in screen
            terminal.process.send_signal(signal.SIGINT)
            assert terminal.finish() == 130
