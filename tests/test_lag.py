"""Latency from a sample's arrival to its text, and the reports on it."""

from __future__ import annotations

from streamlation_cli.lag import REPORT_EVERY_MS, WINDOW_MS, Lag, media_now_ms
from streamlation_cli.records import Header, Status


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def live(started_at: float | None = 1000.0) -> Header:
    return Header("a", proto=1, source="s", live=True, started_at=started_at)


def test_a_word_said_at_two_seconds_and_out_at_three_and_a_half_is_one_and_a_half_late() -> None:
    clock = Clock()
    lag = Lag(live(), "transcribe", clock)
    clock.now = 1003.5
    assert lag.emitted(2000) == 1003.5
    assert lag.percentiles() == {"lag_p50_ms": 1500, "lag_p95_ms": 1500}


def test_a_file_has_no_latency() -> None:
    lag = Lag(Header("a", proto=1, source="s"), "transcribe")
    assert lag.emitted(2000) is None
    assert [lag.report(at) for at in range(0, 100_000, 1000)] == [None] * 100


def test_a_live_source_without_a_start_time_still_stamps_records() -> None:
    clock = Clock()
    lag = Lag(live(started_at=None), "transcribe", clock)
    assert lag.emitted(2000) == 1000.0
    assert lag.percentiles() == {}


def test_a_report_is_due_every_ten_seconds_of_media() -> None:
    clock = Clock()
    lag = Lag(live(), "translate", clock)
    reports = []
    for at_ms in range(0, 35_000, 500):
        clock.now = 1000 + at_ms / 1000
        lag.emitted(at_ms - 1200 if at_ms % 1000 else at_ms - 800)
        reports.append(lag.report(at_ms, {"sentences": at_ms // 1000}))
    due = [report for report in reports if report is not None]
    assert len(due) == 3
    assert [report.counters["sentences"] for report in due] == [10, 20, 30]
    assert (due[0].stage, due[0].state, due[0].lag_ms) == ("translate", "running", 800)
    assert due[0].counters["lag_p50_ms"] == 800
    assert due[0].counters["lag_p95_ms"] == 1200
    assert due[0].emitted_at == 1010.0


def test_percentiles_forget_what_is_long_ago() -> None:
    clock = Clock()
    lag = Lag(live(), "translate", clock)
    clock.now = 1010.0
    lag.emitted(1000)
    clock.now = 1002.0 + WINDOW_MS / 1000
    lag.emitted(WINDOW_MS + 1001)
    assert lag.percentiles() == {"lag_p50_ms": 999, "lag_p95_ms": 999}


def test_a_clock_that_jumps_back_does_not_silence_the_reports() -> None:
    lag = Lag(live(), "translate", Clock())
    assert lag.report(3_600_000) is None
    assert lag.report(5000) is None
    assert lag.report(5000 + REPORT_EVERY_MS) is not None


def test_a_source_that_runs_ahead_of_the_clock_is_not_early() -> None:
    lag = Lag(live(), "translate", Clock())
    lag.emitted(500)
    assert lag.percentiles() == {"lag_p50_ms": 0, "lag_p95_ms": 0}


def test_a_record_that_does_not_say_when_it_was_made_is_no_jump_of_the_clock() -> None:
    lag = Lag(live(), "translate", Clock())
    reports = [lag.report(at) for second in range(30) for at in (second * 1000, None)]
    assert sum(report is not None for report in reports) == 2
    assert media_now_ms(Status("a", stage="ingest", state="running"), live()) is None
    assert media_now_ms(Status("a", stage="ingest", state="running", emitted_at=1002.5), live()) == 2500
