"""Writes what is derived from the code: JSON Schemas, man pages, shell completion, the README's tables.

python tools/generate.py            writes them
python tools/generate.py --check    says what is out of date and exits 1
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from streamlation_cli import __version__
from streamlation_cli.cli import EXIT_STATUS, app, verb_command
from streamlation_cli.records import KNOWN, AnyRecord
from streamlation_cli.stages import VERBS

ROOT = Path(__file__).resolve().parent.parent

EXIT_MEANING = {
    0: "done",
    2: "the command line makes no sense",
    65: "bad, damaged or truncated data",
    66: "no such input",
    69: "a model, engine, language pair or service is not available",
    70: "a bug in streamlation",
    74: "writing failed: disk full, no permission",
    75: "it failed for now; trying again may work",
    78: "a profile or setting is wrong",
    130: "interrupted (SIGINT), what was done is kept",
    143: "terminated (SIGTERM), what was done is kept",
}


def schemas() -> Iterator[tuple[str, str]]:
    """A JSON Schema for each record, and one for any record."""
    for record in KNOWN:
        name = str(record.__struct_config__.tag)
        yield f"schemas/{name}.schema.json", _schema(record)
    yield "schemas/record.schema.json", _schema(AnyRecord)


def _schema(kind: object) -> str:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(kind)}
    return json.dumps(_without_indents(schema), indent=2, ensure_ascii=False) + "\n"


def _without_indents(node: Any) -> Any:
    """The schema with docstrings as msgspec writes them from version 0.23 on, whatever the version."""
    if isinstance(node, dict):
        return {
            key: inspect.cleandoc(value) if key == "description" and isinstance(value, str) else _without_indents(value)
            for key, value in node.items()
        }
    return [_without_indents(one) for one in node] if isinstance(node, list) else node


def man_pages() -> Iterator[tuple[str, str]]:
    """One page for the program and one for each verb."""
    rows = "".join(f".TP\n.BR streamlation-{verb.name} (1)\n{_roff(verb.summary)}\n" for verb in VERBS)
    statuses = "".join(f".TP\n.B {status}\n{_roff(meaning)}\n" for status, meaning in EXIT_MEANING.items())
    yield (
        "man/streamlation.1",
        _title("streamlation")
        + f".SH NAME\nstreamlation \\- {_roff(_first_line(app.help))}\n"
        + ".SH SYNOPSIS\n.B streamlation\n.I VERB\n[\n.I OPTIONS\n]\n"
        + f".SH DESCRIPTION\n{_roff(app.epilog or '')}\n.SH VERBS\n{rows}.SH EXIT STATUS\n{statuses}",
    )
    for verb in VERBS:
        yield f"man/streamlation-{verb.name}.1", _verb_page(verb.name, verb.summary, verb_command(verb))


def _verb_page(name: str, summary: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"streamlation {name}")
    usage = " ".join(command.collect_usage_pieces(context))
    body = "".join(_paragraph(text) for text in (command.help or "").split("\n\n")[1:])
    options = ""
    for parameter in command.params:
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record:
            options += f".TP\n.B {_roff(record[0])}\n{_roff(record[1])}\n"
    return (
        _title(f"streamlation-{name}")
        + f".SH NAME\nstreamlation-{name} \\- {_roff(summary)}\n.SH SYNOPSIS\n.B streamlation {name}\n{_roff(usage)}\n"
        + f".SH DESCRIPTION\n{body}.SH OPTIONS\n{options}.SH SEE ALSO\n.BR streamlation (1)\n"
    )


def _paragraph(text: str) -> str:
    if text.startswith("\b"):
        return ".PP\n.nf\n" + "\n".join(_roff(line) for line in text.removeprefix("\b\n").splitlines()) + "\n.fi\n"
    return ".PP\n" + _roff(" ".join(text.split())) + "\n"


def _title(name: str) -> str:
    return f'.TH {name.upper()} 1 "" "streamlation {__version__}" "User Commands"\n'


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0].rstrip(".")


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.MULTILINE)


def completions() -> Iterator[tuple[str, str]]:
    """Completion scripts; they ask the program itself, so a new flag needs no new script."""
    shells: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
    for suffix, shell in shells.items():
        complete = shell(app, {}, "streamlation", "_STREAMLATION_COMPLETE")
        yield f"completions/streamlation.{suffix}", (complete.source_template % complete.source_vars()).strip() + "\n"


def readme() -> Iterator[tuple[str, str]]:
    """The README with its generated tables put in anew."""
    text = (ROOT / "README.md").read_text("utf-8")
    verbs = "| verb | what it does |\n|---|---|\n" + "".join(f"| `{v.name}` | {v.summary} |\n" for v in VERBS)
    statuses = "| status | meaning |\n|---|---|\n" + "".join(f"| {s} | {m} |\n" for s, m in EXIT_MEANING.items())
    for name, table in (("verbs", verbs), ("exit statuses", statuses)):
        pattern = rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)"
        text, count = re.subn(pattern, lambda m, t=table: m[1] + t + m[2], text, flags=re.DOTALL)  # type: ignore[misc]
        if count != 1:
            raise SystemExit(f"README.md has no place for the generated table of {name}")
    yield "README.md", text


def main() -> int:
    """Writes or checks every generated file; returns the exit status."""
    missing = set(EXIT_STATUS.values()) - EXIT_MEANING.keys()
    if missing:
        raise SystemExit(f"no meaning is given for exit status {missing}")
    check = "--check" in sys.argv[1:]
    stale = []
    for make in (schemas, man_pages, completions, readme):
        for name, text in make():
            path = ROOT / name
            if path.is_file() and path.read_text("utf-8") == text:
                continue
            stale.append(name)
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, "utf-8")
    for name in stale:
        print(f"{'out of date' if check else 'wrote'}: {name}")
    if check and stale:
        print("run: make generate")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
