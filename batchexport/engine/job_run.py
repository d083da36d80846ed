"""The state of one job in a run: what stands so far, and what came of its stages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchexport.core.report import STAGES, Failure, JobReport, StageReport
from batchexport.engine.retries import Retries
from batchexport.workers.attempt import Attempt

if TYPE_CHECKING:
    from batchexport.core.job import Job
    from batchexport.planning.lookup import Miss
    from batchexport.store.results import Result


@dataclass(slots=True)
class JobRun:
    """The results that stand so far, the reports of finished stages, and what was tried again. Mutable.

    `weights_packed`: the compiled package is older code with new weights.
    """

    job: Job
    stages: dict[str, StageReport] = field(default_factory=dict)
    export: Result | None = None
    compiled: Result | None = None
    verified: Result | None = None
    retries: Retries = field(default_factory=Retries)
    weights_packed: bool = False

    def record_result(self, stage: str, result: Result) -> None:
        """A stage's result stands."""
        if stage == "export":
            self.export = result
        elif stage == "compile":
            self.compiled = result
        else:
            self.verified = result

    def results(self) -> list[tuple[str, Result]]:
        """The results that stand, each with its stage."""
        found = (("export", self.export), ("compile", self.compiled), ("verify", self.verified))
        return [(stage, result) for stage, result in found if result is not None]

    def forget(self, first: str = "export") -> None:
        """Nothing stands any more from a stage on."""
        gone = STAGES[STAGES.index(first) :]
        if "export" in gone:
            self.export = None
        if "compile" in gone:
            self.compiled = None
        self.verified = None
        for stage in gone:
            self.stages.pop(stage, None)

    def report(self, *, ok: bool, error: Failure | None = None, outputs: dict[str, str] | None = None) -> JobReport:
        """The job's report as things stand."""
        stats = dict(self.export.export_facts.stats) if self.export else {}
        return JobReport(
            name=self.job.name,
            entry=self.job.entry,
            target=self.job.target,
            tags=self.job.tags,
            ok=ok,
            stages=self.stages,
            outputs=outputs or {},
            stats=stats,
            error=error,
        )


@dataclass(slots=True, kw_only=True)
class StageAttempt(Attempt):
    """A stage of a job that a child works on, the miss that made it run, and the reason that the report gives."""

    run: JobRun
    miss: Miss
    reason: str
