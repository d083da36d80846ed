"""The difference of two runs: what is broken, fixed, and changed in what is delivered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click.testing
import pytest

from batchexport.cli.main import cli
from batchexport.core.errors import Kind
from batchexport.reporting.difference import JobFacts, compare, job_change, report_facts
from support.reports import built, failure, job, run_report

FAILS = JobFacts(state="failed", kind="export", message="no")


def test_jobs_are_new_gone_broken_fixed_or_failing_as_before() -> None:
    before = {"gone": JobFacts(), "broken": JobFacts(), "fixed": FAILS, "still": FAILS, "same": JobFacts()}
    after = {"broken": FAILS, "fixed": JobFacts(), "still": FAILS, "same": JobFacts(), "new": JobFacts()}
    found = compare(before, after)
    assert (found.new, found.gone, found.fixed, found.failing) == (("new",), ("gone",), ("fixed",), ("still",))
    assert [name for name, _ in found.newly_failing] == ["broken"]
    assert (found.same, found.jobs) == (1, 6)
    assert found.differs


def test_operators_sizes_and_numbers_are_compared() -> None:
    before = JobFacts(ops={"relu": 1, "add": 2}, op_count=3, sizes={"exported.pt2": 10}, difference=0.0)
    after = JobFacts(ops={"add": 3, "tanh": 1}, op_count=4, sizes={"exported.pt2": 12}, difference=1e-6)
    change = job_change("a", before, after)
    assert change is not None
    assert change.ops == {"add": (2, 3), "relu": (1, 0), "tanh": (0, 1)}
    assert change.op_count == (3, 4)
    assert change.sizes == {"exported.pt2": (10, 12)}
    assert change.difference == (0.0, 1e-6)


def test_what_only_one_side_tells_is_no_difference() -> None:
    told = JobFacts(ops={"relu": 1}, op_count=1, sizes={"exported.pt2": 10}, difference=0.0, seconds={"export": 60.0})
    assert job_change("a", JobFacts(), told) is None


@pytest.mark.parametrize(
    ("before", "after", "told"), [(10.0, 11.0, False), (0.1, 0.9, False), (10.0, 15.0, True), (15.0, 10.0, True)]
)
def test_a_time_is_told_where_it_is_clearly_another_and_never_counts(before: float, after: float, told: bool) -> None:
    found = compare({"a": JobFacts(seconds={"export": before})}, {"a": JobFacts(seconds={"export": after})})
    assert bool(found.changed) is told
    assert not found.differs


def test_a_failure_of_another_kind_is_a_change() -> None:
    change = job_change("a", FAILS, JobFacts(state="failed", kind="crash"))
    assert change is not None
    assert change.kind == ("export", "crash")


def test_an_expected_failure_is_as_good_as_a_delivered_job() -> None:
    report = run_report(job("a", error=failure(), expected=True), job("b", stages={"export": built(2.0)}))
    facts = report_facts(report.to_json())
    assert [one.state for one in facts.values()] == ["ok", "ok"]
    assert facts["b"].seconds == {"export": 2.0}


# --- the command


def delivered(folder: Path, name: str, **ops: int) -> None:
    made = folder / name
    made.mkdir(parents=True)
    stats = {"ops": ops, "op_count": sum(ops.values())}
    verify = {"samples": [{"max_abs_diff": 0.0}]}
    (made / "job.json").write_text(json.dumps({"name": name, "stats": stats, "verify": verify}))
    (made / "exported.pt2").write_bytes(b"x" * 2048 * len(ops))


def diff(*words: Any) -> click.testing.Result:
    return click.testing.CliRunner().invoke(cli, ["diff", *map(str, words)])


def test_two_folders_tell_what_changed(tmp_path: Path) -> None:
    for folder, more in (("old", {}), ("new", {"tanh": 1})):
        delivered(tmp_path / folder, "a@cpu", relu=1, **more)
        delivered(tmp_path / folder, "b@cpu", relu=1)
    result = diff(tmp_path / "old", tmp_path / "new")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "changed  a@cpu",
        "           operators  1 → 2",
        "             +1  tanh  0 → 1",
        "           size       exported.pt2  2.0 KiB → 4.0 KiB",
        "2 jobs: 1 changed, 1 the same",
    ]
    assert diff(tmp_path / "old", tmp_path / "new", "--exit-code").exit_code == 1
    assert diff(tmp_path / "old", tmp_path / "old", "--exit-code").exit_code == 0
    form = json.loads(diff(tmp_path / "old" / "a@cpu", tmp_path / "new" / "a@cpu", "--json").stdout)
    assert form["changed"][0]["ops"] == {"tanh": [0, 1]}


def test_two_reports_tell_what_broke(tmp_path: Path) -> None:
    for name, one in (("old", job("a")), ("new", job("a", error=failure(kind=Kind.CRASH, message="boom")))):
        (tmp_path / name).write_text(json.dumps(run_report(one).to_json()))
    result = diff(tmp_path / "old", tmp_path / "new")
    assert result.stdout.splitlines() == ["broken   a  crash: boom", "1 job: 1 newly failing"]


@pytest.mark.parametrize(
    ("text", "words"), [("{", "is not JSON"), ("[]", "no report of a run"), ('{"jobs": 3}', "no report of a run")]
)
def test_another_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "x.json").write_text(text)
    result = diff(tmp_path / "x.json", tmp_path / "x.json")
    assert result.exit_code == 2
    assert words in result.stderr
    assert "neither a report.json nor folders" in diff(tmp_path, tmp_path).stderr
