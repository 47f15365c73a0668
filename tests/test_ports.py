"""The suite's own choice of ports."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

from ports import free_port

_ASKING = """
import threading
from concurrent.futures import ThreadPoolExecutor
from ports import free_port

together = threading.Barrier(8)


def ask(_):
    together.wait()
    return free_port()


with ThreadPoolExecutor(8) as threads:
    print(len(set(threads.map(ask, range(8)))))
"""


def test_threads_that_ask_at_once_get_ports_of_their_own() -> None:
    asked = subprocess.run(
        [sys.executable, "-c", _ASKING], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    assert asked.stdout == "8\n"


def test_a_port_can_be_listened_at_while_processes_are_started() -> None:
    """A process has its parent's sockets between fork and exec, those that look for a port among them."""
    over = threading.Event()

    def start_processes() -> None:
        while not over.is_set():
            subprocess.run(["true"], check=True)

    starting = [threading.Thread(target=start_processes) for _ in range(4)]
    for thread in starting:
        thread.start()
    try:
        for _ in range(300):
            with socket.socket() as server:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind(("127.0.0.1", free_port()))
                server.listen()
    finally:
        over.set()
        for thread in starting:
            thread.join()
