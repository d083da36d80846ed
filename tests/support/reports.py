"""Reports for tests, made from as little as a test has to say."""

from __future__ import annotations

from typing import Any

from batchexport.core.errors import ExitCode, Kind
from batchexport.core.report import Failure, JobReport, Outcome, RunReport, StageReport


def built(seconds: float = 1.2, reason: str = "first time") -> StageReport:
    return StageReport(outcome=Outcome.BUILT, reason=reason, seconds=seconds)


def cached(reason: str = "nothing changed") -> StageReport:
    return StageReport(outcome=Outcome.CACHED, reason=reason)


def stage(outcome: Outcome, reason: str = "", seconds: float = 0.0) -> StageReport:
    return StageReport(outcome=outcome, reason=reason, seconds=seconds)


def failure(**more: Any) -> Failure:
    return Failure(**{"stage": "compile", "kind": Kind.TOOLCHAIN, "message": "g++ is not on PATH", **more})


def job(name: str = "bert@cpu", **more: Any) -> JobReport:
    """A job that is delivered from the cache, unless said otherwise."""
    stages = {"export": cached(), "compile": cached(), "verify": cached()}
    facts = {"entry": name.partition("@")[0], "target": "cpu", "ok": "error" not in more, "stages": stages}
    return JobReport(name=name, **{**facts, **more})


def run_report(*jobs: JobReport, **more: Any) -> RunReport:
    facts = {
        "manifest": "zoo.toml",
        "started": "2026-01-02T03:04:05+00:00",
        "seconds": 12.3,
        "toolchain": {"torch": "2.13.0"},
        "exit_code": ExitCode.OK,
        "path": "dist/report.json",
    }
    return RunReport(jobs=jobs, **{**facts, **more})
