"""The end of a job: its report says whether it failed as the manifest expects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batchexport.core.errors import Kind
from batchexport.core.events import Event, JobFinished
from batchexport.core.report import Outcome, StageReport
from batchexport.engine.finish import JobFinisher
from batchexport.engine.job_run import JobRun
from batchexport.engine.requests import StageRequests
from batchexport.store.outputs import Delivery
from batchexport.store.results import Results
from batchexport.store.store import Store
from support.builders import job, manifest
from support.reports import failure


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "cache") as opened:
        yield opened


@pytest.fixture
def finisher(tmp_path: Path, store: Store, heard: list[Event]) -> JobFinisher:
    made = manifest(tmp_path)
    requests = StageRequests(
        manifest=made,
        store=store,
        results=Results(store),
        worker_threads=1,
        code_threads=1,
        compilers=store.layout.inductor,
        memory=None,
    )
    delivery = Delivery(store, made.output_dir, made.path)
    return JobFinisher(requests=requests, delivery=delivery, listener=heard.append, total=1)


@pytest.fixture
def heard() -> list[Event]:
    return []


def test_a_failure_in_the_stage_that_the_manifest_names_is_expected(finisher: JobFinisher, heard: list[Event]) -> None:
    report = finisher.fail(JobRun(job(expected_failure="export")), failure(stage="export", kind=Kind.CRASH))
    assert report.expected and not report.ok and not report.unexpected
    assert heard == [JobFinished(report=report, done=1, total=1)]


def test_a_failure_in_another_stage_or_without_a_word_in_the_manifest_is_not(finisher: JobFinisher) -> None:
    for run in (JobRun(job(expected_failure="verify")), JobRun(job())):
        assert finisher.fail(run, failure(stage="export", kind=Kind.EXPORT)).unexpected


@pytest.mark.parametrize("kind", [Kind.DISK, Kind.TOOLCHAIN, Kind.INTERNAL])
def test_a_failure_of_the_machine_is_never_the_expected_one(finisher: JobFinisher, kind: Kind) -> None:
    assert finisher.fail(JobRun(job(expected_failure="compile")), failure(stage="compile", kind=kind)).unexpected


def test_a_job_that_is_cancelled_or_skipped_did_not_fail(finisher: JobFinisher) -> None:
    run = JobRun(job(expected_failure="compile"))
    run.stages["compile"] = StageReport(outcome=Outcome.SKIPPED, reason="no CUDA device")
    report = finisher.end(run)
    assert report.skipped and not report.expected
