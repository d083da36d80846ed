"""Plans: for every job, which stages are cached, which must run, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """One stage; `action` is `cached`, `run`, `maybe` (an earlier stage decides) or `skip`."""

    action: str
    reason: str
    expected_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {"action": self.action, "reason": self.reason, "expected_seconds": self.expected_seconds}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """One job; `delivered` is True if the output folder holds exactly its cached results."""

    name: str
    stages: Mapping[str, PlannedStage] = field(default_factory=dict)
    delivered: bool = False

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
    """The plan of the next `run` of a manifest. `expected_seconds` is wall time, None without history."""

    manifest: str
    jobs: tuple[PlannedJob, ...]
    expected_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "manifest": self.manifest,
            "expected_seconds": self.expected_seconds,
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
