"""The report of a run: pure data on every job and stage.

`RunReport.to_json()` is the JSON report that users' scripts read: keep its form, or raise `SCHEMA`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from batchexport.core.edits import AppliedFix, Edit
from batchexport.core.errors import ExitCode, Kind

SCHEMA = 1
STAGES = ("export", "compile", "verify")
# The reason given for a stage that runs for the first time, or for what it has not seen before.
FIRST_TIME = {"export": "never built", "compile": "never compiled", "verify": "this artifact was not verified yet"}
# The reason given for a cached stage.
UNCHANGED = {"export": "inputs unchanged", "compile": "program unchanged", "verify": "artifact unchanged"}


class Outcome(StrEnum):
    """How a stage ended."""

    BUILT = "built"
    CACHED = "cached"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A line of model code. `file` is relative to the manifest's folder if it lies below it; lines count from 1."""

    file: str
    line: int
    text: str
    function: str

    def to_json(self) -> dict[str, Any]:
        return {"file": self.file, "line": self.line, "text": self.text, "function": self.function}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a stage failed. `log` is a path relative to the manifest's folder, or None where no child ran.

    `fix` holds the changes of the manifest that the remedy tells, where they can be written without asking.
    `error_class` is how torch classifies a failed capture: the case of its exportdb, or its error type.
    `findings` are the lines that a draft export adds.
    `where` is the innermost line of the user's code that was running, where model code raised it.
    `log_tail` holds the last useful lines of the log, where a child died without reporting its error.
    """

    stage: str
    kind: Kind
    message: str
    remedy: str | None = None
    fix: tuple[Edit, ...] = ()
    error_class: str | None = None
    findings: tuple[str, ...] = ()
    where: Place | None = None
    log: str | None = None
    log_tail: tuple[str, ...] = ()
    reproduce: str | None = None

    @classmethod
    def from_child(cls, stage: str, error: Mapping[str, Any]) -> Failure:
        """Read the `error` that a child leaves in its result. Raises KeyError, TypeError, ValueError."""
        return cls(
            stage=stage,
            kind=Kind(error["kind"]),
            message=error["message"],
            remedy=error["remedy"],
            fix=tuple(Edit.from_json(edit) for edit in error.get("fix", ())),
            error_class=error.get("class"),
            findings=tuple(error.get("findings", ())),
            where=Place(**error["where"]) if error.get("where") else None,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "kind": str(self.kind),
            "message": self.message,
            "remedy": self.remedy,
            "fix": [edit.to_json() for edit in self.fix],
            "class": self.error_class,
            "findings": list(self.findings),
            "where": self.where.to_json() if self.where else None,
            "log": self.log,
            "log_tail": list(self.log_tail),
            "reproduce": self.reproduce,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """One stage of one job: its outcome, the reason, and its cost (seconds of wall time, bytes of RSS).

    `key_seconds` is the time spent on keys: looking up what is cached, digesting what was built. `wrapper` tells how
    the C++ code around a model was compiled: "parts", or "whole: " and why.
    """

    outcome: Outcome
    reason: str
    key: str | None = None
    seconds: float = 0.0
    peak_rss_bytes: int | None = None
    key_seconds: float | None = None
    wrapper: str | None = None

    def to_json(self) -> dict[str, Any]:
        form: dict[str, Any] = {
            "outcome": str(self.outcome),
            "reason": self.reason,
            "key": self.key,
            "seconds": round(self.seconds, 4),
        }
        if self.key_seconds is not None:
            form["key_seconds"] = round(self.key_seconds, 4)
        if self.peak_rss_bytes is not None:
            form["peak_rss_bytes"] = self.peak_rss_bytes
        if self.wrapper is not None:
            form["wrapper"] = self.wrapper
        return form


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport:
    """One job. `ok` means that its verified outputs are in the output folder, and that no failure was expected.

    `expected`: it failed in the stage in which the manifest says that it fails.
    """

    name: str
    entry: str
    target: str
    tags: tuple[str, ...] = ()
    ok: bool
    stages: Mapping[str, StageReport] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    stats: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    error: Failure | None = None
    expected: bool = False

    @property
    def unexpected(self) -> bool:
        """Return True if the job failed and the manifest does not say so, or passed although it says so."""
        return self.error is not None and not self.expected

    @property
    def skipped(self) -> bool:
        """Return True if nothing failed but a stage was skipped, so that nothing was delivered."""
        return not self.ok and self.error is None

    @property
    def built(self) -> bool:
        """Return True if at least one stage was built."""
        return any(stage.outcome is Outcome.BUILT for stage in self.stages.values())

    @property
    def seconds(self) -> float:
        """Return the wall time of all stages of the job."""
        return sum(stage.seconds for stage in self.stages.values())

    @property
    def key_seconds(self) -> float:
        """Return the seconds spent on keys in all stages of the job."""
        return sum(stage.key_seconds or 0.0 for stage in self.stages.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "entry": self.entry,
            "target": self.target,
            "ok": self.ok,
            "tags": list(self.tags),
            "stages": {name: stage.to_json() for name, stage in self.stages.items()},
            "outputs": dict(self.outputs),
            "stats": dict(self.stats),
            "warnings": list(self.warnings),
            "error": self.error.to_json() if self.error else None,
            "expected": self.expected,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCost:
    """Seconds spent on keys, their share of all built stages, and the job where that share is largest."""

    seconds: float
    share: float
    worst: str
    worst_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """A whole run. `path` is the file that its JSON form was written to, or None."""

    manifest: str
    started: str
    seconds: float
    toolchain: Mapping[str, Any]
    jobs: tuple[JobReport, ...]
    exit_code: ExitCode
    notes: tuple[str, ...] = ()
    fixes: tuple[AppliedFix, ...] = ()
    path: str | None = None

    @property
    def is_idle(self) -> bool:
        """Return True if nothing was built and no job failed, so that there is nothing new to tell."""
        return not any(job.built or job.error is not None for job in self.jobs)

    @property
    def ok(self) -> int:
        return sum(job.ok for job in self.jobs)

    @property
    def failed(self) -> int:
        """Return how many jobs failed, as expected or not."""
        return sum(job.error is not None for job in self.jobs)

    @property
    def expected(self) -> int:
        """Return how many of the failed jobs failed as expected."""
        return sum(job.expected for job in self.jobs)

    @property
    def skipped(self) -> int:
        return sum(job.skipped for job in self.jobs)

    def keys(self) -> KeyCost | None:
        """Return the seconds spent on the keys of all that was built; None where nothing was built."""
        built = [job for job in self.jobs if job.key_seconds and job.seconds]
        if not built:
            return None
        worst = max(built, key=lambda job: job.key_seconds / job.seconds)
        seconds = sum(job.key_seconds for job in built)
        return KeyCost(
            seconds=seconds,
            share=seconds / sum(job.seconds for job in built),
            worst=worst.name,
            worst_share=worst.key_seconds / worst.seconds,
        )

    def totals(self) -> dict[str, Any]:
        """Counts of jobs by result and, per stage, of outcomes; `built` and `cached` always present."""
        form: dict[str, Any] = {
            "jobs": len(self.jobs),
            "ok": self.ok,
            "failed": self.failed,
            "expected": self.expected,
            "skipped": self.skipped,
        }
        for stage in STAGES:
            counts = Counter(str(job.stages[stage].outcome) for job in self.jobs if stage in job.stages)
            form[stage] = {"built": 0, "cached": 0, **counts}
        if (cost := self.keys()) is not None:
            form["keys"] = {
                "seconds": round(cost.seconds, 4),
                "share": round(cost.share, 5),
                "worst": {"job": cost.worst, "share": round(cost.worst_share, 5)},
            }
        return form

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "manifest": self.manifest,
            "started": self.started,
            "seconds": round(self.seconds, 3),
            "exit_code": int(self.exit_code),
            "toolchain": dict(self.toolchain),
            "totals": self.totals(),
            "notes": list(self.notes),
            "fixes": [fix.to_json() for fix in self.fixes],
            "jobs": [job.to_json() for job in self.jobs],
        }
