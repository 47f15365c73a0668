"""Threads share a heap without large blocks, so that memory stays bounded over hours."""

from __future__ import annotations

import subprocess
import sys

import pytest

COUNT_HEAPS = """
import ctypes, sys, threading
from streamlation_cli import memory

if sys.argv[1] == "one":
    memory.keep_little()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.fdopen.restype = ctypes.c_void_p
started = threading.Barrier(6)

def work():
    libc.malloc(100_000)
    started.wait()

threads = [threading.Thread(target=work) for _ in range(5)]
for thread in threads:
    thread.start()
started.wait()
for thread in threads:
    thread.join()
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


@pytest.mark.parametrize(("heaps", "many"), [("one", False), ("own", True)])
def test_heaps_of_a_process_with_threads(heaps: str, many: bool) -> None:
    told = subprocess.run([sys.executable, "-c", COUNT_HEAPS, heaps], stdout=subprocess.PIPE, check=True, text=True)
    assert (told.stdout.count("<heap nr=") > 1) is many


@pytest.mark.parametrize(("mib", "mapped"), [(15, 0), (30, 1)])
def test_only_large_blocks_go_back_at_once(mib: int, mapped: int) -> None:
    """Also after one of their size was freed, when the C library by itself would keep them in the heap."""
    script = f"""
import ctypes
from streamlation_cli import memory

memory.keep_little()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.mallinfo2.restype = Info = type("Info", (ctypes.Structure,), {{"_fields_": [(n, ctypes.c_size_t) for n in "abcdefghij"]}})
before = libc.mallinfo2().d  # hblks: blocks mapped by themselves
for _ in range(2):
    libc.free(libc.malloc({mib} << 20))
libc.malloc({mib} << 20)
print(libc.mallinfo2().d - before)
"""
    told = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True, text=True)
    assert int(told.stdout) == mapped
