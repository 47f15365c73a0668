"""Options declared once: a frozen dataclass a stage, from which flags, variables, profiles, help, man pages and
completion are derived, and which `run` composes.

    @dataclass(frozen=True, kw_only=True)
    class Options:
        to: str = option("--to", "", metavar="LANG", help="language to translate into")
        batch: int = option("--batch", 16, minimum=1, help="sentences translated together")

A value comes from the flag, else from `STREAMLATION_VERB_FLAG`, else from `STREAMLATION_FLAG`, else from the profile's
`[verb]` table, else from the profile's top level, else it is the default here.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from .errors import ConfigError, UsageError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Flag:
    """How one field of an options class appears on the command line."""

    name: str
    """Long flag with its dashes, or the metavar of a positional argument."""
    short: str = ""
    help: str = ""
    metavar: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    positional: bool = False
    repeatable: bool = False
    shared: bool = False
    """The flag means the same in every stage: `run` takes it once for all of them."""
    own: bool = False
    """Another verb's flag of this name means something else, so only `STREAMLATION_VERB_FLAG` and the profile's `[verb]` set it."""
    rare: bool = False
    """Shown after the others."""
    once: str = ""
    """Why it is refused twice; empty where the last one holds."""
    kind: type = str
    default: Any = None


def option(
    name: str,
    default: T,
    *,
    short: str = "",
    help: str = "",
    metavar: str = "",
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    repeatable: bool = False,
    shared: bool = False,
    own: bool = False,
    rare: bool = False,
    once: str = "",
    kind: type | None = None,
) -> T:
    """A dataclass field with a flag; the value's type follows the default's unless `kind` says otherwise.

    A repeatable option's default is a tuple and its `kind` is the type of one value.
    """
    flag = Flag(
        name=name, short=short, help=help, metavar=metavar, choices=choices, minimum=minimum, maximum=maximum,
        repeatable=repeatable, shared=shared, own=own, rare=rare, once=once, default=default,
        kind=kind or (str if default is None or repeatable else type(default)),
    )  # fmt: skip
    return dataclasses.field(default=default, metadata={"flag": flag})


def argument(name: str, default: T, *, help: str = "", choices: tuple[str, ...] = (), repeatable: bool = False) -> T:
    """A dataclass field that is a positional argument, such as `INPUT`."""
    flag = Flag(name=name, help=help, choices=choices, positional=True, repeatable=repeatable)
    return dataclasses.field(default=default, metadata={"flag": flag})


def flags_of(options_class: type) -> dict[str, Flag]:
    """Field name → flag, in the order of declaration, rare ones last."""
    flags = {f.name: f.metadata["flag"] for f in dataclasses.fields(options_class) if "flag" in f.metadata}
    return dict(sorted(flags.items(), key=lambda item: item[1].rare))


def key_of(flag: Flag) -> str:
    """How a flag is called in a profile: `--max-chars` is `max_chars`.

    >>> key_of(Flag(name="--max-chars"))
    'max_chars'
    """
    return flag.name.lstrip("-").replace("-", "_")


def check(flag: Flag, value: Any, where: str) -> Any:
    """`value` as the flag's type; raises UsageError (ConfigError from a profile or variable) that says what is allowed."""
    wrong = UsageError if where.startswith("-") or flag.positional else ConfigError
    if flag.repeatable:
        values = value if isinstance(value, list | tuple) else [value]
        return tuple(_check_one(flag, one, where, wrong) for one in values)
    return _check_one(flag, value, where, wrong)


_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}


def _check_one(flag: Flag, value: Any, where: str, wrong: type[UsageError] | type[ConfigError]) -> Any:
    try:
        if flag.kind is bool:
            if isinstance(value, bool):
                return value
            text = str(value).lower()
            if text not in _TRUE | _FALSE:
                raise ValueError("yes or no is meant")
            return text in _TRUE
        converted = flag.kind(value)
    except (TypeError, ValueError):
        kind = {int: "a whole number", float: "a number", bool: "yes or no"}.get(flag.kind, "text")
        raise wrong(f"{where}: {value!r} is not {kind}") from None
    if flag.choices and converted not in flag.choices:
        raise wrong(f"{where}: {value!r} is not one of {', '.join(flag.choices)}")
    if flag.kind in (int, float):
        if converted != converted:  # NaN compares with nothing
            raise wrong(f"{where}: {value!r} is not a number")
        if (flag.minimum is not None and converted < flag.minimum) or (
            flag.maximum is not None and converted > flag.maximum
        ):
            bounds = (
                f"at least {flag.minimum:g}"
                if flag.maximum is None
                else f"from {flag.minimum or 0:g} to {flag.maximum:g}"
            )
            raise wrong(f"{where}: {value} is out of range; it must be {bounds}")
    return converted


def settings(verb: str, options_class: type, given: Mapping[str, Any], profile: Mapping[str, Any]) -> Any:
    """An instance of `options_class`: `given` (field → value from the command line) over variables over the profile.

    Raises UsageError or ConfigError that names the flag, variable or profile key whose value is wrong.
    """
    values: dict[str, Any] = {}
    table = profile.get(verb, {})
    for field, flag in flags_of(options_class).items():
        key = key_of(flag)
        if field in given:
            values[field] = check(flag, given[field], flag.name)
            continue
        if flag.positional:
            continue
        for variable in (f"STREAMLATION_{verb}_{key}".upper(), *([] if flag.own else [f"STREAMLATION_{key}".upper()])):
            if variable in os.environ:
                text = os.environ[variable]
                values[field] = check(flag, text.split(os.pathsep) if flag.repeatable else text, f"${variable}")
                break
        else:
            if key in table:
                values[field] = check(flag, table[key], f"profile key {verb}.{key}")
            elif not flag.own and key in profile and not isinstance(profile[key], dict):
                values[field] = check(flag, profile[key], f"profile key {key}")
    return options_class(**values)


_TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)")


def parse_time(flag: str, text: str) -> int:
    """Milliseconds of `90`, `1:30`, `0:01:30.5`; raises UsageError that names the flag.

    >>> parse_time("--start", "90.25"), parse_time("--start", "1:01:30")
    (90250, 3690000)
    """
    match = _TIME.fullmatch(text.strip())
    if not match:
        raise UsageError(f"{flag}: {text!r} is no time; write seconds (90.5) or HH:MM:SS.mmm (00:01:30.500)")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    if match[2] is not None and (seconds >= 60 or (match[1] is not None and minutes >= 60)):
        raise UsageError(f"{flag}: {text!r} is no time: minutes and seconds go up to 59")
    return round(((hours * 60 + minutes) * 60 + seconds) * 1000)
