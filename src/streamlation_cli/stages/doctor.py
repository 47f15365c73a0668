"""Reports what this machine has, what is installed, which preset fits, and whether the main job can run.

The exit status is 0 where speech of some language can be recognised, translated and spoken with what is installed, and
69 where it cannot; then the last line says what is missing and how to get it. Nothing is downloaded and no socket is
opened. No weights are read: `streamlation models verify` does that.

Examples:

\b
  streamlation doctor
  streamlation doctor --json | jq .preset
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from .. import __version__, paths
from ..errors import Unavailable
from ..models import hardware, store
from ..models.catalogue import KINDS
from ..models.folders import human
from ..options import option

GB = 10**9

ENGINES: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "whisper": ("asr", (("faster_whisper", "faster-whisper"), ("ctranslate2", "ctranslate2"))),
    "firefox": ("firefox", (("fxtranslate", "fxtranslate"),)),
    "ct2": ("ct2", (("ctranslate2", "ctranslate2"), ("sentencepiece", "sentencepiece"))),
    "piper": ("piper", (("piper", "piper-tts"), ("onnxruntime", "onnxruntime"))),
    "espeak": ("espeak", (("espeakng_loader", "espeakng-loader"),)),
}
"""Engine → the extra that installs it, and what that brings: imported name, name in the index."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Nothing to choose but what every verb has."""

    offline: bool = option("--offline", False, shared=True, help="as in every verb; this one never opens a socket")


def command(options: Options, as_text: bool) -> int:
    """Prints the report; raises Unavailable where the main job cannot run."""
    report = examine()
    if as_text:
        _print(report)
    else:
        click.echo(json.dumps(report, ensure_ascii=False))
    if report["missing"]:
        raise Unavailable(f"the main job cannot run here: {'; '.join(report['missing'])}")
    return 0


def examine() -> dict[str, Any]:
    """The whole report; sizes in bytes."""
    cpu, (total, free), gpus = hardware.cpu(), hardware.memory_bytes(), hardware.gpus()
    device = hardware.device()
    engines = {name: _engine(name) for name in ENGINES}
    preset, reason = fitting_preset(device, cpu.usable_cores, total, cpu.features)
    pairs, voices = _pairs(engines), _voices(engines)
    return {
        "version": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": asdict(cpu) | {"features": list(cpu.features)},
        "memory_total_bytes": total,
        "memory_free_bytes": free,
        "gpus": [asdict(gpu) for gpu in gpus],
        "device": device,
        "threads": hardware.threads(),
        "compute_type": hardware.compute_type(device),
        "compute_types": list(hardware.compute_types(device)),
        "engines": engines,
        "models": [
            {
                "model": e.key,
                "checked": e.checked,
                "size_bytes": e.size,
                "languages": list(e.languages),
                "path": str(e.path),
            }
            for kind in KINDS
            for e in store.installed(kind)
        ],
        "unreadable_models": store.unreadable(),
        "pairs": pairs,
        "voices": voices,
        "preset": preset,
        "preset_reason": reason,
        "folders": {
            name: {"path": str(folder), "free_bytes": _free(folder)}
            for name, folder in (
                ("data", paths.data_dir()),
                ("cache", paths.cache_dir()),
                ("config", paths.config_dir()),
            )
        },
        "missing": _missing(engines, pairs, voices),
    }


def fitting_preset(device: str, cores: int, memory_bytes: int, features: tuple[str, ...]) -> tuple[str, str]:
    """The preset that keeps up with speech on such a machine, and why.

    >>> fitting_preset("cpu", 2, 8 * 10**9, ("avx2",))
    ('balanced', '2 cores and 8.0 GB: base models run several times faster than speech')
    """
    size = human(memory_bytes)
    if device == "cuda":
        return "accuracy", "a CUDA device: beams and larger models cost little"
    if not {"avx2", "avx512f", "asimd"} & set(features):
        return "latency", "no AVX2 or NEON: 8-bit arithmetic is slow here"
    if cores < 2 or memory_bytes < 2 * GB:
        return "latency", f"{cores} core{'s' * (cores != 1)} and {size}: only the fastest settings keep up"
    if cores >= 8 and memory_bytes >= 8 * GB:
        return "accuracy", f"{cores} cores and {size}: wide beams keep up"
    return "balanced", f"{cores} cores and {size}: base models run several times faster than speech"


