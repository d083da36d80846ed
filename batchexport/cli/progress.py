"""Show a run as it happens: a live display on a terminal, one plain line per finished job elsewhere.

rich is imported only when there is a terminal and something to build.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, TextIO

from batchexport.cli import render
from batchexport.cli.progress_state import Progress
from batchexport.cli.render_fixes import fix_lines
from batchexport.core.events import Event, JobFinished, ManifestFixed, Note, RunStarted, StageFinished, StageStarted
from batchexport.core.report import JobReport, RunReport
from batchexport.core.text import clean

_COLOURS = {
    "ok": "32",
    "failed": "1;31",
    "expected": "33",
    "skipped": "33",
    "fixed": "36",
    "cancelled": "33",
    "started": "2",
    "ended": "2",
    "error:": "1;31",
}


def is_terminal(stream: TextIO) -> bool:
    """Return True if `stream` is a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def wants_colour(stream: TextIO) -> bool:
    """Return True if lines on `stream` may be coloured; NO_COLOR (https://no-color.org) is honoured."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def silence(stream: TextIO) -> None:
    """Discard what is still written to `stream` after its reader has closed it."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):
        pass


class Watcher:
    """The listener that prints: a context manager around the run. `finish` prints the end."""

    def __init__(
        self,
        out: TextIO,
        *,
        base: str = "",
        quiet: bool = False,
        verbose: bool = False,
        live: bool | None = None,
        durations: int | None = None,
        idle: bool | None = None,
    ) -> None:
        """Print to `out`; `idle`: print jobs that had nothing to do, too, as is done where there is no terminal."""
        self._out = out
        self._base = base
        self._quiet = quiet
        self._verbose = verbose
        self._durations = durations
        self._terminal = is_terminal(out)
        self._colour = wants_colour(out)
        self._idle = (verbose or not self._terminal) if idle is None else idle
        self._live = (self._terminal if live is None else live) and not quiet
        self._display: Any = None
        self._progress = Progress()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._flush()

    def __call__(self, event: Event) -> None:
        """Print an event."""
        self._progress.on_event(event)
        match event:
            case RunStarted(to_build=to_build) if to_build:
                self._start()
            case JobFinished(report=report):
                self._job(report)
            case Note(text=text) if not self._quiet:
                self._flush()
                sys.stderr.write(f"note: {clean(text)}\n")
            case ManifestFixed():
                self._print(fix_lines(event.fix, event.manifest))
                self._flush()
            case StageStarted() if self._verbose:
                self._print([render.stage_started_line(event.job, event.stage, event.reason)])
            case StageFinished() if self._verbose:
                self._print([render.stage_finished_line(event.job, event.stage, event.seconds)])
        if isinstance(event, StageStarted):
            self._start()
            self._flush()

    def finish(self, report: RunReport) -> None:
        """Print the end of a run; the last line is the summary."""
        self._stop()
        lines = render.all_failure_lines(report, base=self._base)
        if self._durations is not None:
            slowest = render.duration_lines(report, self._durations)
            lines += ["", *slowest] if slowest and not lines else slowest
        lines += render.key_lines(report) if self._verbose else []
        self._print([*lines, render.summary_line(report)])
        self._flush()

    def _job(self, report: JobReport) -> None:
        idle = render.is_idle(report)
        if not report.unexpected and (self._quiet or (idle and not self._idle)):
            return
        self._print(render.job_lines(report, base=self._base, reasons=self._verbose))
        # A no-op run prints thousands of lines at once, so it is left to the buffer when to flush.
        if not idle or self._progress.busy:
            self._flush()

    def _print(self, lines: Sequence[str]) -> None:
        if self._colour:
            lines = [_coloured(line) for line in lines]
        if self._display is not None:
            from rich.text import Text

            for line in lines:
                self._display.console.print(Text.from_ansi(line), soft_wrap=True)
            return
        try:
            self._out.write("\n".join(lines) + "\n")
        except BrokenPipeError:  # the run goes on, for its outputs and its report
            silence(self._out)

    def _flush(self) -> None:
        try:
            self._out.flush()
        except BrokenPipeError:
            silence(self._out)

    def _start(self) -> None:
        if not self._live or self._display is not None:
            return
        from rich.console import Console, Group
        from rich.live import Live
        from rich.text import Text

        self._flush()
        console = Console(file=self._out, highlight=False)

        def frame() -> Group:
            lines = self._progress.lines(room=max(console.height // 2, 3), width=console.width)
            return Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))

        self._display = Live(console=console, get_renderable=frame, transient=True, refresh_per_second=4)
        self._display.start()

    def _stop(self) -> None:
        if self._display is not None:
            self._display.stop()
            self._display = None


def _coloured(line: str) -> str:
    word, space, rest = line.partition(" ")
    if word in _COLOURS:
        return f"\x1b[{_COLOURS[word]}m{word}\x1b[0m{space}{rest}"
    label, _, _ = line.strip().partition(" ")
    return line.replace(label, f"\x1b[{_COLOURS['error:']}m{label}\x1b[0m", 1) if label == "error" else line
