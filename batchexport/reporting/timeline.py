"""Record when each stage of a run began and ended, and on which worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from batchexport.core.events import Event, Listener, StageFinished, StageStarted


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One stage of one job: its start and end in seconds since the run began, and its worker, counted from 0."""

    job: str
    stage: str
    reason: str
    start: float
    end: float
    worker: int


class Timeline:
    """A listener that adds the spans of a run to `spans`, and passes each event on.

    `clock` returns seconds; `began` is its time when the run began.
    """

    def __init__(
        self, listener: Listener, spans: list[Span], *, began: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._listener = listener
        self._clock = clock
        self._began = began
        self._open: dict[tuple[str, str], tuple[float, int, str]] = {}
        self._spans = spans

    def __call__(self, event: Event) -> None:
        """Record an event, and pass it on."""
        match event:
            case StageStarted():
                busy = {worker for _, worker, _ in self._open.values()}
                free = next(worker for worker in range(len(busy) + 1) if worker not in busy)
                self._open[event.job, event.stage] = (self._clock() - self._began, free, event.reason)
            case StageFinished():
                self._close(event.job, event.stage)
        self._listener(event)

    def _close(self, job: str, stage: str) -> None:
        found = self._open.pop((job, stage), None)
        if found is not None:
            start, worker, reason = found
            end = self._clock() - self._began
            self._spans.append(Span(job=job, stage=stage, reason=reason, start=start, end=end, worker=worker))
