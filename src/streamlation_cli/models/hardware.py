"""What this machine has, and what engines should use of it.

Everything is read when asked for; nothing here imports an engine library before a GPU is in question.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import importlib.util
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import Unavailable, UsageError

FEATURES = (
    "sse4_1",
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "amx_int8",
    "asimd",
    "asimddp",
    "i8mm",
)
"""CPU features that engines choose their kernels by, as Linux names them; `asimd` is NEON."""

_CGROUP = Path("/sys/fs/cgroup")
_SYSTEM_CPUS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """The processor."""

    model: str
    architecture: str
    logical_cores: int
    """Cores the system has, hyper-threads counted."""
    usable_cores: int
    """Physical cores this process may use, by affinity and by its container's quota."""
    features: tuple[str, ...]
    """Of `FEATURES`, those it has."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A graphics processor."""

    name: str
    memory_bytes: int
    """0 where unknown."""
    usable: bool
    """Whether the installed engines can run on it."""


def threads() -> int:
    """Threads an engine should run: physical cores this process may use, at least 1."""
    allowed = _allowed_cpus()
    physical = len({_siblings(cpu) for cpu in allowed}) or 1
    quota = _quota()
    return max(1, min(physical, math.ceil(quota) if quota else physical))


def device(wanted: str = "auto") -> str:
    """`cpu` or `cuda`; `auto` is `cuda` where CTranslate2 finds one.

    Raises Unavailable where `cuda` is asked for and there is none, UsageError for another word.
    """
    if wanted == "cpu":
        return "cpu"
    if wanted not in ("auto", "cuda"):
        raise UsageError(f"--device {wanted}: it must be auto, cpu or cuda")
    if cuda_devices() > 0:
        return "cuda"
    if wanted == "cuda":
        raise Unavailable("--device cuda: no CUDA device can be used here; see: streamlation doctor")
    return "cpu"


def compute_type(on: str = "cpu") -> str:
    """The CTranslate2 type that is fastest at no cost in quality worth naming: `int8` on a CPU, `int8_float16` on a GPU."""
    supported = compute_types(on)
    for best in ("int8_float16", "float16", "int8_float32", "float32") if on == "cuda" else ("int8", "float32"):
        if best in supported:
            return best
    return "default"


@functools.cache
def compute_types(on: str = "cpu") -> tuple[str, ...]:
    """Types CTranslate2 supports on a device, sorted; empty where it is not installed or the device is not there."""
    allow_avx512()
    with contextlib.suppress(ImportError, RuntimeError, ValueError):
        import ctranslate2

        return tuple(sorted(ctranslate2.get_supported_compute_types(on)))
    return ()


@functools.cache
def cuda_devices() -> int:
    """GPUs CTranslate2 can use; 0 where it is not installed, is built without CUDA, or the driver is missing.

    The library is only loaded where a driver's device file or library hints at a GPU.
    """
    if not _cuda_hinted():
        return 0
    with contextlib.suppress(ImportError, RuntimeError):
        import ctranslate2

        return int(ctranslate2.get_cuda_device_count())
    return 0


@functools.cache
def allow_avx512() -> None:
    """Lets CTranslate2 use AVX-512 where that is no loss; call before it is imported, and it reads $CT2_FORCE_CPU_ISA.

    By itself it stops at AVX2, for early processors lower their clock under AVX-512. Those with `avx512_vnni` hardly do, or have
    done it already for the library that multiplies matrices: on one of them (Sapphire Rapids) Whisper base took 14 % less time to
    encode and 10 % less to align; no other was tried. $CT2_FORCE_CPU_ISA stands where it is set. Only wheels of the
    package index surely have the code for it; any other build would fail.
    """
    wheel = ""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        wheel = importlib.metadata.distribution("ctranslate2").read_text("WHEEL") or ""
    if "manylinux" in wheel and {"avx512f", "avx512_vnni"} <= set(cpu().features):
        os.environ.setdefault("CT2_FORCE_CPU_ISA", "AVX512")


def cpu() -> Cpu:
    """The processor of this machine."""
    text = _read(Path("/proc/cpuinfo"))
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return Cpu(
        model=fields.get("model name") or _model_elsewhere() or platform.machine(),
        architecture=platform.machine(),
        logical_cores=os.cpu_count() or 1,
        usable_cores=threads(),
        features=tuple(feature for feature in FEATURES if feature in flags),
    )


def memory_bytes() -> tuple[int, int]:
    """Memory in all and memory free for use, within the container's limit; 0 where unknown."""
    fields = dict(line.split(":", 1) for line in _read(Path("/proc/meminfo")).splitlines() if ":" in line)
    total = int(fields.get("MemTotal", "0").split()[0]) * 1024
    free = int(fields.get("MemAvailable", "0").split()[0]) * 1024
    if not total and hasattr(os, "sysconf"):
        with contextlib.suppress(ValueError, OSError):
            total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
            free = total
    limit = _number(_CGROUP / "memory.max")
    if limit and limit < total:
        total = limit
        free = min(free, max(0, limit - (_number(_CGROUP / "memory.current") or 0)))
    return total, free


def gpus() -> list[Gpu]:
    """NVIDIA and AMD processors that their own tools report."""
    usable = cuda_devices() > 0
    found = [
        Gpu(name=name.strip(), memory_bytes=_mebibytes(memory), usable=usable)
        for name, _, memory in (
            line.partition(",")
            for line in _output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
        )
    ]
    for line in _output("rocminfo"):  # CTranslate2 from the package index has no ROCm
        name, _, value = line.partition(":")
        if name.strip() == "Marketing Name" and ("Radeon" in value or "Instinct" in value):
            found.append(Gpu(name=value.strip(), memory_bytes=0, usable=False))
    return found


def _output(*command: str) -> Iterable[str]:
    program = shutil.which(command[0])
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, *command[1:]], capture_output=True, text=True, errors="replace", timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []


def _mebibytes(text: str) -> int:
    return int(float(text) * 2**20) if text.strip().replace(".", "", 1).isdigit() else 0


def _cuda_hinted() -> bool:
    if importlib.util.find_spec("ctranslate2") is None or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return False
    if platform.system() == "Linux":
        return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()
    return platform.system() == "Windows" and shutil.which("nvidia-smi") is not None


def _allowed_cpus() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _siblings(cpu: int) -> str:
    """What all hyper-threads of one physical core have in common."""
    return _read(_SYSTEM_CPUS / f"cpu{cpu}/topology/thread_siblings_list").strip() or str(cpu)


def _quota() -> float | None:
    """CPUs' worth of time the container may use, or None where it is not limited (cgroup 2, then 1)."""
    first, _, period = _read(_CGROUP / "cpu.max").strip().partition(" ")
    if first.isdigit() and period.isdigit() and int(period):
        return int(first) / int(period)
    quota, period_us = _number(_CGROUP / "cpu/cpu.cfs_quota_us"), _number(_CGROUP / "cpu/cpu.cfs_period_us")
    return quota / period_us if quota and period_us else None


def _model_elsewhere() -> str:
    if platform.system() == "Darwin":
        return next(iter(_output("sysctl", "-n", "machdep.cpu.brand_string")), "")
    return platform.processor()


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""
