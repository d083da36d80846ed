"""Live: a pipe gets one plain line per finished job as it finishes, a terminal a moving display."""

from __future__ import annotations

import io
import os
import sys

import pytest

from batchexport.cli.progress import Watcher, wants_colour
from batchexport.cli.progress_state import Progress
from batchexport.core.edits import AppliedFix
from batchexport.core.errors import ExitCode
from batchexport.core.events import (
    JobFinished,
    ManifestFixed,
    Note,
    RunStarted,
    StageEstimate,
    StageFinished,
    StageStarted,
)
from batchexport.core.report import JobReport
from support.reports import built, cached, failure, job, run_report

BUILT = job("built@cpu", stages={"export": built(), "compile": cached()})
FAILED = job("bad@cpu", stages={}, error=failure())


class Stream(io.StringIO):
    """Remembers what had been flushed."""

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__()
        self.terminal = terminal
        self.flushed = ""

    def isatty(self) -> bool:
        return self.terminal

    def flush(self) -> None:
        self.flushed = self.getvalue()


class Closed(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


def finished(report: JobReport, done: int = 1, total: int = 9) -> JobFinished:
    return JobFinished(report=report, done=done, total=total)


# --- in a pipe


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("4", "5", 'fixed     zoo.toml:7: entry "gpt", dims.n: 4 → 5'),
        (None, "5", 'fixed     zoo.toml:7: entry "gpt", dims.n: added 5'),
        ("4", None, 'fixed     zoo.toml:7: entry "gpt", dims.n: removed 4'),
    ],
)
def test_a_change_of_the_manifest_is_one_line_even_where_little_is_printed(
    before: str | None, after: str | None, line: str
) -> None:
    stream = Stream()
    fix = AppliedFix(line=7, entry="gpt", key="dims.n", before=before, after=after)
    with Watcher(stream, quiet=True) as watcher:
        watcher(ManifestFixed(manifest="zoo.toml", fix=fix))
    assert stream.getvalue() == f"{line}\n"


def test_a_round_after_a_fix_counts_anew() -> None:
    progress = Progress()
    for event in (
        RunStarted(jobs=3, to_build=3, workers=1),
        finished(FAILED, 3, 3),
        RunStarted(jobs=1, to_build=1, workers=1),
    ):
        progress.on_event(event)
    assert "0/1 job" in progress.lines(5)[-1]
    assert "failed" not in progress.lines(5)[-1]


def test_each_finished_job_is_one_line() -> None:
    out = Stream()
    with Watcher(out) as watcher:
        watcher(finished(job("idle@cpu")))
        watcher(finished(BUILT))
    assert out.getvalue().splitlines() == [
        "ok        idle@cpu  cached",
        "ok        built@cpu  export 1.2s (first time)  compile cached",
    ]


def test_a_job_that_did_work_is_seen_at_once() -> None:
    out = Stream()
    watcher = Watcher(out)
    watcher(finished(BUILT))
    assert "built@cpu" in out.flushed


def test_a_failure_is_seen_at_once_in_one_line_and_in_full_at_the_end() -> None:
    out = Stream()
    with Watcher(out) as watcher:
        watcher(finished(FAILED))
        assert out.flushed == "failed    bad@cpu  toolchain: g++ is not on PATH\n"
        watcher.finish(run_report(FAILED, exit_code=ExitCode.JOB_FAILED))
    assert out.getvalue().count("error     g++ is not on PATH (stage: compile, kind: toolchain)") == 1


def test_cached_jobs_wait_in_the_buffer_only_while_nothing_runs() -> None:
    out = Stream()
    watcher = Watcher(out)
    watcher(finished(job("first")))
    assert out.flushed == ""
    watcher(StageStarted(job="slow", stage="compile", reason=""))
    assert "first" in out.flushed
    watcher(finished(job("second")))
    assert "second" in out.flushed


def test_the_end_is_the_summary() -> None:
    out = Stream()
    with Watcher(out) as watcher:
        watcher.finish(run_report(job()))
    assert out.getvalue().splitlines()[-1].endswith("report: dist/report.json")


def test_the_slowest_stages_are_told_before_the_summary() -> None:
    out = Stream()
    with Watcher(out, durations=1) as watcher:
        watcher.finish(run_report(BUILT))
    assert out.getvalue().splitlines()[1:3] == ["slowest 1 stage of 1", "     1.2s  export   built@cpu"]


