"""Run the jobs of a manifest: open a session, let the coordinator bring each job to its report, and save what gc and
the next run need.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from batchexport.core.errors import StoreError, UsageError
from batchexport.core.events import Listener, Note, RunStarted, StageEstimate
from batchexport.core.options import RunOptions
from batchexport.core.report import STAGES, JobReport
from batchexport.dependencies.checker import CheckedFiles
from batchexport.dependencies.traces import TraceHit
from batchexport.engine.coordinator import Coordinator
from batchexport.engine.event_log import NAME as EVENTS
from batchexport.engine.event_log import EventLog
from batchexport.engine.gpus import slots as device_slots
from batchexport.engine.kept_servers import KeptServers
from batchexport.engine.requests import StageRequests
from batchexport.engine.schedule import Schedule
from batchexport.manifest.requirements import unmatched_data
from batchexport.planning import noop
from batchexport.planning.lookup import Hit
from batchexport.planning.planner import planned_stages
from batchexport.planning.session import Session, open_session
from batchexport.store import gc_roots
from batchexport.toolchain.distributions import Distributions
from batchexport.toolchain.probe import import_path
from batchexport.toolchain.resources import usable_cores, usable_memory
from batchexport.workers.inprocess import InProcess
from batchexport.workers.supervisor import Runner


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a run gave: the reports of its jobs, the output folder, notes for the user, and where its cache keeps runs.

    `histories` is None for a read-only cache.
    """

    reports: tuple[JobReport, ...]
    output_dir: Path
    interrupted: bool
    notes: tuple[str, ...]
    histories: Path | None


def run_jobs(
    options: RunOptions, listener: Listener, checked: CheckedFiles | None = None, *, servers: KeptServers | None = None
) -> Ended:
    """Run the selected jobs of a manifest, on one of `servers` or on one for this run. Raises as `api.run` does."""
    if servers is None:
        with KeptServers() as own:
            return run_jobs(options, listener, checked, servers=own)
    text = options.manifest.read_bytes() if options.manifest.is_file() else b""
    with open_session(options, checked) as session:
        _refuse_shared_folders(session)
        if not session.store.read_only:  # whose logs end with the run
            listener = EventLog(session.store.layout.logs / EVENTS, listener)
        coordinator = _coordinator(session, options, listener, servers)
        reports = coordinator.run()
        session.delivery.remember()
        session.outcomes.remember(reports)
        _save_gc_root(session, reports, listener)
        _save_noop(options, text, session, reports)
        notes = tuple(note for note in (session.nothing_selected, session.store.index.problem) if note)
        for note in notes:
            listener(Note(text=note))
        return Ended(
            reports=reports,
            output_dir=session.manifest.output_dir,
            interrupted=coordinator.interrupted,
            notes=notes,
            histories=None if session.store.read_only else session.store.layout.histories,
        )


def _refuse_shared_folders(session: Session) -> None:
    """Refuse to overwrite what another manifest delivers. Raises UsageError that names the first such job."""
    for job in session.jobs:
        other = session.delivery.other_manifest(job.folder)
        if other is not None:
            folder = os.path.relpath(session.delivery.folder(job.folder))
            ours = os.path.relpath(session.manifest.path)
            raise UsageError(
                f"{folder} was delivered by {os.path.relpath(other)}, which still has a job of this name; "
                f"give {ours} or that manifest another [output] dir, or rename one of the two entries"
            )


def workers(session: Session, options: RunOptions) -> int:
    """Return how many children run at a time: as the options say, else the manifest, else one per core."""
    if options.in_process:
        return 1
    wanted = options.jobs or session.manifest.pools.cpu_workers or usable_cores()
    return max(1, min(wanted, len(session.jobs)))


