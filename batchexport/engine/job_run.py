"""The mutable state of one job during a run: its results so far, its stage reports and its retries."""

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
    """One job's results, the reports of its finished stages, and its retries.

    `weights_packed`: the compiled package is stored code packed with new weights.
    """

    job: Job
    stages: dict[str, StageReport] = field(default_factory=dict)
    export: Result | None = None
    compiled: Result | None = None
    verified: Result | None = None
    retries: Retries = field(default_factory=Retries)
    weights_packed: bool = False

    def record_result(self, stage: str, result: Result) -> None:
        """Keep the result of a stage."""
        if stage == "export":
            self.export = result
        elif stage == "compile":
            self.compiled = result
        else:
            self.verified = result

    def results(self) -> list[tuple[str, Result]]:
        """Return the results so far, each with its stage."""
        results = (("export", self.export), ("compile", self.compiled), ("verify", self.verified))
        return [(stage, result) for stage, result in results if result is not None]

    def forget(self, first: str = "export") -> None:
        """Drop the results and reports of a stage and of those after it."""
        dropped = STAGES[STAGES.index(first) :]
        if "export" in dropped:
            self.export = None
        if "compile" in dropped:
            self.compiled = None
        self.verified = None
        for stage in dropped:
            self.stages.pop(stage, None)

    def _warnings(self) -> tuple[str, ...]:
        found = list(self.export.export_facts.warnings) if self.export else []
        for output in self.verified.facts["evidence"].get("not_told_apart", ()) if self.verified else ():
            found.append(
                f"{output} is the same number at every call, so verification can't tell a wrong artifact there: "
                "give the inputs other ranges or the model other weights, or lower atol in [entry.verify]"
            )
        return tuple(found)

    def report(
        self,
        *,
        ok: bool,
        error: Failure | None = None,
        expected: bool = False,
        outputs: dict[str, str] | None = None,
    ) -> JobReport:
        """Return the job's report in its present state."""
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
            warnings=self._warnings(),
            error=error,
            expected=expected,
        )


@dataclass(slots=True, kw_only=True)
class StageAttempt(Attempt):
    """An attempt at a stage of a job, with the miss that made it run and the reason for the report."""

    run: JobRun
    miss: Miss
    reason: str
