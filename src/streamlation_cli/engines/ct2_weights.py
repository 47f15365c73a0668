"""The weights in a CTranslate2 model file, for an engine that computes with them itself.

The file is a header (version, name of the architecture, its revision, number of variables), then each variable as name, shape, type, size
in bytes and values, then other names for some of them. CTranslate2 writes it in `ctranslate2/specs/model_spec.py`.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import Unavailable

Weights = npt.NDArray[np.float32]

VERSION = 6
"""The newest format that is known here."""
TYPES: tuple[npt.DTypeLike, ...] = (np.float32, np.int8, np.int16, np.int32, np.float16, np.uint16)
"""By the number that stands for them; the last is bfloat16, the upper half of a float32."""
BFLOAT16 = 5


class Ct2Weights:
    """A model file's variables, read from the disk when they are asked for."""

    def __init__(self, path: Path) -> None:
        """Raises Unavailable where the file is not one of CTranslate2's, is cut off or has a newer format."""
        self._path = path
        self._variables: dict[str, tuple[npt.NDArray[np.generic], bool]] = {}
        with path.open("rb") as file:
            self._file = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._data = np.frombuffer(self._file, np.uint8)
        self._at = 0
        try:
            self._read()
        except (struct.error, ValueError, IndexError) as error:
            raise Unavailable(f"{path} cannot be read as a CTranslate2 model: {error}; fetch it again") from error

    def _read(self) -> None:
        version = self._number("<I")
        if not 4 <= version <= VERSION:
            raise ValueError(f"format {version} is not one of 4 to {VERSION}")
        self._string()
        self._number("<I")
        for _ in range(self._number("<I")):
            name = self._string()
            shape = [self._number("<I") for _ in range(self._number("<B"))]
            kind = self._number("<B")
            size = self._number("<I")
            values = self._data[self._at : self._at + size].view(TYPES[kind]).reshape(shape)
            self._variables[name] = values, kind == BFLOAT16
            self._at += size
        for _ in range(self._number("<I")):
            alias = self._string()
            self._variables[alias] = self._variables[self._string()]

    def _number(self, form: str) -> int:
        size = struct.calcsize(form)
        [value] = struct.unpack(form, self._data[self._at : self._at + size].tobytes())
        self._at += size
        return int(value)

    def _string(self) -> str:
        size = self._number("<H")
        text = self._data[self._at : self._at + size].tobytes()
        self._at += size
        return text.rstrip(b"\0").decode()

    def shape(self, name: str) -> tuple[int, ...]:
        """A variable's shape."""
        return self._variables[name][0].shape

    def layers(self, part: str) -> int:
        """How many layers `encoder` or `decoder` has."""
        return len(
            {name.split("/")[1] for name in self._variables if name.startswith(f"{part}/layer_")} - {"layer_norm"}
        )

    def forget(self) -> None:
        """Takes the file out of this process's memory; what is asked for later comes from the disk again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._file.madvise(mmap.MADV_DONTNEED)

    def rows(self, name: str, rows: npt.NDArray[np.int64] | None = None) -> Weights:
        """A variable, or these rows of it, as float32; integers are scaled back by the factor that each row was multiplied with."""
        values, upper_half = self._variables[name]
        if rows is not None:
            values = values[rows]
        if upper_half:
            return (values.astype(np.uint32) << 16).view(np.float32)
        whole = values.astype(np.float32)
        if name + "_scale" in self._variables:
            scale = self.rows(name + "_scale", rows)
            whole /= scale.reshape(scale.shape + (1,) * (whole.ndim - scale.ndim))
        return whole
