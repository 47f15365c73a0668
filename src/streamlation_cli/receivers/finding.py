"""Devices on the network, and the one that `--to` names."""

from __future__ import annotations

import json
import logging
import re
import socket
import ssl
import threading
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from ..errors import StreamlationError, Unavailable, UsageError
from ..serving.server import is_loopback
from . import DISCOVERED, KINDS, Device

logger = logging.getLogger("streamlation.cast")

DISCOVERY_S = 4.0
"""Devices answer within 3 s (SSDP lets them wait so long), or asleep ones not at all."""
_PROBE_S = 2.0
_GRACE_S = 3.0
_NAMESAKES_S = 1.0
"""How long after a device of the wanted name others of that name are waited for: most answer within half a second."""
_PORTS = {"chromecast": (8009,), "airplay": (7000, 5000)}
"""Where each kind listens unless it says otherwise."""


def discover(timeout_s: float = DISCOVERY_S, kinds: Sequence[str] = DISCOVERED, name: str = "") -> list[Device]:
    """Everything that answers within about `timeout_s`, all kinds at once, in order of name.

    The search ends early when a device called `name` has answered, and others of that name have had their chance. A kind whose
    library is missing is left out and said so.
    Raises Unavailable where none could be searched for, or none was found and the network lets none of some kind be searched for.
    """
    found: dict[tuple[str, str, int, str], Device] = {}
    failures: dict[str, str] = {}
    blocked: list[str] = []
    bugs: list[Exception] = []
    modules = {}
    for kind in kinds:  # one after another: two of them import aiohttp, which two threads must not do at the same time
        try:
            modules[kind] = KINDS[kind].load()
        except StreamlationError as error:
            failures[kind] = error.message
    searching = set(modules)
    news = threading.Condition()

    def take(device: Device) -> None:
        with news:
            found[device.kind, device.host, device.port, device.location] = device
            news.notify_all()

    def search(kind: str) -> None:
        try:
            modules[kind].discover(timeout_s, take)
        except OSError as error:
            blocked.append(kind)
            failures[kind] = f"no multicast on this network ({error.strerror or error})"
        except Exception as error:
            bugs.append(error)
        with news:
            searching.discard(kind)
            news.notify_all()

    for kind in modules:
        threading.Thread(target=search, args=(kind,), name=f"discover {kind}", daemon=True).start()
    wanted = name.casefold()
    with news:
        called_so = news.wait_for(
            lambda: not searching or (wanted and any(device.name.casefold() == wanted for device in found.values())),
            timeout_s + _GRACE_S,
        )
        if called_so and searching:
            news.wait_for(lambda: not searching, min(_NAMESAKES_S, timeout_s))
        devices = sorted(found.values(), key=lambda device: (device.name.lower(), device.kind, device.host))
    if bugs:
        raise bugs[0]
    if not devices and (blocked or len(failures) == len(kinds)):
        reasons = "; ".join(f"{kind}: {reason}" for kind, reason in failures.items())
        raise Unavailable(
            f"devices cannot be searched for here: {reasons}; name one by its address: --to HOST or --to HOST:PORT"
        )
    for kind, reason in failures.items():
        logger.warning("%s cannot be searched for: %s", KINDS[kind].what, reason)
    return devices


def listing(devices: Sequence[Device], as_text: bool) -> str:
    """A table for a person, else a JSON line a device."""
    if not as_text:
        return "".join(
            json.dumps({"name": d.name, "kind": d.kind, "address": d.host, "uri": d.uri, "model": d.model}, ensure_ascii=False) + "\n"
            for d in devices
        )  # fmt: skip
    if not devices:
        return "no device answered; is one on, and on this network? By its address it may still be reached: --to HOST\n"
    rows = [("NAME", "KIND", "MODEL", "URI"), *((d.name, d.kind, d.model or "-", d.uri) for d in devices)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) + "\n"
        for row in rows
    )


_URI = re.compile(r"^(chromecast|airplay|stub)://|^dlna:")
_OTHER_URI = re.compile(r"^[a-z][a-z0-9+.-]*://")
_ADDRESS = re.compile(r"^(?:(?P<ipv4>\d+\.\d+\.\d+\.\d+|localhost)|\[(?P<ipv6>[0-9a-fA-F:]+)\])(?::(?P<port>\d+))?$")


def find(target: str, timeout_s: float = DISCOVERY_S) -> Device:
    """The device that a name, an address or a URI means.

    Raises UsageError where it can mean several, Unavailable where there is none.
    """
    if target == "stub":
        return Device(kind="stub", name="stub", host="localhost")
    if _URI.match(target):
        return _of_uri(target)
    if target.startswith(("http://", "https://")):
        return _of_uri(f"dlna:{target}")
    if _OTHER_URI.match(target):
        raise UsageError(
            f"--to {target}: no kind of device is called so; there are chromecast://HOST:8009, airplay://HOST:7000 and "
            "dlna:http://HOST:PORT/description.xml"
        )
    address = _ADDRESS.match(target)
    host, _, port = target.rpartition(":")
    if address:
        return probe(address["ipv4"] or address["ipv6"], int(address["port"] or 0), timeout_s)
    if host and port.isdigit() and _resolves(host):
        return probe(host, int(port), timeout_s)
    return _named(target, timeout_s)


