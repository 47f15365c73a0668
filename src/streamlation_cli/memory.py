"""How the C library keeps memory, for a process that runs engines on many threads for hours.

By default each thread gets a heap of its own, whose free blocks the others cannot use, and ever larger blocks come from
the heaps once one of their size was freed. Recognition asks for blocks of 1 to 70 MiB on several threads, so what lies
about free grows for hours: by 340 MiB in three of them.
"""

from __future__ import annotations

import functools
import sys

_MIB = 2**20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""glibc's malloc.h."""

LARGE_BYTES = 20 * _MIB
"""Larger blocks never come from the heap and go back to the system at once. Usual batches need none: for them it would cost
time, a tenth at 1 MiB. What needs more context for a second opinion does."""
FREE_END_BYTES = 64 * _MIB
"""The heap's end is given back when so much of it is free: the C library's own most."""


@functools.cache
def keep_little() -> None:
    """One heap for the threads that are started from now on, and none of the large blocks in it; needs glibc."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has neither it nor such heaps
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, FREE_END_BYTES)


def give_back() -> None:
    """Gives the system what is free on the heap, as after loading a model, which takes several times its size; needs glibc."""
    if sys.platform.startswith("linux"):
        import ctypes

        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