def _engine(name: str) -> dict[str, Any]:
    extra, libraries = ENGINES[name]
    versions = {package: _version(module, package) for module, package in libraries}
    return {"installed": all(versions.values()), "extra": extra, "versions": versions}


def _version(module: str, package: str) -> str:
    """Empty where it is not installed."""
    if importlib.util.find_spec(module) is None:
        return ""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _pairs(engines: dict[str, dict[str, Any]]) -> list[str]:
    """Directions with an installed model and the library that runs it, pivots through English not counted."""
    found = {
        "-".join(entry.languages[:2])
        for kind in ("firefox", "ct2")
        if engines[kind]["installed"]
        for entry in store.installed(kind)
        if len(entry.languages) == 2
    }
    many = engines["ct2"]["installed"] and any(len(e.languages) != 2 for e in store.installed("ct2"))
    return sorted(found) + (["*-*"] if many else [])


def _voices(engines: dict[str, dict[str, Any]]) -> list[str]:
    """Installed voices; `espeak` stands for its hundred."""
    piper = [entry.name for entry in store.installed("piper")] if engines["piper"]["installed"] else []
    return piper + (["espeak"] if engines["espeak"]["installed"] else [])


def _missing(engines: dict[str, dict[str, Any]], pairs: list[str], voices: list[str]) -> list[str]:
    """What the main job lacks, each with the command that brings it."""
    missing = []
    if not engines["whisper"]["installed"]:
        missing.append("no recognition engine (pip install 'streamlation[asr]')")
    if not store.installed("whisper"):
        missing.append("no recognition model (streamlation models pull whisper/base)")
    if not pairs:
        if not engines["firefox"]["installed"]:
            missing.append("no translation engine (pip install 'streamlation[firefox]')")
        if not store.installed("firefox"):
            missing.append("no translation model (streamlation models pull firefox/en-pt)")
    if not voices or (pairs and "espeak" not in voices and not _spoken(pairs)):
        missing.append("no voice for any language that can be translated into (pip install 'streamlation[espeak]')")
    return missing


def _spoken(pairs: list[str]) -> bool:
    targets = {pair.rpartition("-")[2] for pair in pairs}
    spoken = {language for entry in store.installed("piper") for language in entry.languages}
    return bool(targets & spoken) or "*" in targets


def _free(folder: Path) -> int:
    """Bytes free where the folder is or would be; 0 where unknown."""
    for place in (folder, *folder.parents):
        if place.is_dir():
            try:
                return shutil.disk_usage(place).free
            except OSError:
                return 0
    return 0


def _print(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")

    def row(title: str, text: str) -> None:
        table.add_row(Text(title), Text(text))  # as it is: brackets in it are no markup

    cpu = report["cpu"]
    row("streamlation", f"{report['version']}, Python {report['python']}, {report['system']}")
    row("processor", f"{cpu['model']}, {cpu['usable_cores']} of {cpu['logical_cores']} cores usable")
    row("features", " ".join(cpu["features"]) or "none that engines look for")
    row("memory", f"{human(report['memory_total_bytes'])}, {human(report['memory_free_bytes'])} free")
    for gpu in report["gpus"] or [None]:
        usable = "" if gpu is None or gpu["usable"] else ", not usable by the installed engines"
        row("GPU", f"{gpu['name']}, {human(gpu['memory_bytes'])}{usable}" if gpu else "none found")
    supported = ", ".join(report["compute_types"]) or "CTranslate2 is not installed"
    row("runs on", f"{report['device']}, {report['threads']} threads, {report['compute_type']} (of {supported})")
    row("preset", f"{report['preset']}: {report['preset_reason']}")
    for name, engine in report["engines"].items():
        versions = ", ".join(f"{package} {version}" for package, version in engine["versions"].items() if version)
        how = f"not installed; pip install 'streamlation[{engine['extra']}]'"
        row(f"engine {name}", versions if engine["installed"] else how)
    for model in report["models"]:
        row(
            f"model {model['model']}",
            f"{human(model['size_bytes'])}, {'checked' if model['checked'] else 'checked at first use'}, {model['path']}",
        )
    for problem in report["unreadable_models"]:
        row("model damaged", problem)
    row("translates", " ".join(report["pairs"]) or "nothing")
    row("speaks with", " ".join(report["voices"]) or "nothing")
    for name, folder in report["folders"].items():
        row(f"{name} folder", f"{folder['path']}, {human(folder['free_bytes'])} free")
    row("main job", "cannot run" if report["missing"] else "can run")
    console.print(table)
