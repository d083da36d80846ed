"""A plan says, for every job and before any work, what stands, what must run, and why; it is pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """One stage: `cached` (its result stands), `run` (it must run) or `maybe` (an earlier stage decides)."""

    action: str
    reason: str
    expected_seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        return {"action": self.action, "reason": self.reason, "expected_seconds": self.expected_seconds}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """One job; `delivered` says whether the output folder already holds exactly the results that stand."""

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
    """What the next `run` of a manifest would do. `expected_seconds` is wall time, None without history."""

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
    """One job's output folder: `delivered` (what the newest results call for), `stale` or `missing`.

    `path` is the folder as a user in the working directory would write it; `detail` says why it is stale.
    """

    name: str
    state: str
    path: str
    detail: str | None = None