def _coordinator(session: Session, options: RunOptions, listener: Listener, servers: KeptServers) -> Coordinator:
    slots = workers(session, options)
    cores = usable_cores()
    # In one process there is no child that could be killed when memory runs out.
    memory = None if options.in_process else session.manifest.pools.cpu_memory or usable_memory()
    requests = StageRequests(
        manifest=session.manifest,
        store=session.store,
        results=session.results,
        worker_threads=max(1, cores // slots),
        code_threads=cores,
        compilers=session.store.compilers(session.toolchain.compilers_key()),
        memory=memory,
    )
    runner: Runner = (
        InProcess(requests.server_environment())
        if options.in_process
        else servers.get(
            environment=requests.server_environment(),
            installed=Distributions(import_path()).stamp(),
            log=session.store.layout.logs / "forkserver.log",
        )
    )
    missing = [job for job in session.jobs if not isinstance(session.lookup.export(job), Hit)]
    patterns = {pattern: None for job in missing for pattern in job.export.data}
    for what, remedy in unmatched_data(patterns, session.manifest.root):
        listener(Note(text=f"{what}; {remedy}"))
    expected = None
    if missing:
        session.timings.prefetch(session.jobs)
        expected = session.timings.wall_seconds(
            (
                (job, _stages_to_run(session, options, target=job.target, compiled=job.compile.format != "none"))
                for job in missing
            ),
            workers=slots,
        )
    listener(
        RunStarted(
            jobs=len(session.jobs),
            to_build=len(missing),
            workers=slots,
            expected=expected,
            stages=tuple(_estimates(session, options)),
        )
    )
    return Coordinator(
        session,
        options,
        requests=requests,
        schedule=Schedule(slots=slots, memory=memory, devices=device_slots(session.devices)),
        runner=runner,
        listener=listener,
    )


def _estimates(session: Session, options: RunOptions) -> Iterator[StageEstimate]:
    """Yield the stages that may run, each with its expected time."""
    last = STAGES.index(options.stage or STAGES[-1])
    for job in session.jobs:
        for name, stage in planned_stages(session, job).items():
            if stage.action in ("run", "maybe") and STAGES.index(name) <= last:
                known = stage.expected_seconds is not None
                yield StageEstimate(job=job.name, stage=name, seconds=stage.seconds, known=known)


def _stages_to_run(session: Session, options: RunOptions, *, target: str, compiled: bool) -> tuple[str, ...]:
    """Return the stages that a job without an export goes through in this run, on this machine."""
    if session.devices.why_not(target) is not None:
        return STAGES[:1]
    stages = STAGES[: STAGES.index(options.stage or STAGES[-1]) + 1]
    return tuple(stage for stage in stages if stage != "compile" or compiled)


def _save_gc_root(session: Session, reports: tuple[JobReport, ...], listener: Listener) -> None:
    """Save which records the outputs were made from, so that gc keeps them."""
    if session.store.read_only:  # its owner decides what gc removes
        return
    jobs = {}
    for job, report in zip(session.jobs, reports, strict=True):
        export = session.results.get("export", report.stages["export"].key or "") if report.outputs else None
        code = session.lookup.code_key(job, export) if export is not None else None
        jobs[job.name] = gc_roots.record_names(report, code)
    root = gc_roots.GcRoot(
        manifest=session.manifest.path.absolute(),
        size_limit=session.manifest.size_limit,
        jobs=jobs,
        folders=tuple(job.folder for job in session.manifest.jobs),
    )
    try:
        gc_roots.save_root(session.store, root, [job.name for job in session.manifest.jobs])
    except StoreError as error:  # a full disk, say; the outputs are delivered
        listener(Note(text=f"could not record which results these outputs need, so gc may remove them: {error}"))


def _save_noop(options: RunOptions, text: bytes, session: Session, reports: tuple[JobReport, ...]) -> None:
    """Save the run for `planning.noop`, if every job is delivered and nothing changed meanwhile."""
    if options.stage or options.in_process or options.failed or not all(report.ok for report in reports):
        return
    if options.manifest.read_bytes() != text:
        return  # it was edited meanwhile, so these jobs may be from either version
    hits = [session.traces.find(session.lookup.request_key(job)) for job in session.jobs]
    files = [session.delivery.files(job.folder) for job in session.jobs]
    sets = [
        trace.set_key
        for trace, report in zip(hits, reports, strict=True)
        if isinstance(trace, TraceHit) and trace.export_key == report.stages["export"].key
    ]
    known = [row for row in files if row is not None]
    if len(sets) < len(hits) or len(known) < len(files):
        return
    root = session.manifest.root
    patterns = {pattern for job in session.jobs for pattern in job.export.data}
    noop.save(
        options,
        index=session.store.index,
        manifest=text,
        toolchain=session.toolchain,
        cache=session.store.layout.root,
        root=root,
        output_dir=session.manifest.output_dir,
        sets=sets,
        patterns=patterns,
        jobs=[(report, job.folder, row) for report, job, row in zip(reports, session.jobs, known, strict=True)],
    )
