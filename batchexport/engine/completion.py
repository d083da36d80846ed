"""What follows from the end of a stage: its results are kept and the job goes on, a stage runs again, or it failed."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from batchexport.core.errors import Kind
from batchexport.core.report import Failure, Outcome, StageReport
from batchexport.dependencies.merge import StaleGraph
from batchexport.engine.job_run import JobRun, StageAttempt
from batchexport.engine.publish import Publisher, fingerprint
from batchexport.planning.estimates import Timings
from batchexport.planning.lookup import CacheLookup, Hit, Miss
from batchexport.store.results import Result, Results
from batchexport.store.store import Store
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


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCompletion:
    """Settles the stages of one run. `root` is the manifest's folder; `paranoid`: every export is built twice."""

    store: Store
    lookup: CacheLookup
    results: Results
    publisher: Publisher
    timings: Timings
    root: str
    paranoid: bool = False
    retries: bool = True

    def handle(self, running: StageAttempt, ended: ProcessExit, seconds: float, seen: ExitContext) -> Step:
        """What to do next for the job. Raises StoreError, OSError where a result can't be kept."""
        run, stage = running.run, running.stage
        outcome = classify_exit(ended, running.folder, stage=stage, seen=seen)
        report = StageReport(
            outcome=Outcome.BUILT if running.miss.code is None else Outcome.CACHED,
            reason=run.reasons[stage],
            key=running.miss.key,
            seconds=seconds,
            peak_rss_bytes=ended.peak_rss_bytes,
        )
        if isinstance(outcome, Success) and stage == "export" and self.paranoid:
            return self._held_against_twin(running, outcome, report)
        if isinstance(outcome, Success):
            return self._succeeded(running, outcome, report)
        if isinstance(outcome, Changed):
            return self._input_changed(run, stage, outcome.path, running.miss)
        if outcome.kind is Kind.VERIFY and run.export is not None and run.export.facts.get("reweighed"):
            return self._capture_instead(run, run.export, outcome)
        if running.miss.code is not None or (stage == "verify" and run.packed):
            return self._compile_instead(run, outcome)
        hopeless = outcome.kind is Kind.OOM and used_whole_pool(ended, seen)
        if not hopeless and (again := self._once_more(running, outcome, seen)) is not None:
            return again
        run.stages[stage] = replace(report, outcome=Outcome.FAILED)
        if stage in run.retried:
            outcome = replace(outcome, message=f"{outcome.message}; it was the second try, alone on the machine")
        return Fail(failure=outcome)

    def _once_more(self, running: StageAttempt, failure: Failure, seen: ExitContext) -> Rerun | None:
        """Whatever else ran may be to blame for a crash, or have had the memory: a second try shows."""
        run, stage = running.run, running.stage
        if failure.kind is Kind.COMPILE and seen.header_cut and not run.cut_once:
            run.cut_once = True
            reason = f"{run.reasons[stage]}; tried again, as a kill had cut off a precompiled header"
            return Rerun(stage=stage, miss=replace(running.miss, reason=reason))
        if not self.retries or failure.kind not in _RETRIED or stage in run.retried:
            return None
        run.retried.add(stage)
        reason = f"{run.reasons[stage]}; tried again, alone, after {failure.kind}: {failure.message}"
        return Rerun(stage=stage, miss=replace(running.miss, reason=reason), alone=True)

    def _succeeded(self, running: StageAttempt, outcome: Success, report: StageReport) -> Step:
        run, stage = running.run, running.stage
        try:
            result = self.publisher.publish(run, stage, running.miss, running.folder, outcome)
        except StaleGraph:
            run.reweighs = False
            return Rerun(stage=stage, miss=replace(running.miss, base=None))
        if running.miss.code is None and running.miss.base is None:
            self.timings.learn(run.job, stage, report.seconds, report.peak_rss_bytes)
        run.record_result(stage, result)
        run.packed = run.packed or running.miss.code is not None
        spent = outcome.key_seconds + self.lookup.spent(run.job, stage)
        run.stages[stage] = replace(report, reason=run.reasons[stage], key=result.key, key_seconds=spent)
        if stage == "export" and outcome.output["packed"] is not None:
            self._take_package(running, float(outcome.output["packed"]))
        return Advance()

    def _take_package(self, running: StageAttempt, seconds: float) -> None:
        """The export stage has packed its weights around the code it was given: that code's package for this export."""
        run = running.run
        assert run.export is not None
        miss = self.lookup.compile(run.job, run.export, pack=run.packs)
        if isinstance(miss, Hit) or miss.code != running.miss.around:
            return
        result = self.publisher.package(run, miss, running.folder)
        run.record_result("compile", result)
        run.packed = True
        run.stages["export"] = replace(run.stages["export"], seconds=run.stages["export"].seconds - seconds)
        run.stages["compile"] = StageReport(
            outcome=Outcome.CACHED,
            reason=miss.reason,
            key=result.key,
            seconds=seconds,
            key_seconds=self.lookup.spent(run.job, "compile"),
            peak_rss_bytes=run.stages["export"].peak_rss_bytes,
        )

    def _held_against_twin(self, running: StageAttempt, outcome: Success, report: StageReport) -> Step:
        """Under --paranoid every export is built twice, and results that differ are not kept for later runs."""
        run = running.run
        found = fingerprint(running.folder, outcome)
        if run.twin is None:
            run.twin = found
            return Rerun(stage="export", miss=running.miss)
        if run.twin == found:
            self.publisher.clear_nondeterministic(run.job)
        else:
            self.publisher.mark_nondeterministic(run.job)
        return self._succeeded(running, outcome, report)

    def _input_changed(self, run: JobRun, stage: str, path: str, miss: Miss) -> Step:
        shown = os.path.relpath(path, self.root)
        if run.changed_once:
            run.stages[stage] = StageReport(outcome=Outcome.FAILED, reason=run.reasons[stage])
            message = f"{shown} changed while the stage ran, twice"
            remedy = "run again when nothing edits it"
            return Fail(failure=Failure(stage=stage, kind=Kind.EXPORT, message=message, remedy=remedy))
        run.changed_once = True
        return Rerun(stage=stage, miss=replace(miss, reason=f"{shown} changed while the stage ran"))

    def _capture_instead(self, run: JobRun, export: Result, failure: Failure) -> Step:
        """New weights in an old graph did not do: the model knows them in a way that its likeness does not tell."""
        self.results.remove("export", export.key)
        run.forget()
        run.reweighs = False
        reason = f"the stored graph was no use for the new weights: {failure.message}"
        return Rerun(stage="export", miss=Miss(key=None, lock=self.lookup.request_key(run.job), reason=reason))

    def _compile_instead(self, run: JobRun, failure: Failure) -> Step:
        """New weights around old code did not do: compile, as a clean run would, and say why."""
        assert run.export is not None
        run.packs = run.packed = False
        run.forget("compile")
        key = self.lookup.compile_key(run.job, run.export)
        self.results.forget("compile", key)
        self.store.records.set_aside("compile", key)
        miss = Miss(
            key=key,
            lock=self.lookup.code_key(run.job, run.export),
            reason=f"packing new weights was no use: {failure.message}",
        )
        return Rerun(stage="compile", miss=miss)
