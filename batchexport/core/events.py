"""The events of a run that its listener receives. They carry data, not text to print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from batchexport.core.edits import AppliedFix
from batchexport.core.report import JobReport


@dataclass(frozen=True, slots=True, kw_only=True)
class StageEstimate:
    """A stage that may run, and the seconds it should take: `known` from history, else a guess."""

    job: str
    stage: str
    seconds: float
    known: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The jobs are known, and the stages that may run.

    `expected` is the number of seconds the run should take, from history, or None.
    """

    jobs: int
    to_build: int
    workers: int
    expected: float | None = None
    stages: tuple[StageEstimate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStarted:
    """A child began a stage of a job."""

    job: str
    stage: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFinished:
    """A child ended; the job's report says with what outcome."""

    job: str
    stage: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFinished:
    """A job has its report, whatever its outcome."""

    report: JobReport
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A message for the user that concerns no single job, such as a damaged index."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestFixed:
    """A key of the manifest was changed, and the jobs of its entry run again. `manifest` is its path as given."""

    manifest: str
    fix: AppliedFix


Event = RunStarted | StageStarted | StageFinished | JobFinished | Note | ManifestFixed
Listener = Callable[[Event], None]