def _of_uri(target: str) -> Device:
    """
    >>> _of_uri("chromecast://192.0.2.7").port, _of_uri("dlna:http://192.0.2.8:49494/d.xml").host
    (8009, '192.0.2.8')
    """
    kind, _, rest = target.partition(":")
    try:
        parts = urlsplit(rest if kind == "dlna" else target)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"--to {target}: {error}") from error
    if not host or (kind == "dlna" and parts.scheme not in ("http", "https")):
        raise UsageError(
            f"--to {target}: not the address of a device; `cast --list` shows some, as in chromecast://HOST:8009, "
            "airplay://HOST:7000, dlna:http://HOST:PORT/description.xml"
        )
    if kind == "dlna":
        return Device(kind="dlna", name=host, host=host, port=port or 80, location=rest)
    return Device(kind=kind, name=f"{host}:{port}" if port else host, host=host, port=port or _PORTS.get(kind, (0,))[0])


def _named(target: str, timeout_s: float) -> Device:
    """The one device of that name, or whose name begins with it."""
    logger.info("looking for a device called %s", target)
    devices = discover(timeout_s, name=target)
    wanted = target.casefold()
    for fits in (str.__eq__, str.startswith):
        matching = [device for device in devices if fits(device.name.casefold(), wanted)]
        if len({(device.name.casefold(), device.host) for device in matching}) == 1:
            # A television that speaks several protocols is one device; the one that can do most is spoken to.
            return min(matching, key=lambda device: DISCOVERED.index(device.kind))
        if matching:
            several = ", ".join(f"{device.name} ({device.uri})" for device in matching)
            raise UsageError(f"--to {target}: several devices are called so: {several}; name one by its URI")
    there = ", ".join(device.name for device in devices) or "none at all"
    raise Unavailable(
        f"--to {target}: no device of that name answered within {timeout_s:.0f} s (found: {there}); is it on, and on this network? "
        "Where multicast is blocked, name it by its address: --to HOST"
    )


def probe(host: str, port: int = 0, timeout_s: float = DISCOVERY_S) -> Device:
    """What listens there, by what it answers; raises Unavailable where nothing that can be cast to does.

    Without a port each kind's own ports are tried, and a DLNA device is asked for its description by unicast.
    """
    candidates = [port] if port else [number for ports in _PORTS.values() for number in ports]
    open_ports = 0
    for number in candidates:
        kind = _kind_at(host, number)
        open_ports += kind is not None
        if kind:
            return Device(kind=kind, name=f"{host}:{number}", host=host, port=number)
    location = _description(host, port, timeout_s)
    if location:
        return replace(_of_uri(f"dlna:{location}"), name=host)
    where = f"{host}:{port}" if port else f"{host} (asked at {', '.join(map(str, candidates))} and by SSDP)"
    what = "what listens there is no device that can be cast to" if open_ports else "nothing answers there"
    raise Unavailable(f"--to {where}: {what}; is the device on, and on this network?")


def _kind_at(host: str, port: int) -> str | None:
    """`chromecast` or `airplay`; empty where something else listens, None where nothing does."""
    order = (_speaks_rtsp, _speaks_tls) if port in _PORTS["airplay"] else (_speaks_tls, _speaks_rtsp)
    for ask in order:
        try:
            with socket.create_connection((host, port), timeout=_PROBE_S) as connection:
                kind = ask(connection)
        except OSError:
            return None
        if kind:
            return kind
    return ""


def _speaks_tls(connection: socket.socket) -> str:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # each device has a certificate of its own
    try:
        with context.wrap_socket(connection):
            return "chromecast"
    except OSError:
        return ""


def _speaks_rtsp(connection: socket.socket) -> str:
    try:
        connection.sendall(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
        return "airplay" if connection.recv(16).startswith(b"RTSP/1.0") else ""
    except OSError:
        return ""


def _description(host: str, port: int, timeout_s: float) -> str:
    """Address of the description of a DLNA renderer on that machine; empty where there is none."""
    try:
        devices: list[Device] = []
        KINDS["dlna"].load().discover(min(timeout_s, _PROBE_S), devices.append, target=host)
    except (OSError, Unavailable):
        devices = []
    for device in devices:
        if not port or device.port == port:
            return str(device.location)
    if not port:
        return ""
    for path in ("/description.xml", "/dmr", "/"):
        location = f"http://{host}:{port}{path}"
        try:
            if KINDS["dlna"].load().describes_renderer(location, _PROBE_S):
                return location
        except Unavailable:
            return ""
    return ""


def _resolves(host: str) -> bool:
    try:
        return is_loopback(host) or bool(socket.getaddrinfo(host, None))
    except (OSError, UnicodeError):
        return False