def test_quiet_prints_failures_and_the_last_line_only(capsys: pytest.CaptureFixture[str]) -> None:
    out = Stream()
    with Watcher(out, quiet=True) as watcher:
        watcher(finished(BUILT))
        watcher(Note(text="never mind"))
        watcher(finished(FAILED))
        watcher.finish(run_report(BUILT, FAILED))
    lines = [line for line in out.getvalue().splitlines() if line]
    assert [line.split()[0] for line in lines] == ["failed", "1", "bad@cpu", "error", "2"]
    assert capsys.readouterr().err == ""


def test_quiet_leaves_expected_failures_out() -> None:
    out = Stream()
    expected = job("bad@cpu", error=failure(), expected=True)
    with Watcher(out, quiet=True) as watcher:
        watcher(finished(expected))
        watcher.finish(run_report(expected))
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["1"]


def test_verbose_adds_the_stages_and_their_reasons() -> None:
    out = Stream()
    with Watcher(out, verbose=True) as watcher:
        watcher(StageStarted(job="a", stage="export", reason="source: a.py changed"))
        watcher(StageFinished(job="a", stage="export", seconds=2.0))
        watcher(finished(job("b", stages={"export": cached("nothing changed")})))
    assert out.getvalue().splitlines() == [
        "started   a  export (source: a.py changed)",
        "ended     a  export after 2.0s",
        "ok        b  export cached (nothing changed)",
    ]


def test_a_note_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    out = Stream()
    Watcher(out)(Note(text="the index is damaged\x07"))
    assert capsys.readouterr().err == "note: the index is damaged\\x07\n"
    assert out.getvalue() == ""


def test_a_reader_that_goes_away_does_not_end_the_run() -> None:
    with Watcher(Closed()) as watcher:
        watcher(finished(BUILT))
        watcher.finish(run_report(BUILT))


# --- on a terminal


def test_a_run_with_nothing_to_build_shows_the_summary_and_leaves_rich_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    out = Stream(terminal=True)
    with Watcher(out) as watcher:
        watcher(RunStarted(jobs=1, to_build=0, workers=2))
        watcher(finished(job()))
        watcher.finish(run_report(job()))
    assert len(out.getvalue().splitlines()) == 1
    assert "rich" not in sys.modules


def test_running_stages_and_finished_jobs_are_shown() -> None:
    out = Stream(terminal=True)
    with Watcher(out) as watcher:
        watcher(RunStarted(jobs=2, to_build=2, workers=2, expected=30.0))
        watcher(StageStarted(job="slow@cpu", stage="compile", reason=""))
        watcher(finished(BUILT, done=1, total=2))
        watcher.finish(run_report(BUILT))
    text = out.getvalue()
    assert "slow@cpu" in text
    assert "1/2 jobs" in text
    assert "\x1b[32mok\x1b[0m" in text


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = Stream(terminal=True)
    with Watcher(out) as watcher:
        watcher(RunStarted(jobs=1, to_build=1, workers=1))
        watcher(finished(BUILT))
    assert "\x1b" not in out.getvalue()


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = Stream(terminal=True)
    assert not wants_colour(out)
    Watcher(out)(finished(FAILED))
    assert "\x1b" not in out.getvalue()


def test_failures_are_coloured() -> None:
    out = Stream(terminal=True)
    watcher = Watcher(out)
    watcher(finished(FAILED))
    watcher.finish(run_report(FAILED))
    assert out.getvalue().startswith("\x1b[1;31mfailed\x1b[0m    bad@cpu")
    assert "\x1b[1;31merror\x1b[0m     g++" in out.getvalue()


# --- progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_comes_from_history() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.on_event(RunStarted(jobs=4, to_build=4, workers=2, expected=60.0))
    clock.now += 20
    assert progress.remaining() == 40
    clock.now += 60
    assert progress.remaining() is None


def test_without_history_it_comes_from_the_pace_so_far() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.on_event(RunStarted(jobs=9, to_build=3, workers=2))
    progress.on_event(finished(job()))
    clock.now += 10
    assert progress.remaining() is None
    progress.on_event(finished(BUILT, done=2))
    assert progress.remaining() == 20


