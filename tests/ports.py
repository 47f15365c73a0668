"""Ports for the servers of the tests, also for those that are killed and come back at the same one."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

_PICKING = threading.Lock()


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port that nobody has now, and that nobody else gets before it is taken or while its server is away.

    It is below those that the system gives to whoever asks for any, and the suite's other processes pick from others.
    """
    with _PICKING:  # threads that ask first, all at once, would each begin with a list of their own
        for port in _ports():
            with socket.socket(socket.AF_INET, kind) as tried, contextlib.suppress(OSError):
                if kind == socket.SOCK_STREAM:
                    # A process that another thread is starting has this socket for a moment too; its server may listen all the same.
                    tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind(("127.0.0.1", port))
                return port
    raise AssertionError("every port is taken")


@lru_cache(1)
def _ports() -> Iterator[int]:
    """Those of this process of the suite, in an order of its own: another suite may run on this machine."""
    own = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    end = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = list(range(10_000 + own % 16, end, 16))
    random.Random(os.getpid()).shuffle(ports)
    return iter(ports)
