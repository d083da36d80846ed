"""What the coordinator tells whoever watches a run; events carry data and never text to print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from batchexport.core.report import JobReport


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The plan stands. `expected` is the time in seconds the run should take, from history, or None."""

    jobs: int
    to_build: int
    workers: int
    expected: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStarted:
    """A child began a stage of a job."""

    job: str
    stage: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFinished:
    """A child ended; whether well or badly is in the job's report."""

    job: str
    stage: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFinished:
    """A job is done, one way or the other."""

    report: JobReport
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something the user should know that belongs to no job (a degraded index, say)."""

    text: str


Event = RunStarted | StageStarted | StageFinished | JobFinished | Note
Listener = Callable[[Event], None]
