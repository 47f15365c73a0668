"""How well a dub fits its source, counted utterance by utterance: for a status record and for `--report FILE`."""

from __future__ import annotations

import json
from array import array
from typing import Any

from ..artefacts import Artefact
from ..measuring.distribution import percentile
from ..records import Header, Speech


class Report:
    """One session's dub: two numbers an utterance, and with `detailed` a row each."""

    def __init__(self, header: Header, *, detailed: bool) -> None:
        self._header = header
        self._detailed = detailed
        self._rows: list[dict[str, Any]] = []
        self._dropped_rows: list[dict[str, Any]] = []
        self._drifts_ms = array("l")
        self._tempos = array("d")
        self._voices: set[str] = set()
        self._shortened = self._dropped = 0
        self._speech_ms = 0
        self._overlaps = 0
        self._free_ms = 0
        """When the voice so far is over."""
        self._counted_to_ms = 0
        """Until when dead air is counted."""
        self._dead_air_ms = 0
        self._longest_dead_air_ms = 0

    def spoken(self, speech: Speech, source_start_ms: int, source_end_ms: int) -> None:
        """An utterance was spoken; they come in order of time."""
        self._speech_ms += speech.end_ms - speech.start_ms
        self._overlaps += speech.start_ms < self._free_ms
        # What the source says while the voice is silent: before this utterance, as far as no other one spoke there.
        self._silent(max(source_start_ms, self._free_ms), min(speech.start_ms, source_end_ms))
        self._silent(max(speech.end_ms, source_start_ms), source_end_ms)
        self._free_ms = max(self._free_ms, speech.end_ms)
        self._drifts_ms.append(speech.drift_ms)
        self._tempos.append(speech.tempo)
        self._voices.add(speech.voice)
        self._shortened += bool(speech.text)
        if not self._detailed:
            return
        row: dict[str, Any] = {
            "id": speech.id, "source_start_ms": source_start_ms, "source_end_ms": source_end_ms,
            "start_ms": speech.start_ms, "end_ms": speech.end_ms, "tempo": speech.tempo, "drift_ms": speech.drift_ms,
            "voice": speech.voice,
        }  # fmt: skip
        if speech.speaker:
            row["speaker"] = speech.speaker
        if speech.text:
            row["shortened_to"] = speech.text
        self._rows.append(row)

    def dropped(self, id: str, source_start_ms: int, source_end_ms: int, why: str) -> None:
        """An utterance was left out."""
        self._silent(max(source_start_ms, self._free_ms), source_end_ms)
        self._dropped += 1
        if self._detailed:
            self._dropped_rows.append(
                {"id": id, "source_start_ms": source_start_ms, "source_end_ms": source_end_ms, "reason": why}
            )

    def _silent(self, from_ms: int, to_ms: int) -> None:
        silent_ms = to_ms - max(from_ms, self._counted_to_ms)
        if silent_ms > 0:
            self._counted_to_ms = to_ms
            self._dead_air_ms += silent_ms
            self._longest_dead_air_ms = max(self._longest_dead_air_ms, silent_ms)

    def counters(self) -> dict[str, int | float]:
        """The whole in numbers: `drift` is how late the dub was, `dead_air` how long the source spoke and the dub did not."""
        drifts, tempos = self._drifts_ms, self._tempos
        return {
            "utterances": len(drifts),
            "speech_ms": self._speech_ms,
            "tempo_p50": percentile(tempos, 50) or 1.0,
            "tempo_max": max(tempos, default=1.0),
            "drift_p50_ms": int(percentile(drifts, 50) or 0),
            "drift_p95_ms": int(percentile(drifts, 95) or 0),
            "worst_drift_ms": max(drifts, default=0),
            "overlaps": self._overlaps,
            "dead_air_ms": self._dead_air_ms,
            "longest_dead_air_ms": self._longest_dead_air_ms,
            "shortened": self._shortened,
            "dropped": self._dropped,
        }

    def write(self, target: str) -> None:
        """Writes the report as JSON. Raises OutputFailed."""
        document = {
            "session": self._header.session, "source": self._header.source, **self.counters(),
            "voices": sorted(self._voices), "spoken": self._rows, "not_spoken": self._dropped_rows,
        }  # fmt: skip
        artefact = Artefact(target)
        artefact.write(json.dumps(document, ensure_ascii=False, indent=1).encode() + b"\n")
        artefact.commit()
