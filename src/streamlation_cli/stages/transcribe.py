"""Recognise speech: `pcm` records in, final `transcript` records with word times out.

Speech is found by voice activity detection, cut into utterances at pauses, and recognised many utterances at a time. Each transcript
carries its language, a confidence, and its words with times. What is not speech (silence, noise, music) gives no text.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..engines import StubOptions
from ..errors import UsageError
from ..languages import AUTO
from ..options import option
from ..records import Header
from ..sessions import Handler, Stage, by_session

STAGE = "transcribe"

LEAST_LONGEST_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Options(StubOptions):
    """Options of `transcribe`."""

    from_: str = option("--from", AUTO, metavar="LANG", shared=True, help="spoken language, or auto to detect it")
    engine: str = option("--engine", "whisper", metavar="NAME", help="whisper or stub")
    model: str = option(
        "--model", "base", metavar="NAME|PATH", help="Whisper model: a name in the store or a directory"
    )
    task: str = option(
        "--task", "transcribe", choices=("transcribe", "translate"), help="translate makes English text of any language"
    )
    preset: str = option(
        "--preset", "balanced", choices=("latency", "balanced", "accuracy"), shared=True, help="what matters most"
    )
    initial_prompt: str = option("--initial-prompt", "", metavar="TEXT", help="text that sets the style and the names")
    hotwords: str = option("--hotwords", "", metavar="WORDS", help="words that are likely to be said")
    batch_size: int = option(
        "--batch-size", 0, metavar="N", minimum=0, maximum=256, help="utterances recognised together; 0: by the preset"
    )
    beam_size: int = option("--beam-size", 0, metavar="N", minimum=0, maximum=100, help="0: by the preset")
    longest_s: float = option(
        "--longest", 0.0, metavar="SECONDS", minimum=0, maximum=28, help="longest utterance; 0: by the preset"
    )
    device: str = option("--device", "auto", choices=("auto", "cpu", "cuda"), shared=True, help="where engines run")
    compute_type: str = option(
        "--compute-type",
        "",
        metavar="TYPE",
        shared=True,
        help="such as int8, int8_float16 or float32; fastest by default",
    )
    threads: int = option("--threads", 0, metavar="N", minimum=0, shared=True, help="CPU threads; 0: one a core")
    live: bool = option(
        "--live", False, shared=True, help="transcribe while it is spoken: words are committed as they come"
    )
    target_latency: float = option(
        "--target-latency", 0.0, metavar="SECONDS", minimum=0, maximum=60, shared=True,
        help="with --live: how late 95 % of the words, or live HLS, may be; it is said when they are later; 0: no wish",
    )  # fmt: skip
    speakers: str = option(
        "--speakers", "", metavar="N|auto",
        help="tell speakers apart: how many there are at most, or auto; needs the model speaker/ge2e, not with --live",
    )  # fmt: skip
    keep_audio: bool = option("--keep-audio", False, help="pass the pcm records on")


def stage(options: Options) -> Stage:
    """Recognises the speech of each session; sessions share one loaded model.

    Raises UsageError for utterances shorter than LEAST_LONGEST_S.
    """
    if 0 < options.longest_s < LEAST_LONGEST_S:
        raise UsageError(f"--longest {options.longest_s:g}: it must be at least {LEAST_LONGEST_S:g} seconds")
    most = _most_speakers(options)
    from .. import transcribing

    def make(header: Header) -> Handler:
        return transcribing.live(header, options) if options.live else transcribing.Transcribing(header, options, most)

    return by_session(STAGE, make)


def attentive(options: Options) -> bool:
    """Whether what is decoded in other threads is to go out when it is there."""
    return options.live


def _most_speakers(options: Options) -> int | None:
    """What `--speakers` says: 0 for as many as there are, None where nobody is to be told apart. Raises UsageError."""
    if not options.speakers:
        return None
    if options.live:
        raise UsageError(
            "--speakers tells whole utterances apart, which --live does not wait for; leave one of them out"
        )
    if options.speakers == AUTO:
        return 0
    if options.speakers.isdecimal() and 1 <= int(options.speakers) <= 99:
        return int(options.speakers)
    raise UsageError(f"--speakers {options.speakers}: it must be a number from 1 to 99, or {AUTO}")
