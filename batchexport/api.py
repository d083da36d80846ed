"""The verbs: each does one thing with a manifest and returns plain data.

What a no-op run does not need is imported inside the functions that use it.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from batchexport.core import interrupts
from batchexport.core.errors import ExitCode, Kind, ManifestError, StoreError, UsageError
from batchexport.core.events import JobFinished, Listener, Note, RunStarted
from batchexport.core.files import atomic_write_sibling
from batchexport.core.options import RunOptions
from batchexport.core.plan import JobState, Plan
from batchexport.core.report import JobReport, RunReport
from batchexport.dependencies.checker import CheckedFiles
from batchexport.planning import noop
from batchexport.toolchain import probe

if TYPE_CHECKING:
    from batchexport.engine.kept_servers import KeptServers
    from batchexport.engine.rebuild import Rebuilt
    from batchexport.planning.job_details import JobDetails
    from batchexport.planning.watched import Watched
    from batchexport.reporting.timeline import Span

NOT_WRITTEN = "not written"

__all__ = ["RunOptions", "cache_root", "details", "kept_servers", "ls", "plan", "rebuild", "run", "watched"]


def run(
    options: RunOptions, listener: Listener = lambda event: None, *, servers: KeptServers | None = None
) -> RunReport:
    """Bring every selected job to verified outputs, rebuilding only what changed, and write the JSON report.

    A failed job is data in the report. Without `servers` the run starts and ends a fork server of its own.

    Raises:
        ManifestError, UsageError, StoreError, EnvironmentProblem: on what stops the whole command.
    """
    if servers is None and options.apply_fixes:
        with kept_servers() as own:
            return run(options, listener, servers=own)
    spans: list[Span] = []
    began = time.monotonic()
    with interrupts.handle_signals():
        manifest = options.manifest.read_bytes() if options.apply_fixes and options.manifest.is_file() else b""
        report, path, page, histories = _run(options, listener, spans, began, servers)
        report = _written(report, path, listener)
        if options.apply_fixes and any(job.error and job.error.fix for job in report.jobs):
            from batchexport.engine.fix_rounds import FixRounds

            rounds = FixRounds(
                options=options,
                run_again=lambda again: _run(again, listener, spans, began, servers)[0],
                listener=listener,
            )
            report = _written(rounds.finish(report, manifest), path, listener)
        return _also_written(report, options, spans, listener, page=page, histories=histories)


def _run(
    options: RunOptions, listener: Listener, spans: list[Span], began: float, servers: KeptServers | None
) -> tuple[RunReport, Path, Path, Path | None]:
    """Make one run; return its report, the files that it and its page go to, and where the cache keeps runs, if known.

    The page lies in the output folder, beside the report unless that was sent elsewhere.
    """
    started, clock = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()), time.monotonic()
    toolchain = probe.toolchain()
    notes: tuple[str, ...] = ()
    interrupted, histories = False, None
    checked = CheckedFiles()
    found = noop.load(options, toolchain, checked)
    if found is not None:
        reports, output_dir = found.jobs, found.output_dir
        listener(RunStarted(jobs=len(reports), to_build=0, workers=0))
        for done, job in enumerate(reports, start=1):
            listener(JobFinished(report=job, done=done, total=len(reports)))
    else:
        from batchexport.engine.runner import run_jobs
        from batchexport.reporting.timeline import Timeline

        ended = run_jobs(options, Timeline(listener, spans, began=began), checked, servers=servers)
        reports, output_dir, notes = ended.reports, ended.output_dir, ended.notes
        interrupted, histories = ended.interrupted, ended.histories
    path = options.json or output_dir / "report.json"
    report = RunReport(
        manifest=str(options.manifest),
        started=started,
        seconds=time.monotonic() - clock,
        toolchain=toolchain.summary(),
        jobs=reports,
        exit_code=_exit_code(reports, interrupted=interrupted),
        notes=notes,
        path=_shown(path),
    )
    beside = path.stem if path.parent.absolute() == output_dir.absolute() else "report"
    return report, path, output_dir / beside / "index.html", histories


def _also_written(
    report: RunReport,
    options: RunOptions,
    spans: list[Span],
    listener: Listener,
    *,
    page: Path,
    histories: Path | None,
) -> RunReport:
    """Write the reports in other forms; a file that an option names and that can't be written counts as for JSON."""
    if not (options.junit or options.html or options.trace) and (histories is None or report.is_idle):
        return report
    from batchexport.reporting.written import write_reports

    with interrupts.defer_signals():
        unwritten = write_reports(report, options, spans, page=page, kept=histories)
    notes = tuple(f"can't write {_shown(one.path)}: {one.reason}" for one in unwritten)
    for note in notes:
        listener(Note(text=note))
    code = StoreError.exit_code if any(one.asked for one in unwritten) else report.exit_code
    return replace(report, notes=(*report.notes, *notes), exit_code=code)