def started(*stages: tuple[str, str, float, bool], workers: int = 1) -> RunStarted:
    estimates = tuple(
        StageEstimate(job=job, stage=stage, seconds=left, known=known) for job, stage, left, known in stages
    )
    return RunStarted(jobs=len({one.job for one in estimates}), to_build=1, workers=workers, stages=estimates)


def test_the_time_left_is_that_of_the_stages_that_are_left() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.on_event(
        started(("a", "export", 10, True), ("a", "compile", 30, True), ("b", "export", 20, True), workers=2)
    )
    assert progress.remaining() == 40, "one job can't be shared by two workers"
    progress.on_event(StageStarted(job="a", stage="export", reason=""))
    clock.now += 4
    assert progress.remaining() == 36
    progress.on_event(StageFinished(job="a", stage="export", seconds=4.0))
    assert progress.lines(9)[-1].endswith(" 1/3 stages · 0/2 jobs · 4s · about 30s left")
    progress.on_event(finished(job("a"), total=2))
    assert progress.remaining() == 20
    assert " 2/3 stages · 1/2 jobs" in progress.lines(9)[-1]


def test_without_history_there_is_a_guess_that_follows_what_like_stages_take() -> None:
    progress = Progress(Clock())
    progress.on_event(started(("a", "export", 5, False), ("b", "export", 5, False)))
    assert progress.lines(9)[-1].endswith("~10s left")
    progress.on_event(StageStarted(job="a", stage="export", reason=""))
    progress.on_event(StageFinished(job="a", stage="export", seconds=2.0))
    assert progress.lines(9)[-1].endswith("~2s left")


def test_each_worker_keeps_its_line() -> None:
    progress = Progress(Clock())
    progress.on_event(started(("a", "compile", 26, False), ("b", "export", 3, True), ("c", "export", 0.3, True)))
    for name, stage in (("a", "compile"), ("b", "export")):
        progress.on_event(StageStarted(job=name, stage=stage, reason="never built"))
    progress.on_event(StageFinished(job="a", stage="compile", seconds=26.0))
    progress.on_event(StageStarted(job="c", stage="export", reason="never built"))
    progress.on_event(StageStarted(job="a", stage="compile", reason="retried"))
    assert progress.lines(9, 200)[:3] == [
        "  export        0s           c  never built",
        "  export        0s / 3s      b  never built",
        "  compile       0s           a  retried",
    ]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_bar_fits_the_terminal(width: int) -> None:
    progress = Progress(Clock())
    progress.on_event(started(*((f"{n}", "export", 2, False) for n in range(2000)), workers=2))
    progress.on_event(finished(FAILED, 1, 2000))
    assert len(progress.lines(9, width)[-1]) <= max(width, 70)


def test_the_display_lists_running_stages_with_their_time() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.on_event(RunStarted(jobs=9, to_build=9, workers=2))
    progress.on_event(StageStarted(job="a", stage="export", reason=""))
    clock.now += 3
    progress.on_event(StageStarted(job="b", stage="compile", reason=""))
    clock.now += 1
    progress.on_event(finished(FAILED, done=3))
    lines = progress.lines(room=10)
    assert lines[:2] == ["  export        4s           a", "  compile       1s           b"]
    assert lines[2].endswith("3/9 jobs · 1 failed · 4s · about 32s left")


def test_the_display_never_outgrows_its_room() -> None:
    progress = Progress(Clock())
    for number in range(50):
        progress.on_event(StageStarted(job=str(number), stage="export", reason=""))
    lines = progress.lines(room=6)
    assert len(lines) <= 6
    assert "  and 46 more" in lines


def test_a_stage_that_ended_is_not_shown() -> None:
    progress = Progress(Clock())
    progress.on_event(StageStarted(job="a", stage="export", reason=""))
    assert progress.busy
    progress.on_event(StageFinished(job="a", stage="export", seconds=1.0))
    assert not progress.busy
    assert len(progress.lines(room=6)) == 1


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_real_terminal_is_recognized() -> None:
    leader, follower = os.openpty()
    try:
        with open(follower, "w", closefd=False) as stream:
            assert wants_colour(stream)
    finally:
        os.close(leader)
        os.close(follower)
