"""The command line: built from the table of verbs, and the only place that turns errors into exit statuses."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from . import __version__
from .errors import OutputFailed, StreamlationError
from .options import Flag, flags_of, settings
from .stages import BY_NAME, VERBS, Verb

EXIT_STATUS = {
    "usage": 2,
    "data": 65,
    "malformed": 65,
    "truncated": 65,
    "protocol": 65,
    "damaged": 65,
    "no-input": 66,
    "unavailable": 69,
    "model-missing": 69,
    "model-damaged": 69,
    "pair-missing": 69,
    "offline": 69,
    "internal": 70,
    "output": 74,
    "temporary": 75,
    "config": 78,
    "interrupted": 130,
    "terminated": 143,
}
"""Error code → exit status, by sysexits.h where it has one."""


def exit_status(code: str | None) -> int:
    """The exit status of an error code; a code from a newer version upstream counts as bad data.

    >>> exit_status(None), exit_status("no-input")
    (0, 66)
    """
    return 0 if code is None else EXIT_STATUS.get(code, 65)


class _Group(click.Group):
    """The verbs, each imported when it is asked for."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return [verb.name for verb in VERBS]

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        verb = BY_NAME.get(name)
        return verb_command(verb) if verb is not None else None

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(verb.name, verb.summary) for verb in VERBS])


_COMMON: tuple[click.Option, ...] = (
    click.Option(["--json", "output_form"], flag_value="json", help="Write records even to a terminal."),
    click.Option(["--text", "output_form"], flag_value="text", help="Write lines for people even to a pipe."),
    click.Option(
        ["--profile"], metavar="NAME|FILE", help="Settings from a profile: production, development, testing, ci."
    ),
    click.Option(["--events"], metavar="FILE|FD", help="Write status, header, error and eos records here as well."),
    click.Option(
        ["--log-format"], type=click.Choice(["text", "json"]), default="text", help="Form of messages on stderr."
    ),
    click.Option(["-v", "--verbose"], count=True, help="Say more on stderr; twice for debugging."),
    click.Option(["-q", "--quiet"], is_flag=True, help="Say nothing but errors on stderr."),
)
_COMMON_NAMES = ("output_form", "profile", "events", "log_format", "verbose", "quiet")


def verb_command(verb: Verb) -> click.Command:
    """The click command of one verb, its parameters derived from the module's `Options`."""
    module = verb.module()
    parameters = [one for field, flag in flags_of(module.Options).items() for one in _parameters(field, flag)]
    own = {name for parameter in parameters for name in parameter.opts}
    # A verb's own flag of the same name wins: `subtitle --text both` is about which text.
    parameters += [common for common in _COMMON if own.isdisjoint(common.opts)]

    def callback(**given: Any) -> int:
        common = {name: given.pop(name) for name in _COMMON_NAMES}
        return _run_verb(verb, {field: value for field, value in given.items() if value not in (None, ())}, common)

    summary = verb.summary[0].upper() + verb.summary[1:] + "."
    return click.Command(
        verb.name,
        params=parameters,
        callback=callback,
        help=f"{summary}\n\n{_body(module.__doc__)}",
        short_help=verb.summary,
    )


def _body(docstring: str | None) -> str:
    """A module's docstring without its first paragraph; indented blocks keep their lines."""
    paragraphs = (docstring or "").strip().split("\n\n")[1:]
    return "\n\n".join(f"\b\n{p}" if p.startswith(("  ", "- ")) else p for p in paragraphs)


def _parameters(field: str, flag: Flag) -> list[click.Parameter]:
    if flag.positional:
        return [click.Argument([field], nargs=-1 if flag.repeatable else 1, required=False, metavar=flag.name)]
    names = [flag.short, flag.name] if flag.short else [flag.name]
    if flag.kind is bool:
        yes = click.Option([*names, field], is_flag=True, flag_value=True, default=None, help=flag.help)
        # The opposite undoes a variable's or a profile's yes; help need not say it for each flag.
        no = click.Option([f"--no-{flag.name[2:]}", field], is_flag=True, flag_value=False, default=None, hidden=True)
        return [yes, no]
    metavar = flag.metavar or (
        "|".join(flag.choices) if flag.choices else {int: "N", float: "X"}.get(flag.kind, "TEXT")
    )
    # 0 and nothing stand for "by the preset" or "none", which the flag's own words say.
    shown = f"{flag.help} [{flag.default}]" if flag.default not in (None, "", 0, ()) else flag.help
    if flag.once:
        return [click.Option([*names, field], multiple=True, callback=_only_one(flag), metavar=metavar, help=shown)]
    return [click.Option([*names, field], multiple=flag.repeatable, default=None, metavar=metavar, help=shown)]


def _only_one(flag: Flag) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], str | None]:
    def value(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> str | None:
        if len(given) > 1:
            raise click.UsageError(f"{flag.name} {f' {flag.name} '.join(given)}: {flag.once}")
        return given[0] if given else None

    return value


def _run_verb(verb: Verb, given: dict[str, Any], common: dict[str, Any]) -> int:
    from . import runtime, stdio

    if verb.kind != "tool":
        stdio.guard()
    profile = runtime.load_profile(common["profile"])
    runtime.configure_logging(common)
    module = verb.module()
    options = settings(verb.name, module.Options, given, profile)
    try:
        with runtime.Events(common["events"]) as events:
            if verb.kind == "tool":
                return int(module.command(options, runtime.wants_text(common["output_form"])))
            if verb.kind == "chain":
                chain = runtime.Chain(profile, events, common["output_form"], bool(common["quiet"]))
                code = module.command(options, chain)
            else:
                code = runtime.run_stage(verb, options, events, common["output_form"])
    except BrokenPipeError:  # caught here: click would make it exit status 1
        stdio.discard_stdout()
        return 0
    return exit_status(code)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Each verb reads and writes newline-delimited JSON records, so they are joined with pipes; `run` joins them for you.",
)
@click.version_option(__version__, prog_name="streamlation")
def app() -> None:
    """Speech in one language to captions and speech in another, on your own machine."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The `streamlation` program."""
    sys.exit(_main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    from . import stdio

    try:
        return app.main(args=arguments, prog_name="streamlation", standalone_mode=False) or 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        where = (
            error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx is not None else "streamlation"
        )
        return _fail(where, error.format_message(), "usage" if error.exit_code == 2 else "no-input")
    except StreamlationError as error:
        if isinstance(error, OutputFailed):
            stdio.discard_stdout()
        return _fail("streamlation", error.message, error.code)
    except (stdio.Interrupted, KeyboardInterrupt, click.Abort) as stop:
        return exit_status(getattr(stop, "code", "interrupted"))


def _fail(where: str, message: str, code: str) -> int:
    click.echo(f"{where}: {' '.join(message.split())}", err=True)
    return exit_status(code)
