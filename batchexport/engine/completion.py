"""What follows from the end of a stage: its results are kept and the job goes on, a stage runs again, or it failed."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from batchexport.core.errors import Kind
from batchexport.core.report import Failure, Outcome, StageReport
from batchexport.dependencies.merge import StaleGraph
from batchexport.engine.job_run import JobRun, StageAttempt
from batchexport.engine.publish import Publisher, fingerprint
from batchexport.planning.lookup import Miss, PackWeights, SwapWeights, from_start
from batchexport.planning.session import Session
from batchexport.store.results import Result
from batchexport.workers.exit_status import Changed, ExitContext, Success, classify_exit, used_whole_pool
from batchexport.workers.forkserver import ProcessExit


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """The stage's result stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """A stage must run, maybe once more; `alone`: while nothing else does."""

    stage: str
    miss: Miss
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """The job ends here."""

    failure: Failure


_RETRIED = (Kind.CRASH, Kind.OOM)
Step = Advance | Rerun | Fail


class StageCompletion:
    """Handles the ends of one run's stages: keeps results, or says what to run again.

    `paranoid`: every export is built twice. `retries`: a stage that crashed or ran out of memory gets a second try.
    """

    def __init__(self, session: Session, *, paranoid: bool = False, retries: bool = True) -> None:
        self._store = session.store
        self._lookup = session.lookup
        self._results = session.results
        self._timings = session.timings
        self._root = str(session.manifest.root)
        self._paranoid = paranoid
        self._retries = retries
        self._publisher = Publisher(
            results=session.results,
            traces=session.traces,
            lookup=session.lookup,
            history=session.history,
            root=self._root,
        )

    def handle(self, running: StageAttempt, ended: ProcessExit, seconds: float, context: ExitContext) -> Step:
        """What to do next for the job. Raises StoreError, OSError where a result can't be kept."""
        run, stage = running.run, running.stage
        outcome = classify_exit(ended, running.folder, stage=stage, context=context)
        report = StageReport(
            outcome=Outcome.CACHED if isinstance(running.miss, PackWeights) else Outcome.BUILT,
            reason=running.reason,
            key=running.miss.key,
            seconds=seconds,
            peak_rss_bytes=ended.peak_rss_bytes,
        )
        if isinstance(outcome, Success) and stage == "export" and self._paranoid:
            return self._compare_with_first_build(running, outcome, report)
        if isinstance(outcome, Success):
            return self._succeeded(running, outcome, report)
        if isinstance(outcome, Changed):
            return self._input_changed(running, outcome.path)
        if outcome.kind is Kind.VERIFY and run.export is not None and run.export.export_facts.weights_swapped:
            return self._capture_instead(run, run.export, outcome)
        if isinstance(running.miss, PackWeights) or (stage == "verify" and run.weights_packed):
            return self._compile_instead(run, outcome)
        hopeless = outcome.kind is Kind.OOM and used_whole_pool(ended, context)
        if not hopeless and (again := self._once_more(running, outcome, context)) is not None:
            return again
        run.stages[stage] = replace(report, outcome=Outcome.FAILED)
        if run.retries.was_alone(stage):
            outcome = replace(outcome, message=f"{outcome.message}; it was the second try, alone on the machine")
        return Fail(failure=outcome)

    def _once_more(self, running: StageAttempt, failure: Failure, context: ExitContext) -> Rerun | None:
        """Whatever else ran may be to blame for a crash, or have had the memory: a second try shows."""
        run, stage = running.run, running.stage
        if failure.kind is Kind.COMPILE and context.header_truncated and run.retries.allow_after_truncated_header():
            reason = f"{running.reason}; tried again, as a kill had cut off a precompiled header"
            return Rerun(stage=stage, miss=replace(running.miss, reason=reason))
        if not (self._retries and failure.kind in _RETRIED and run.retries.allow_alone(stage)):
            return None
        reason = f"{running.reason}; tried again, alone, after {failure.kind}: {failure.message}"
        return Rerun(stage=stage, miss=replace(running.miss, reason=reason), alone=True)

    def _succeeded(self, running: StageAttempt, outcome: Success, report: StageReport) -> Step:
        run, stage = running.run, running.stage
        try:
            kept = self._publisher.publish(run, stage, running.miss, running.folder, outcome, reason=running.reason)
        except StaleGraph:
            run.retries.may_swap_weights = False
            return Rerun(stage=stage, miss=from_start(running.miss))
        if not isinstance(running.miss, SwapWeights | PackWeights):
            self._timings.learn(run.job, stage, report.seconds, report.peak_rss_bytes)
        run.record_result(stage, kept.result)
        run.weights_packed = run.weights_packed or isinstance(running.miss, PackWeights)
        spent = outcome.key_seconds + self._lookup.spent(run.job, stage)
        run.stages[stage] = replace(report, reason=kept.reason, key=kept.result.key, key_seconds=spent)
        if stage == "export" and outcome.output["packed"] is not None:
            self._take_package(running, float(outcome.output["packed"]))
        return Advance()

    def _take_package(self, running: StageAttempt, seconds: float) -> None:
        """The export stage has packed its weights around the code it was given: that code's package for this export."""
        run = running.run
        assert run.export is not None
        if not isinstance(running.miss, SwapWeights):
            return
        miss = self._lookup.compile(run.job, run.export, pack=run.retries.may_pack_weights)
        if not isinstance(miss, PackWeights) or miss.code != running.miss.code:
            return
        result = self._publisher.package(run, miss, running.folder)
        run.record_result("compile", result)
        run.weights_packed = True
        run.stages["export"] = replace(run.stages["export"], seconds=run.stages["export"].seconds - seconds)
        run.stages["compile"] = StageReport(
            outcome=Outcome.CACHED,
            reason=miss.reason,
            key=result.key,
            seconds=seconds,
            key_seconds=self._lookup.spent(run.job, "compile"),
            peak_rss_bytes=run.stages["export"].peak_rss_bytes,
        )

    def _compare_with_first_build(self, running: StageAttempt, outcome: Success, report: StageReport) -> Step:
        """Under --paranoid every export is built twice, and results that differ are not kept for later runs."""
        run = running.run
        built = fingerprint(running.folder, outcome)
        if run.retries.first_build is None:
            run.retries.first_build = built
            return Rerun(stage="export", miss=running.miss)
        if run.retries.first_build == built:
            self._publisher.clear_nondeterministic(run.job)
        else:
            self._publisher.mark_nondeterministic(run.job)
        return self._succeeded(running, outcome, report)

    def _input_changed(self, running: StageAttempt, path: str) -> Step:
        run, stage = running.run, running.stage
        shown = os.path.relpath(path, self._root)
        if not run.retries.allow_after_input_change():
            run.stages[stage] = StageReport(outcome=Outcome.FAILED, reason=running.reason)
            message = f"{shown} changed while the stage ran, twice"
            remedy = "run again when nothing edits it"
            return Fail(failure=Failure(stage=stage, kind=Kind.EXPORT, message=message, remedy=remedy))
        return Rerun(stage=stage, miss=replace(running.miss, reason=f"{shown} changed while the stage ran"))

    def _capture_instead(self, run: JobRun, export: Result, failure: Failure) -> Step:
        """New weights in an old graph did not do: the model knows them in a way that its likeness does not tell."""
        self._results.remove("export", export.key)
        run.forget()
        run.retries.may_swap_weights = False
        reason = f"the stored graph was no use for the new weights: {failure.message}"
        return Rerun(stage="export", miss=Miss(key=None, lock=self._lookup.request_key(run.job), reason=reason))

    def _compile_instead(self, run: JobRun, failure: Failure) -> Step:
        """New weights around old code did not do: compile, as a clean run would, and say why."""
        assert run.export is not None
        run.retries.may_pack_weights = run.weights_packed = False
        run.forget("compile")
        key = self._lookup.compile_key(run.job, run.export)
        self._results.forget("compile", key)
        self._store.records.set_aside("compile", key)
        miss = Miss(
            key=key,
            lock=self._lookup.code_key(run.job, run.export),
            reason=f"packing new weights was no use: {failure.message}",
        )
        return Rerun(stage="compile", miss=miss)
