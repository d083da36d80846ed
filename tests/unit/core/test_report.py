"""The report: schema 1 is a contract, and its counts add up."""

from __future__ import annotations

import json

from batchexport.core.errors import ExitCode
from batchexport.core.report import Outcome, StageReport
from support.reports import built, cached, failure, job, run_report, stage


def test_the_json_form_of_a_run_has_exactly_the_keys_of_schema_1() -> None:
    form = run_report(job()).to_json()
    assert form["schema"] == 1
    assert set(form) == {
        "schema",
        "manifest",
        "started",
        "seconds",
        "exit_code",
        "toolchain",
        "totals",
        "notes",
        "fixes",
        "jobs",
    }


def test_the_json_form_of_a_job_has_exactly_the_keys_of_schema_1() -> None:
    form = job().to_json()
    assert set(form) == {"name", "entry", "target", "ok", "tags", "stages", "outputs", "stats", "warnings", "error"} | {
        "expected"
    }
    assert form["error"] is None


def test_the_error_of_a_failed_job_says_what_to_do() -> None:
    form = job(error=failure(remedy="install g++", log="x.log", reproduce="batchexport run")).to_json()
    assert form["error"] == {
        "stage": "compile",
        "kind": "toolchain",
        "message": "g++ is not on PATH",
        "remedy": "install g++",
        "fix": [],
        "class": None,
        "findings": [],
        "where": None,
        "log": "x.log",
        "log_tail": [],
        "reproduce": "batchexport run",
    }


def test_a_report_survives_json() -> None:
    form = run_report(job(stages={"export": built()}), exit_code=ExitCode.JOB_FAILED).to_json()
    assert json.loads(json.dumps(form)) == form


def test_memory_is_left_out_where_it_was_not_measured() -> None:
    assert "peak_rss_bytes" not in cached().to_json()


def test_totals_count_jobs_and_the_outcomes_of_each_stage() -> None:
    report = run_report(
        job("a", stages={"export": built(), "compile": cached()}),
        job("b", stages={"export": stage(Outcome.FAILED)}, error=failure(stage="export")),
        job("c", ok=False, stages={"export": cached(), "compile": stage(Outcome.SKIPPED)}),
    )
    assert report.totals() == {
        "jobs": 3,
        "ok": 1,
        "failed": 1,
        "expected": 0,
        "skipped": 1,
        "export": {"built": 1, "cached": 1, "failed": 1},
        "compile": {"built": 0, "cached": 1, "skipped": 1},
        "verify": {"built": 0, "cached": 0},
    }


def test_an_expected_failure_is_counted_among_the_failed_jobs() -> None:
    report = run_report(job("a"), job("b", error=failure()), job("c", error=failure(), expected=True))
    totals = report.totals()
    assert (totals["ok"], totals["failed"], totals["expected"], totals["skipped"]) == (1, 2, 1, 0)
    assert [one.unexpected for one in report.jobs] == [False, True, False]


def test_every_job_is_ok_failed_or_skipped_and_only_one_of_them() -> None:
    for one in (job(), job(error=failure()), job(ok=False)):
        assert [one.ok, one.error is not None, one.skipped].count(True) == 1


def keyed(seconds: float, key_seconds: float) -> StageReport:
    return StageReport(outcome=Outcome.BUILT, reason="", seconds=seconds, key_seconds=key_seconds)


def test_totals_tell_what_keys_cost_of_all_that_was_built_and_where_most() -> None:
    report = run_report(
        job("a", stages={"export": keyed(10.0, 0.1), "compile": keyed(30.0, 0.1)}),
        job("b", stages={"export": keyed(10.0, 0.3), "compile": cached()}),
        job("c"),
    )
    assert report.totals()["keys"] == {"seconds": 0.5, "share": 0.01, "worst": {"job": "b", "share": 0.03}}


def test_where_nothing_was_built_keys_cost_nothing_worth_telling() -> None:
    assert run_report(job("a")).keys() is None
