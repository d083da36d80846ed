"""Plans: for every job, which stages are cached, which must run, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchexport.core.report import FIRST_TIME


def wall_seconds(jobs: Sequence[float], workers: int) -> float:
    """Return how long `workers` take for jobs of these seconds.

    The stages of one job run one after the other, so no number of workers beats the longest job.
    """
    return max(sum(jobs) / workers, max(jobs, default=0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """One stage; `action` is `cached`, `run`, `maybe` (an earlier stage decides) or `skip`.

    `expected_seconds` is what it took before; `guessed_seconds` an estimate where it never ran.
    """

    action: str
    reason: str
    expected_seconds: float | None = None
    guessed_seconds: float | None = None

    @property
    def seconds(self) -> float:
        """Return the expected seconds, else the guessed ones."""
        return self.expected_seconds if self.expected_seconds is not None else self.guessed_seconds or 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "action": self.action,
            "reason": self.reason,
            "expected_seconds": self.expected_seconds,
            "guessed_seconds": self.guessed_seconds,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """One job; `delivered` is True if the output folder holds exactly its cached results."""

    name: str
    stages: Mapping[str, PlannedStage] = field(default_factory=dict)
    delivered: bool = False

    @property
    def least_seconds(self) -> float:
        """Return the seconds of the stages that are certain to run."""
        return sum(stage.seconds for name, stage in self.stages.items() if stage.action == "run" or self._follows(name))

    def _follows(self, name: str) -> bool:
        """Return True if a stage that may run does: nothing of the job was built, or its code is compiled anew."""
        export, code = self.stages.get("export"), self.stages.get("compile")
        new = export is not None and export.reason.startswith((FIRST_TIME["export"], "forced"))
        compiled = name == "verify" and code is not None and code.action == "run"
        return self.stages[name].action == "maybe" and (new or compiled)

    @property
    def most_seconds(self) -> float:
        """Return the seconds of all stages that may run."""
        return sum(stage.seconds for stage in self.stages.values() if stage.action in ("run", "maybe"))

    @property
    def is_guess(self) -> bool:
        """Return True if a stage that may run has no history."""
        return any(stage.expected_seconds is None for stage in self.stages.values() if stage.action in ("run", "maybe"))

    @property
    def up_to_date(self) -> bool:
        return self.delivered and all(stage.action == "cached" for stage in self.stages.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "delivered": self.delivered,
            "stages": {name: stage.to_json() for name, stage in self.stages.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The plan of the next `run` of a manifest. `expected_seconds` is wall time, None without history.

    `least_seconds` is wall time if every graph stays the same, `most_seconds` if none does; both may be guesses.
    """

    manifest: str
    jobs: tuple[PlannedJob, ...]
    expected_seconds: float | None = None
    least_seconds: float = 0.0
    most_seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "manifest": self.manifest,
            "expected_seconds": self.expected_seconds,
            "least_seconds": round(self.least_seconds, 3),
            "most_seconds": round(self.most_seconds, 3),
            "notes": list(self.notes),
            "jobs": [job.to_json() for job in self.jobs],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """The state of one job's output folder: `delivered` (it holds the newest results), `stale` or `missing`.

    `path` is the folder relative to the working directory; `detail` says why it is in this state.
    """

    name: str
    state: str
    path: str
    detail: str | None = None
