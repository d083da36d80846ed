"""The state of a run for the live display: what each worker does, how much is done, how long the rest takes. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from batchexport.cli import render
from batchexport.core.events import Event, JobFinished, RunStarted, StageEstimate, StageFinished, StageStarted
from batchexport.core.plan import wall_seconds
from batchexport.core.text import approximate_duration, clean, counted, format_duration

_BAR, _LEAST_BAR = 24, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    since: float
    reason: str


class Progress:
    """What is shown of a run, from its events. `clock` returns seconds.

    Each worker keeps its line: a stage takes the place of one that ended, so that the others stay where they are.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = clock()
        self._expected: float | None = None
        self._running: dict[tuple[str, str], _Running] = {}
        self._places: list[tuple[str, str] | None] = []
        self._done = self._total = self._failed = 0
        self._built = self._to_build = 0
        self._workers = 1
        self._stages = 0  # that may run
        self._left: dict[str, dict[str, StageEstimate]] = {}  # of them, by job: those that have not ended
        self._took: dict[str, tuple[float, int]] = {}  # seconds and number of the ended ones, by stage

    def on_event(self, event: Event) -> None:
        """Update the state from an event."""
        match event:
            case RunStarted():
                self._total, self._to_build, self._expected = event.jobs, event.to_build, event.expected
                self._done = self._failed = self._built = 0  # of an earlier round, before the manifest was fixed
                self._workers = max(event.workers, 1)
                self._stages = len(event.stages)
                self._left = {}
                for one in event.stages:
                    self._left.setdefault(one.job, {})[one.stage] = one
            case StageStarted():
                key = event.job, event.stage
                self._running[key] = _Running(since=self._clock(), reason=event.reason)
                free = next((place for place, taken in enumerate(self._places) if taken is None), None)
                if free is None:
                    self._places.append(key)
                else:
                    self._places[free] = key
            case StageFinished():
                self._end(event)
            case JobFinished():
                self._done, self._total = event.done, event.total
                self._failed += event.report.unexpected
                self._built += not render.is_idle(event.report)
                self._left.pop(event.report.name, None)

    def _end(self, event: StageFinished) -> None:
        key = event.job, event.stage
        self._running.pop(key, None)
        if key in self._places:
            self._places[self._places.index(key)] = None
        stages = self._left.get(event.job, {})
        stages.pop(event.stage, None)
        seconds, count = self._took.get(event.stage, (0.0, 0))
        self._took[event.stage] = seconds + event.seconds, count + 1

    @property
    def busy(self) -> bool:
        """Return True if a stage is running."""
        return bool(self._running)

    def remaining(self) -> float | None:
        """Return the expected seconds left: by history, by what like stages took, or by guess; None if unknown."""
        elapsed = self._clock() - self._started
        if self._stages:
            totals = [sum(map(self._left_of, stages)) for stages in self._open()]
            return wall_seconds(totals, self._workers) or None
        if self._expected is not None:
            return self._expected - elapsed if self._expected > elapsed else None
        if self._built and self._to_build > self._built:
            return elapsed / self._built * (self._to_build - self._built)
        return None

    def _left_of(self, one: StageEstimate) -> float:
        running = self._running.get((one.job, one.stage))
        return max(self._seconds(one) - (self._clock() - running.since if running else 0.0), 0.0)

    def _seconds(self, one: StageEstimate) -> float:
        """Return the expected seconds of a stage; without history what like stages took in this run, else a guess."""
        seconds, count = self._took.get(one.stage, (0.0, 0))
        return one.seconds if one.known or not count else seconds / count

    def _is_guess(self) -> bool:
        return any(not one.known for stages in self._open() for one in stages)

    def lines(self, room: int, width: int = 80) -> list[str]:
        """Return a line for each running stage, in at most `room` lines of `width` columns, and the bar below them."""
        now = self._clock()
        # Copied at once, as another thread changes it.
        running = [(key, one) for key in list(self._places) if key is not None and (one := self._running.get(key))]
        shown = running if len(running) < room else running[: max(room - 2, 0)]
        lines = [self._line(job, stage, one, now, width) for (job, stage), one in shown]
        if len(shown) < len(running):
            lines.append(f"  and {len(running) - len(shown)} more")
        parts = []
        if self._stages:
            parts.append(f"{self._ended()}/{counted(self._stages, 'stage')}")
        parts.append(f"{self._done}/{counted(self._total, 'job')}")
        parts += [f"{self._failed} failed"] if self._failed else []
        parts.append(_whole(now - self._started))
        left = self.remaining()
        if left is not None:
            guess = bool(self._stages) and self._is_guess()
            parts.append(f"{approximate_duration(left, guess=guess)} left")
        text = render.SEPARATOR.join(parts)
        return [*lines, f"{self._bar(width - len(text) - 1)} {text}"]

    def _line(self, job: str, stage: str, one: _Running, now: float, width: int) -> str:
        estimate = self._left.get(job, {}).get(stage)
        of = ""
        if estimate is not None and self._seconds(estimate) >= 1:
            of = f"/ {'' if estimate.known else '~'}{_whole(self._seconds(estimate))}"
        line = f"  {stage:<8} {_whole(now - one.since):>7} {of:<9} {clean(job)}"
        longer = f"{line}  {clean(one.reason)}"
        return longer if one.reason and len(longer) <= width else line

    def _ended(self) -> int:
        return self._stages - sum(map(len, self._open()))

    def _open(self) -> list[list[StageEstimate]]:
        """Return the stages that are left, by job: copied at once, as another thread changes them."""
        return [list(stages.values()) for stages in list(self._left.values())]

    def _bar(self, room: int) -> str:
        length = min(max(room, _LEAST_BAR), _BAR)
        done, total = (self._ended(), self._stages) if self._stages else (self._done, self._total)
        filled = length * done // total if total else 0
        return "━" * filled + "─" * (length - filled)


def _whole(seconds: float) -> str:
    """Return a duration without tenths of a second, which would flicker."""
    return f"{seconds:.0f}s" if seconds < 59.5 else format_duration(seconds)
