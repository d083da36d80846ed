"""The long way of a run: open a session, let the coordinator bring every job to its report, conclude."""

from __future__ import annotations

from pathlib import Path

from batchexport.core.errors import StoreError
from batchexport.core.events import Listener, Note, RunStarted
from batchexport.core.job import Job, RunOptions, data_files
from batchexport.core.report import STAGES, JobReport
from batchexport.dependencies.checker import CheckedFiles
from batchexport.dependencies.traces import TraceHit
from batchexport.engine.coordinator import Coordinator
from batchexport.engine.gpus import slots as device_slots
from batchexport.engine.requests import StageRequests
from batchexport.engine.schedule import Schedule
from batchexport.planning import noop
from batchexport.planning.lookup import Hit
from batchexport.planning.session import Session, open_session
from batchexport.store import gc_roots
from batchexport.toolchain.resources import usable_cores, usable_memory
from batchexport.workers.forkserver import ForkServer
from batchexport.workers.inprocess import InProcess
from batchexport.workers.supervisor import Runner


def run_jobs(
    options: RunOptions, listener: Listener, checked: CheckedFiles | None = None
) -> tuple[tuple[JobReport, ...], Path, bool, tuple[str, ...]]:
    """Reports, the output folder, whether the run was interrupted, and notes; raises as `run.run` does."""
    text = options.manifest.read_bytes() if options.manifest.is_file() else b""
    with open_session(options, checked) as session:
        coordinator = _coordinator(session, options, listener)
        reports = coordinator.run()
        session.delivery.remember()
        _remember(session, reports, listener)
        _conclude(options, text, session, reports)
        notes = tuple(note for note in (session.store.index.problem,) if note)
        for note in notes:
            listener(Note(text=note))
        return reports, session.manifest.output_dir, coordinator.interrupted, notes


def workers(session: Session, options: RunOptions) -> int:
    """How many children work at a time: as asked, as the manifest says, or one a core."""
    if options.in_process:
        return 1
    wanted = options.jobs or session.manifest.pools.cpu_workers or usable_cores()
    return max(1, min(wanted, len(session.jobs)))


def _coordinator(session: Session, options: RunOptions, listener: Listener) -> Coordinator:
    slots = workers(session, options)
    cores = usable_cores()
    # Nothing can be ended for its memory where everything runs in one process.
    memory = None if options.in_process else session.manifest.pools.cpu_memory or usable_memory()
    requests = StageRequests(
        manifest=session.manifest,
        store=session.store,
        results=session.results,
        worker_threads=max(1, cores // slots),
        code_threads=cores,
        memory=memory,
    )
    runner: Runner = (
        InProcess(requests.server_environment())
        if options.in_process
        else ForkServer(environment=requests.server_environment(), log=session.store.layout.logs / "forkserver.log")
    )
    missing = [job for job in session.jobs if not isinstance(session.lookup.export(job), Hit)]
    expected = None
    if missing:
        session.timings.prefetch(session.jobs)
        expected = session.timings.wall_seconds(
            ((job, _stages_to_run(session, options, job)) for job in missing), workers=slots
        )
    listener(RunStarted(jobs=len(session.jobs), to_build=len(missing), workers=slots, expected=expected))
    return Coordinator(
        session,
        options,
        requests=requests,
        schedule=Schedule(slots=slots, memory=memory, devices=device_slots(session.devices)),
        runner=runner,
        listener=listener,
    )


def _stages_to_run(session: Session, options: RunOptions, job: Job) -> tuple[str, ...]:
    """Return the stages that a job without an export goes through in this run, on this machine."""
    if session.devices.why_not(job.target) is not None:
        return STAGES[:1]
    stages = STAGES[: STAGES.index(options.stage or STAGES[-1]) + 1]
    return tuple(stage for stage in stages if stage != "compile" or job.compile.format != "none")


def _remember(session: Session, reports: tuple[JobReport, ...], listener: Listener) -> None:
    """Write down what the outputs were made from, for gc."""
    jobs = {}
    for job, report in zip(session.jobs, reports, strict=True):
        export = session.results.get("export", report.stages["export"].key or "") if report.outputs else None
        code = session.lookup.code_key(job, export) if export is not None else None
        jobs[job.name] = gc_roots.record_names(report, code)
    found = gc_roots.GcRoot(
        manifest=session.manifest.path.absolute(),
        size_limit=session.manifest.size_limit,
        jobs=jobs,
        folders=tuple(job.folder for job in session.manifest.jobs),
    )
    try:
        gc_roots.save_root(session.store, found, [job.name for job in session.manifest.jobs])
    except StoreError as error:  # a full disk; the run itself is done
        listener(Note(text=f"gc will not know what these outputs need: {error}"))


def _conclude(options: RunOptions, text: bytes, session: Session, reports: tuple[JobReport, ...]) -> None:
    """Remember that everything is in place, if it is."""
    if options.stage or options.in_process or not all(report.ok for report in reports):
        return
    if options.manifest.read_bytes() != text:
        return  # it was edited meanwhile, so nobody knows which of the two these jobs are from
    found = [session.traces.find(session.lookup.request_key(job)) for job in session.jobs]
    files = [session.delivery.files(job.folder) for job in session.jobs]
    sets = [
        trace.set_key
        for trace, report in zip(found, reports, strict=True)
        if isinstance(trace, TraceHit) and trace.export_key == report.stages["export"].key
    ]
    known = [row for row in files if row is not None]
    if len(sets) < len(found) or len(known) < len(files):
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
        data={pattern: data_files(root, [pattern]) for pattern in patterns},
        jobs=[(report, job.folder, row) for report, job, row in zip(reports, session.jobs, known, strict=True)],
    )
