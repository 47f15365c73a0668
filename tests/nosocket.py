"""Runs a program under a kernel filter that kills it the moment it, or native code in it, opens an internet socket.

    python nosocket.py PROGRAM ARGUMENTS...

Exit status 77 where this kernel has no such filters.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

_NUMBERS = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""Machine → audit architecture, number of the call socket()."""

_KILL, _ALLOW = 0x80000000, 0x7FFF0000
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_AF_INET, _AF_INET6 = 2, 10
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2


def forbid_sockets() -> bool:
    """Installs the filter for this process and all it starts; False where that cannot be done."""
    if platform.system() != "Linux" or platform.machine() not in _NUMBERS:
        return False
    architecture, socket_call = _NUMBERS[platform.machine()]
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_IF_EQUAL, 0, 5, architecture),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_JUMP_IF_EQUAL, 0, 3, socket_call),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_JUMP_IF_EQUAL, 2, 0, _AF_INET),
        (_JUMP_IF_EQUAL, 1, 0, _AF_INET6),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _KILL),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    return prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 and prctl(_PR_SET_SECCOMP, _FILTER, header, 0, 0) == 0


if __name__ == "__main__":
    if not forbid_sockets():
        sys.exit(77)
    os.execvp(sys.argv[1], sys.argv[1:])
