"""The verbs: each opens one session, does one thing with it, and returns plain data."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from batchexport import jobs as jobs_module
from batchexport.coordinator import Coordinator, Policy, Runner
from batchexport.decide import Hit
from batchexport.errors import ExitCode, StoreError
from batchexport.events import Listener, Note, RunStarted
from batchexport.plan import JobState, Plan
from batchexport.planning import job_state, planned
from batchexport.probe import cuda_devices, usable_cores, usable_memory
from batchexport.publish import Publisher
from batchexport.report import JobReport, RunReport
from batchexport.schedule import Schedule
from batchexport.session import RunOptions, Session, cache_folder, opened
from batchexport.workers.forkserver import ForkServer
from batchexport.workers.inprocess import InProcess
from batchexport.workplace import Workplace

__all__ = ["RunOptions", "cache_root", "ls", "plan", "run"]


def run(options: RunOptions, listener: Listener = lambda event: None) -> RunReport:
    """Bring every selected job to verified outputs, rebuilding only what changed; writes the JSON report.

    Raises ManifestError, UsageError, StoreError, EnvironmentProblem: what stops the whole command. A
    failed job is in the report.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    with opened(options) as session, _termination():
        coordinator = _coordinator(session, options, listener)
        reports = coordinator.run(session.jobs)
        session.delivery.settle()
        if session.store.index.problem:
            listener(Note(text=session.store.index.problem))
        report = RunReport(
            manifest=str(options.manifest),
            started=started.isoformat(timespec="seconds"),
            seconds=time.monotonic() - clock,
            toolchain=session.toolchain.summary(),
            jobs=reports,
            exit_code=_exit_code(reports, interrupted=coordinator.interrupted),
            path=_shown(options.json or session.manifest.output_dir / "report.json"),
        )
        _write(report, options.json or session.manifest.output_dir / "report.json")
    return report


def plan(options: RunOptions) -> Plan:
    """What the next run would do, and why; imports no torch and starts nothing."""
    with opened(options) as session:
        return planned(session, manifest=str(options.manifest), workers=_workers(session, options))


def ls(options: RunOptions) -> tuple[JobState, ...]:
    """Every selected job and the state of its outputs."""
    with opened(options) as session:
        return tuple(job_state(session, job) for job in session.jobs)


def cache_root(options: RunOptions) -> Path:
    """The cache folder that a run of this manifest would use."""
    return cache_folder(options, jobs_module.load(options.manifest)).absolute()


def _coordinator(session: Session, options: RunOptions, listener: Listener) -> Coordinator:
    workers = _workers(session, options)
    cores = usable_cores()
    workplace = Workplace(
        manifest=session.manifest,
        store=session.store,
        worker_threads=max(1, cores // workers),
        code_threads=cores,
    )
    runner: Runner = (
        InProcess(workplace.server_environment())
        if options.in_process
        else ForkServer(environment=workplace.server_environment(), log=session.store.layout.logs / "forkserver.log")
    )
    missing = sum(not isinstance(session.decider.export(job), Hit) for job in session.jobs)
    listener(RunStarted(jobs=len(session.jobs), to_build=missing, workers=workers))
    return Coordinator(
        workplace=workplace,
        decider=session.decider,
        results=session.results,
        publisher=Publisher(
            results=session.results,
            traces=session.traces,
            decider=session.decider,
            history=session.history,
            root=str(session.manifest.root),
        ),
        delivery=session.delivery,
        timings=session.timings,
        schedule=Schedule(slots=workers, memory=session.manifest.pools.cpu_memory or usable_memory()),
        runner=runner,
        listener=listener,
        policy=Policy(
            last_stage=options.stage or "verify",
            devices=cuda_devices(),
            require_all=options.require_all,
            fail_fast=options.fail_fast,
        ),
    )


def _workers(session: Session, options: RunOptions) -> int:
    if options.in_process:
        return 1
    wanted = options.jobs or session.manifest.pools.cpu_workers or usable_cores()
    return max(1, min(wanted, len(session.jobs)))


def _exit_code(reports: tuple[JobReport, ...], *, interrupted: bool) -> ExitCode:
    if interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.OK if all(report.ok or report.skipped for report in reports) else ExitCode.JOB_FAILED


def _write(report: RunReport, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(json.dumps(report.to_json()) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise StoreError(f"can't write the report {path}: {error.strerror}") from error


def _shown(path: Path) -> str:
    """The path as one would type it here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("../..") else relative


@contextmanager
def _termination() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
