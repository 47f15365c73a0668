"""hls.js, the HLS player of most web pages, in Chromium: a page with it, and what it plays.

It is fetched from the npm registry when the tests need it, once, in the version and with the content that is named here.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

VERSION = "1.7.4"
SHA256 = "cfc70cc9e9fc63d071919e087670abc760c8fd1bc889b88588026e4d22193bbe"
"""Of its `dist/hls.min.js`."""
_KEPT = Path(__file__).resolve().parent.parent / ".pytest_cache" / f"hls-{VERSION}.min.js"

PAGE = """<!doctype html>
<html lang="en"><title>HLS</title>
<video id="video" muted width="320" height="180"></video>
<script src="hls.js"></script>
<script>
const video = document.getElementById("video");
window.faults = [];
window.hls = new Hls({enableWorker: false, debug: false});
hls.on(Hls.Events.ERROR, (_, error) => faults.push({fatal: error.fatal, details: error.details}));
hls.on(Hls.Events.MANIFEST_PARSED, () => { hls.subtitleDisplay = true; video.play(); });
hls.loadSource(location.hash.slice(1));
hls.attachMedia(video);
</script></html>
"""


def script() -> bytes:
    """The player's source; fails where the npm registry does not give it, or something else."""
    if not _KEPT.is_file():
        npm = shutil.which("npm")
        assert npm, "there is no npm; install Node.js"
        with tempfile.TemporaryDirectory() as folder:
            # npm takes its own notices for progress; its exit status says whether the package is there.
            subprocess.run(
                [npm, "pack", "--silent", f"hls.js@{VERSION}"],
                cwd=folder,
                check=True,
                timeout=120,
                stdout=subprocess.DEVNULL,
            )
            with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
                member = archive.extractfile("package/dist/hls.min.js")
                assert member is not None
                data = member.read()
        _check(data)
        _KEPT.parent.mkdir(exist_ok=True)
        part = _KEPT.with_name(f"{_KEPT.name}.{os.getpid()}")
        part.write_bytes(data)
        part.replace(_KEPT)
    data = _KEPT.read_bytes()
    _check(data)
    return data


def _check(data: bytes) -> None:
    found = hashlib.sha256(data).hexdigest()
    assert found == SHA256, f"hls.js {VERSION} is not what it was: SHA-256 {found}"


def state(page: Any) -> dict[str, Any]:
    """What the player does now."""
    return dict(
        page.evaluate(
            """() => ({
                time: video.currentTime, paused: video.paused, ended: video.ended, duration: video.duration,
                frames: video.getVideoPlaybackQuality().totalVideoFrames,
                dropped: video.getVideoPlaybackQuality().droppedVideoFrames,
                audioBytes: video.webkitAudioDecodedByteCount,
                size: [video.videoWidth, video.videoHeight],
                buffered: video.buffered.length ? video.buffered.end(video.buffered.length - 1) : 0,
                start: video.buffered.length ? video.buffered.start(0) : 0,
                sounds: hls.audioTracks.map(track => track.lang), sound: hls.audioTrack,
                captions: hls.subtitleTracks.map(track => track.lang),
                cues: [...video.textTracks].flatMap(track => [...(track.cues || [])].map(
                    cue => [track.language, cue.startTime, cue.endTime, cue.text])),
                latency: hls.latency, date: hls.playingDate ? hls.playingDate / 1000 : 0, faults,
            })"""
        )
    )
