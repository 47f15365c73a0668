"""The device that `--to` names: found, connected to, and given a server that it can fetch from."""

from __future__ import annotations

from .. import stdio
from ..serving.server import Server, address_towards, parse_bind
from . import KINDS, Device, Kind, Receiver
from .finding import DISCOVERY_S, find
from .wishes import Wishes, heeds


def found(target: str, timeout_s: float, wishes: Wishes | None = None) -> tuple[Device, Kind]:
    """The device of a name, address or URI, and its kind. A signal interrupts the wait at once.

    Raises UsageError where `target` can mean several or devices of that kind cannot heed the wishes, Unavailable where there
    is none within `timeout_s`, Interrupted.
    """
    with stdio.woken_by_signals():
        device = find(target, min(DISCOVERY_S, timeout_s))
    kind = KINDS[device.kind]
    if wishes is not None:
        heeds(kind, wishes)
    return device, kind


def connect(device: Device, kind: Kind, timeout_s: float) -> Receiver:
    """Connects to a device. A signal interrupts the wait at once.

    Raises Unavailable where it does not answer within `timeout_s`, Interrupted.
    """
    module = kind.load()
    with stdio.woken_by_signals():
        receiver: Receiver = module.connect(device, timeout_s)
    return receiver


def server_for(device: Device, kind: Kind, bind: str) -> Server:
    """A server that the device reaches; nothing is served to the network but what has an unguessable path.

    `bind` is HOST, PORT or HOST:PORT, or empty for this machine's address on the way to the device, and any free port.
    Raises UsageError where it is none of these, Unavailable where it cannot be served on or there is no way to the device.
    """
    if bind:
        host, port = parse_bind(bind, usual_port=0)
        return Server(host, port)
    return Server(address_towards(device.host) if kind.pulls else "127.0.0.1", 0)
