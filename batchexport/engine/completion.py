"""Decide what follows when a stage ends: publish its result and advance the job, run a stage again, or fail the job."""

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
    """The stage's result is published: go on with the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """Run a stage, maybe for a second time; `alone`: while no other stage runs."""

    stage: str
    miss: Miss
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """End the job with a failure."""

    failure: Failure


_RETRIED = (Kind.CRASH, Kind.OOM)
Step = Advance | Rerun | Fail


class StageCompletion:
    """Handle the ends of one run's stages.

    `paranoid`: build every export twice and compare. `retries`: retry a stage once that crashed or ran out of memory.
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

    def handle(self, attempt: StageAttempt, process_exit: ProcessExit, seconds: float, context: ExitContext) -> Step:
        """Return the next step of the job. Raises StoreError, OSError where a result can't be stored."""
        run, stage = attempt.run, attempt.stage
        outcome = classify_exit(process_exit, attempt.folder, stage=stage, context=context)
        report = StageReport(
            outcome=Outcome.CACHED if isinstance(attempt.miss, PackWeights) else Outcome.BUILT,
            reason=attempt.reason,
            key=attempt.miss.key,
            seconds=seconds,
            peak_rss_bytes=process_exit.peak_rss_bytes,
        )
        if isinstance(outcome, Success) and stage == "export" and self._paranoid:
            return self._compare_with_first_build(attempt, outcome, report)
        if isinstance(outcome, Success):
            return self._succeeded(attempt, outcome, report)
        if isinstance(outcome, Changed):
            return self._input_changed(attempt, outcome.path)
        if outcome.kind is Kind.VERIFY and run.export is not None and run.export.export_facts.weights_swapped:
            return self._export_again(run, run.export, outcome)
        if isinstance(attempt.miss, PackWeights) or (stage == "verify" and run.weights_packed):
            return self._compile_again(run, outcome)
        retry_is_useless = outcome.kind is Kind.OOM and used_whole_pool(process_exit, context)
        if not retry_is_useless and (rerun := self._retry(attempt, outcome, context)) is not None:
            return rerun
        run.stages[stage] = replace(report, outcome=Outcome.FAILED)
        if run.retries.was_alone(stage):
            outcome = replace(outcome, message=f"{outcome.message}; failed again when retried alone")
        return Fail(failure=outcome)

    def _retry(self, attempt: StageAttempt, failure: Failure, context: ExitContext) -> Rerun | None:
        """Return a second run if what else ran may have caused the failure; None where it is final."""
        run, stage = attempt.run, attempt.stage
        if failure.kind is Kind.COMPILE and context.header_truncated and run.retries.allow_after_truncated_header():
            reason = f"{attempt.reason}; retried: a killed compiler left a truncated precompiled header"
            return Rerun(stage=stage, miss=replace(attempt.miss, reason=reason))
        if not (self._retries and failure.kind in _RETRIED and run.retries.allow_alone(stage)):
            return None
        reason = f"{attempt.reason}; retried alone after {failure.kind}: {failure.message}"
        return Rerun(stage=stage, miss=replace(attempt.miss, reason=reason), alone=True)

    def _succeeded(self, attempt: StageAttempt, outcome: Success, report: StageReport) -> Step:
        run, stage = attempt.run, attempt.stage
        try:
            published = self._publisher.publish(
                run, stage, attempt.miss, attempt.folder, outcome, reason=attempt.reason
            )
        except StaleGraph:
            run.retries.may_swap_weights = False
            return Rerun(stage=stage, miss=from_start(attempt.miss))
        if not isinstance(attempt.miss, SwapWeights | PackWeights):
            self._timings.learn(run.job, stage, report.seconds, report.peak_rss_bytes)
        run.record_result(stage, published.result)
        run.weights_packed = run.weights_packed or isinstance(attempt.miss, PackWeights)
        spent = outcome.key_seconds + self._lookup.spent(run.job, stage)
        run.stages[stage] = replace(
            report,
            reason=published.reason,
            key=published.result.key,
            key_seconds=spent,
            wrapper=outcome.wrapper,
        )
        if stage == "export" and outcome.output["packed"] is not None:
            self._publish_package(attempt, float(outcome.output["packed"]))
        return Advance()

    def _publish_package(self, attempt: StageAttempt, seconds: float) -> None:
        """Publish the package that the export stage made in `seconds` from its weights and the code it was given."""
        run = attempt.run
        assert run.export is not None
        if not isinstance(attempt.miss, SwapWeights):
            return
        miss = self._lookup.compile(run.job, run.export, pack=run.retries.may_pack_weights)
        if not isinstance(miss, PackWeights) or miss.code != attempt.miss.code:
            return
        result = self._publisher.package(run, miss, attempt.folder)
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

    def _compare_with_first_build(self, attempt: StageAttempt, outcome: Success, report: StageReport) -> Step:
        """Build a second time, then compare; results that differ are not reused by later runs."""
        run = attempt.run
        build = fingerprint(attempt.folder, outcome)
        if run.retries.first_build is None:
            run.retries.first_build = build
            return Rerun(stage="export", miss=attempt.miss)
        if run.retries.first_build == build:
            self._publisher.clear_nondeterministic(run.job)
        else:
            self._publisher.mark_nondeterministic(run.job)
        return self._succeeded(attempt, outcome, report)

    def _input_changed(self, attempt: StageAttempt, path: str) -> Step:
        run, stage = attempt.run, attempt.stage
        shown = os.path.relpath(path, self._root)
        if not run.retries.allow_after_input_change():
            run.stages[stage] = StageReport(outcome=Outcome.FAILED, reason=attempt.reason)
            message = f"{shown} changed while the stage ran, and again when it was rerun"
            remedy = "run again when no program edits the file"
            return Fail(failure=Failure(stage=stage, kind=Kind.EXPORT, message=message, remedy=remedy))
        return Rerun(stage=stage, miss=replace(attempt.miss, reason=f"{shown} changed while the stage ran"))

    def _export_again(self, run: JobRun, export: Result, failure: Failure) -> Step:
        """Export again from scratch: verification failed after a weight swap.

        The structure digest missed a difference between the models.
        """
        self._results.remove("export", export.key)
        run.forget()
        run.retries.may_swap_weights = False
        reason = f"the stored graph does not fit the new weights: {failure.message}; exporting again"
        return Rerun(stage="export", miss=Miss(key=None, lock=self._lookup.request_key(run.job), reason=reason))

    def _compile_again(self, run: JobRun, failure: Failure) -> Step:
        """Compile again as a clean run would: packing new weights failed, or the verification of the package."""
        assert run.export is not None
        run.retries.may_pack_weights = run.weights_packed = False
        run.forget("compile")
        key = self._lookup.compile_key(run.job, run.export)
        self._results.forget("compile", key)
        self._store.records.set_aside("compile", key)
        reason = f"could not reuse the compiled code with the new weights: {failure.message}; compiling again"
        miss = Miss(key=key, lock=self._lookup.code_key(run.job, run.export), reason=reason)
        return Rerun(stage="compile", miss=miss)