def _written(report: RunReport, path: Path, listener: Listener) -> RunReport:
    """Write the report to its file; return it, with a note if that can't be written."""
    try:
        with interrupts.defer_signals():
            _write(report, path)
    except StoreError as error:  # the run itself is done, so its report is still returned
        report = replace(report, path=NOT_WRITTEN, exit_code=error.exit_code, notes=(*report.notes, str(error)))
        listener(Note(text=str(error)))
    return report


def kept_servers() -> KeptServers:
    """Return fork servers for several runs, as a context manager: only the first run waits for the import of torch."""
    from batchexport.engine.kept_servers import KeptServers

    return KeptServers()


def plan(options: RunOptions) -> Plan:
    """Return what the next run would do, and why; imports no torch and starts nothing."""
    from batchexport.engine.runner import workers
    from batchexport.planning.planner import make_plan
    from batchexport.planning.session import open_session

    with open_session(options) as session:
        return make_plan(session, manifest=str(options.manifest), workers=workers(session, options))


def watched(options: RunOptions, before: Watched | None = None) -> Watched:
    """Return which files the selected jobs depend on, so that a change of one calls for another run.

    While the manifest has mistakes, those are the files of `before`, else the manifest alone.
    """
    from batchexport.planning.session import open_session
    from batchexport.planning.watched import of_manifest, of_session

    try:
        with open_session(options) as session:
            return of_session(session)
    except (ManifestError, UsageError):
        return before or of_manifest(options.manifest)


def ls(options: RunOptions) -> tuple[JobState, ...]:
    """Return every selected job with the state of its outputs."""
    from batchexport.planning.planner import job_state
    from batchexport.planning.session import open_session

    with open_session(options) as session:
        return tuple(job_state(session, job) for job in session.jobs)


def details(options: RunOptions) -> tuple[JobDetails, ...]:
    """Return what is known of every selected job: its outputs, how it ended last, and its logs."""
    from batchexport.planning.job_details import job_details
    from batchexport.planning.session import open_session

    with open_session(options) as session:
        return tuple(job_details(session, job) for job in session.jobs)


def rebuild(options: RunOptions, percent: float, listener: Listener) -> tuple[Rebuilt, ...]:
    """Rebuild a sample of the delivered jobs in an empty store; return what differs for each."""
    from batchexport.engine.rebuild import rebuild as rebuild_sample

    with interrupts.handle_signals():
        return rebuild_sample(options, percent, listener)


def cache_root(options: RunOptions) -> Path:
    """Return the cache folder that a run of this manifest would use."""
    from batchexport.manifest import resolve
    from batchexport.planning.session import cache_folder

    return cache_folder(options, resolve.load(options.manifest)).absolute()


def _exit_code(reports: tuple[JobReport, ...], *, interrupted: bool) -> ExitCode:
    if interrupted:
        return ExitCode.INTERRUPTED
    failed = [report for report in reports if report.unexpected]
    if failed and not any(report.ok for report in reports) and all(map(_lacks_compiler, failed)):
        return ExitCode.ENVIRONMENT
    return ExitCode.JOB_FAILED if failed else ExitCode.OK


def _lacks_compiler(report: JobReport) -> bool:
    """Return whether a job failed for want of a working compiler: on a CPU, nothing else is of this kind."""
    return report.error is not None and report.error.kind is Kind.TOOLCHAIN and report.target.startswith("cpu")


def _write(report: RunReport, path: Path) -> None:
    try:
        atomic_write_sibling(path, f"{json.dumps(report.to_json())}\n".encode())
    except OSError as error:
        raise StoreError(f"can't write the report {path}: {error.strerror}") from error


def _shown(path: Path) -> str:
    """Return the path relative to the working directory, unless it lies further up."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("../..") else relative
