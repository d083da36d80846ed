"""Plan a run without doing any work, by the same lookups that the run itself makes."""

from __future__ import annotations

import os
from collections.abc import Sequence

from batchexport.core.job import Job
from batchexport.core.plan import JobState, Plan, PlannedJob, PlannedStage, wall_seconds
from batchexport.core.report import STAGES
from batchexport.manifest.requirements import missing_requirements
from batchexport.planning.lookup import Hit, Miss
from batchexport.planning.session import Session
from batchexport.store.outputs import FILES, stamp
from batchexport.store.results import Result
from batchexport.toolchain.probe import import_path
from batchexport.toolchain.resources import usable_memory


def make_plan(session: Session, *, manifest: str, workers: int) -> Plan:
    """Return the plan of a session's jobs. Expected seconds are None if a stage that must run has no history."""
    jobs = tuple(plan_job(session, job) for job in session.jobs)
    expected: float | None = 0.0
    for job in jobs:
        for stage in job.stages.values():
            if stage.action == "run" and expected is not None:
                expected = None if stage.expected_seconds is None else expected + stage.expected_seconds
    return Plan(
        manifest=manifest,
        jobs=jobs,
        expected_seconds=None if expected is None else expected / workers,
        least_seconds=wall_seconds([job.least_seconds for job in jobs], workers),
        most_seconds=wall_seconds([job.most_seconds for job in jobs], workers),
        notes=(session.nothing_selected,) if session.nothing_selected else _missing(session, jobs),
    )


def _missing(session: Session, planned: Sequence[PlannedJob]) -> tuple[str, ...]:
    """Return what the jobs that must be exported need and is not there."""
    exported = {job.name for job in planned if job.stages["export"].action == "run"}
    jobs = [job for job in session.jobs if job.name in exported]
    missing = missing_requirements(jobs, session.manifest.root, import_path(), usable_memory())
    return tuple(map(str, missing))


def plan_job(session: Session, job: Job) -> PlannedJob:
    """Return the stages of one job: cached, to run, to skip, or dependent on an earlier stage."""
    stages, results = _planned(session, job)
    if results is None:
        return PlannedJob(name=job.name, stages=stages)
    export, compiled, evidence = results
    wanted = {FILES["exported"]: export.files["exported"]}
    if compiled is not None:
        wanted[FILES[job.compile.format]] = compiled.files["compiled"]
    delivered = session.delivery.is_current(job.folder, wanted, stamp(job, export, compiled, evidence))
    return PlannedJob(name=job.name, stages=stages, delivered=delivered)


def planned_stages(session: Session, job: Job) -> dict[str, PlannedStage]:
    """Return the stages of one job as `plan_job` does; no output is looked at."""
    return _planned(session, job)[0]


def _planned(session: Session, job: Job) -> tuple[dict[str, PlannedStage], tuple[Result, Result | None, Result] | None]:
    """Return the stages of one job, and its results if all are cached: export, compile and verify."""
    stages: dict[str, PlannedStage] = {}
    export = session.lookup.export(job)
    stages["export"] = _stage(session, job, "export", export)
    if isinstance(export, Miss):
        for later in STAGES[1:]:
            if later == "verify" or job.compile.format != "none":
                stages[later] = _maybe(session, job, later, "depends on the export")
        return stages, None
    reason = session.devices.why_not(job.target)
    if reason is not None:
        stages |= {later: PlannedStage(action="skip", reason=reason) for later in STAGES[1:]}
        return stages, None
    compiled = None
    if job.compile.format != "none":
        code = session.lookup.compile(job, export.result)
        stages["compile"] = _stage(session, job, "compile", code)
        if isinstance(code, Miss):
            stages["verify"] = _maybe(session, job, "verify", "depends on the compile")
            return stages, None
        compiled = code.result
    evidence = session.lookup.verify(job, export.result, compiled)
    stages["verify"] = _stage(session, job, "verify", evidence)
    return stages, None if isinstance(evidence, Miss) else (export.result, compiled, evidence.result)


def job_state(session: Session, job: Job) -> JobState:
    """Return whether a job's outputs are missing, stale or delivered."""
    folder = session.delivery.folder(job.folder)
    path = os.path.relpath(folder)
    plan = plan_job(session, job)
    if not os.path.exists(f"{folder}/{FILES['exported']}"):
        return JobState(name=job.name, state="missing", path=path, detail="not delivered yet")
    if plan.up_to_date:
        return JobState(name=job.name, state="delivered", path=path, detail="up to date")
    reasons = [f"{name}: {stage.reason}" for name, stage in plan.stages.items() if stage.action == "run"]
    return JobState(name=job.name, state="stale", path=path, detail=reasons[0] if reasons else "outputs were changed")


def _stage(session: Session, job: Job, stage: str, decision: Hit | Miss) -> PlannedStage:
    if isinstance(decision, Hit):
        return PlannedStage(action="cached", reason=decision.reason, expected_seconds=0.0)
    return _to_run(session, job, stage, "run", decision.reason)


def _maybe(session: Session, job: Job, stage: str, reason: str) -> PlannedStage:
    return _to_run(session, job, stage, "maybe", reason)


def _to_run(session: Session, job: Job, stage: str, action: str, reason: str) -> PlannedStage:
    expected = session.timings.expected(job, stage)
    return PlannedStage(
        action=action,
        reason=reason,
        expected_seconds=expected.seconds if expected.known else None,
        guessed_seconds=None if expected.known else expected.seconds,
    )
