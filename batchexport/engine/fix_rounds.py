"""Write the fixes that failures carry into the manifest, and run the jobs of the changed entries again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from batchexport.core.edits import AppliedFix, Edit
from batchexport.core.errors import ExitCode
from batchexport.core.events import Listener, ManifestFixed, Note
from batchexport.core.files import replace_contents
from batchexport.core.options import RunOptions
from batchexport.core.report import Outcome, RunReport
from batchexport.manifest.fixes import fixed

_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FixRounds:
    """The runs of one command with `--apply-fixes`. `run_again` makes a run with the options that it gets."""

    options: RunOptions
    run_again: Callable[[RunOptions], RunReport]
    listener: Listener

    def finish(self, report: RunReport, manifest: bytes) -> RunReport:
        """Return the report of all rounds, the first of which gave `report` with the bytes of this manifest.

        A manifest that can't be written is a note in the report. Raises what a run raises.
        """
        for _ in range(_ROUNDS):
            wanted = wanted_fixes(report)
            if not wanted or report.exit_code is ExitCode.INTERRUPTED:
                break
            fixes, notes = self._apply(wanted, manifest)
            for fix in fixes:
                self.listener(ManifestFixed(manifest=str(self.options.manifest), fix=fix))
            for note in notes:
                self.listener(Note(text=note))
            report = replace(report, fixes=report.fixes + fixes, notes=report.notes + notes)
            if not fixes:
                break
            manifest = self.options.manifest.read_bytes()
            names = jobs_to_run(report, {fix.entry for fix in fixes})
            again = replace(self.options, only=names, expression=None, tags=(), force=())
            report = with_rerun(report, self.run_again(again))
        return report

    def _apply(
        self, wanted: Mapping[str, Mapping[str, tuple[Edit, ...]]], manifest: bytes
    ) -> tuple[tuple[AppliedFix, ...], tuple[str, ...]]:
        """Write fixes into the manifest; return those written, and notes on those that are not."""
        path = self.options.manifest
        try:
            if path.read_bytes() != manifest:
                return (), (f"{path} was edited during the run, so no fix is written; run again",)
            found = fixed(manifest.decode("utf-8"), wanted)
            if found.fixes:
                replace_contents(path, found.text.encode("utf-8"))
        except OSError as error:
            return (), (f"can't write the fixes into {path} ({error.strerror}); paste the remedies",)
        return found.fixes, found.refused


def wanted_fixes(report: RunReport) -> dict[str, dict[str, tuple[Edit, ...]]]:
    """Return the edits that the unexpected failures of a run carry, by entry and job."""
    wanted: dict[str, dict[str, tuple[Edit, ...]]] = {}
    for job in report.jobs:
        if job.unexpected and job.error is not None and job.error.fix:
            wanted.setdefault(job.entry, {})[job.name] = job.error.fix
    return wanted


def jobs_to_run(report: RunReport, entries: set[str]) -> tuple[str, ...]:
    """Return the jobs of entries that were changed, and those that `--fail-fast` has cancelled."""
    return tuple(
        job.name
        for job in report.jobs
        if job.entry in entries or any(stage.outcome is Outcome.CANCELLED for stage in job.stages.values())
    )


def with_rerun(report: RunReport, again: RunReport) -> RunReport:
    """Return the report of a run with the jobs of `again` in the place of their earlier reports."""
    newer = {job.name: job for job in again.jobs}
    jobs = tuple(newer.get(job.name, job) for job in report.jobs)
    code = ExitCode.JOB_FAILED if any(job.unexpected for job in jobs) else ExitCode.OK
    return replace(
        report,
        jobs=jobs,
        seconds=report.seconds + again.seconds,
        exit_code=again.exit_code if again.exit_code not in (ExitCode.OK, ExitCode.JOB_FAILED) else code,
        notes=tuple(dict.fromkeys(report.notes + again.notes)),
    )
