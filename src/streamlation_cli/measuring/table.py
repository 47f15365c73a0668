"""The report as a table for people."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from ..models.folders import human

Row = tuple[str, str]


def show(report: dict[str, Any]) -> None:
    """Prints the report's figures; those that are null are left out."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for what, value in rows(report):
        table.add_row(Text(what), Text(value, style="red" if what == "broken promises" else ""))
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def rows(report: dict[str, Any]) -> Iterator[Row]:
    """What is measured, and the figures in words."""
    streams = f", {report['streams']} streams at once" if report["streams"] > 1 else ""
    yield "recording", f"{report['audio']}, {report['audio_s']:.1f} s{streams}"
    yield "system", report["system"]
    if report["soak"]["media_hours"] is not None:
        yield from _soak(report["soak"])
    else:
        yield from _text(report)
        yield from _translation(report)
    yield from _resources(report["resources"])
    yield from _output(report)


def _text(report: dict[str, Any]) -> Iterator[Row]:
    wer = report["wer"]
    if wer["percent"] is not None:
        counts = f"{wer['substitutions']} substituted, {wer['deletions']} deleted, {wer['insertions']} inserted"
        yield "word error rate", f"{wer['percent']:.1f} % of {wer['reference_words']} words ({counts})"
        if report["streams"] > 1:
            yield "  worst stream", f"{wer['worst_stream_percent']:.1f} %"
        if wer["file_mode_percent"] is not None:
            yield "  of file mode", f"{wer['file_mode_percent']:.1f} %"
        if wer["offline_percent"] is not None:
            over = f"{wer['points_over_offline']:+.1f} points"
            yield "  over offline", f"{over} (faster-whisper, sequential, beam 5: {wer['offline_percent']:.1f} %)"
    elif wer["reference_words"] == 0:
        yield "words where none is said", str(wer["insertions"])
    yield from _latency("commit latency", report["commit_latency"])
    yield from _latency("first appearance", report["first_appearance_latency"])
    if report["latency_words"]["matched_share"] is not None:
        share = report["latency_words"]["matched_share"]
        yield "  measured on", f"{share:.0%} of the {report['latency_words']['offline']} words of the offline pass"
    for kind, what in (("transcripts", "erasure"), ("translations", "  of translations"), ("cues", "  of captions")):
        erasure = report["erasure"][kind]
        if erasure["normalized"] is not None:
            aside = f"{erasure['normalized_case_and_punctuation_aside']:.2f} case and punctuation aside"
            yield what, f"{erasure['normalized']:.2f} of the final words ({aside})"


def _latency(what: str, latency: dict[str, Any]) -> Iterator[Row]:
    if latency["count"]:
        figures = ", ".join(f"{name} {latency[f'{name}_s']:.2f}" for name in ("p50", "p95", "max"))
        worst = latency.get("worst_stream_p95_s")
        more = f"; worst stream p95 {worst:.2f}" if worst is not None and worst != latency["p95_s"] else ""
        yield what, f"{figures} s over {latency['count']} words{more}"


def _translation(report: dict[str, Any]) -> Iterator[Row]:
    score = report["translation"]
    if score["chrf"] is not None:
        yield "translation", f"BLEU {score['bleu']:.1f}, chrF {score['chrf']:.1f}"
        if score["offline_chrf"] is not None:
            over = f"{score['chrf_points_over_offline']:+.1f} points"
            yield "  over offline", f"{over} (the final transcript translated whole: chrF {score['offline_chrf']:.1f})"
        unaware, aware = score["stream_laal_s"], score["stream_laal_ca_s"]
        if aware is not None:
            more = f" ({unaware:.2f} s computation-unaware)" if unaware is not None else ""
            yield "  StreamLAAL", f"{aware:.2f} s computation-aware{more}"
    yield from _latency("sample to caption", report["cues"]["word_latency"])


def _soak(soak: dict[str, Any]) -> Iterator[Row]:
    yield "fed", f"{soak['media_hours']:.2f} hours of audio, {soak['speed'] or 0:.0f} times as fast as it was recorded"
    yield "committed", f"{soak['committed_words']} words"
    if soak["rss_bytes_slope_per_hour"] is not None:
        change = f"{soak['rss_bytes_slope_per_hour'] / 1e6:+.2f} MB an hour of audio"
        yield "memory", f"{human(soak['rss_bytes_settled'])} → {human(soak['rss_bytes_end'])}, {change}"
        change = f"{soak['handles_slope_per_hour']:+.2f} an hour"
        yield "open handles", f"{soak['handles_settled']} → {soak['handles_end']}, {change}"
    for hour in soak["hours"]:
        most = f"at most {human(hour['rss_bytes_max'])} and {hour['handles_max']} handles"
        yield f"  hour {hour['hour']}", f"{most}, in {hour['wall_s']:.0f} s"


def _resources(resources: dict[str, Any]) -> Iterator[Row]:
    per_second = f"{resources['cpu_s_per_audio_s']:.2f} CPU s per audio s"
    yield "processor", f"{per_second} ({resources['cpu_s_per_audio_s_after_startup']:.2f} after start-up)"
    largest = f"largest process {human(resources['peak_process_bytes'])}"
    many = f", {resources['processes']} processes together {human(resources['peak_sum_bytes'] or 0)}"
    yield "peak memory", largest + (many if resources["processes"] > 1 else "")
    if resources["feed_late_s"] is not None and resources["feed_late_s"] > 0.1:
        yield "back-pressure", f"samples were taken up to {resources['feed_late_s']:.2f} s late"


def _output(report: dict[str, Any]) -> Iterator[Row]:
    broken = {rule: count for rule, count in report["violations"].items() if rule != "total" and count}
    if broken:
        yield "broken promises", ", ".join(f"{rule.replace('_', ' ')}: {count}" for rule, count in broken.items())
    else:
        yield "promises", "all kept"
    output = report["output"]
    if output["garbage_lines"]:
        yield "garbage", f"{output['garbage_lines']} of {output['lines']} lines: {' '.join(output['garbage'])}"
    for error in output["errors"]:
        yield "error", error
