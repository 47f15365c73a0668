"""An RTSP server (GStreamer): `/usr/bin/python3 rtsp_server.py PORT FILE START`. Debian's own Python has GStreamer's bindings.

Mount points /talk (AAC) and /opus play a recording in real time from START on, all listeners together.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)
port, path, start_s = sys.argv[1], sys.argv[2], float(sys.argv[3])
PIPELINES = {
    "/talk": "avenc_aac ! rtpmp4gpay name=pay0 pt=96",
    "/opus": "opusenc ! rtpopuspay name=pay0 pt=97",
}

server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)
for mount, encoder in PIPELINES.items():
    factory = GstRtspServer.RTSPMediaFactory()
    # The recording is a WAV file, cut where it is to start.
    factory.set_launch(
        f"( filesrc location={path} ! wavparse ! identity sync=true ! audioconvert ! audioresample ! {encoder} )"
    )
    factory.set_shared(True)
    server.get_mount_points().add_factory(mount, factory)
server.attach(None)
GLib.MainLoop().run()
