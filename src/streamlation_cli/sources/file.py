"""Files on this machine."""

from __future__ import annotations

import errno
import os
import stat
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from ..errors import DataError, InputMissing, StreamlationError
from . import Opening, Request, raw, scheme_of, text_format_of


def opening(request: Request) -> Opening:
    """How to open a path or `file:` address.

    Raises InputMissing where it is absent, a directory or unreadable, DataError where it is empty.
    """
    path = path_of(request.input)
    _check(path)
    return Opening(
        # FFmpeg reads `a:b.mp3` as an address of scheme `a` unless told that it is a file.
        file="file:" + path,
        name=request.input,
        path=path,
        failure=partial(failure_of, request.input),
        options=raw.options(request),
        format=request.format or text_format_of(path),
        text=Path(path).read_bytes,
    )


def path_of(name: str) -> str:
    """The path of a path or `file:` address.

    >>> path_of("file:///a%20b.mp3"), path_of("a.mp3")
    ('/a b.mp3', 'a.mp3')
    """
    if scheme_of(name) != "file":
        return name
    rest = name.partition(":")[2]
    return unquote("/" + rest.removeprefix("//").partition("/")[2]) if rest.startswith("//") else rest


def _check(path: str) -> None:
    try:
        found = Path(path).stat()
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, "Is a directory", path)
        if stat.S_ISREG(found.st_mode):
            with Path(path).open("rb"):
                pass
            if found.st_size == 0:
                raise DataError(f"{path}: the file is empty")
    except (OSError, ValueError) as error:
        raise failure_of(path, error) from error


def failure_of(name: str, error: Exception) -> StreamlationError:
    """What went wrong with a file."""
    if isinstance(error, StreamlationError):
        return error
    number = getattr(error, "errno", None)
    if isinstance(error, ValueError) and number not in errno.errorcode:
        if "null" in str(error):
            return InputMissing(f"{name!r}: a path cannot hold a null character")
        return DataError(f"{name}: not media that can be read, or its start or index is damaged")
    if isinstance(error, IsADirectoryError):
        return InputMissing(f"{name}: is a directory; name a file in it")
    if isinstance(error, FileNotFoundError) and Path(name).is_symlink():
        return InputMissing(f"{name}: the link points to {os.readlink(name)}, which does not exist")  # noqa: PTH115
    if isinstance(error, FileNotFoundError):
        return InputMissing(f"{name}: no such file")
    if isinstance(error, PermissionError):
        return InputMissing(f"{name}: no permission to read it")
    if isinstance(error, OSError):
        return InputMissing(f"{name}: cannot be read: {error.strerror or error}")
    return DataError(f"{name}: {error}")
