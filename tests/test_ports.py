"""The suite's own choice of ports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
