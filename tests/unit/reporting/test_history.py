"""The history of runs: since when a job fails, which are flaky, which became slower."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchexport.core.report import Outcome, StageReport
from batchexport.reporting.history import KEPT, Run, failing_since, history_file, is_flaky, load, run_of, save, slower
from support.reports import built, failure, job, run_report


def run(started: str, **states: str) -> Run:
    rows = {name: [state, "keys", {}] for name, state in states.items()}
    return {"started": started, "seconds": 1.0, "ok": 0, "failed": 0, "skipped": 0, "whole": True, "jobs": rows}


def test_a_job_fails_since_the_first_of_its_last_failures() -> None:
    runs = [run("1", a="failed"), run("2", a="built"), run("3", a="failed"), run("4", b="built"), run("5", a="failed")]
    assert failing_since(runs, "a") == "3"
    assert failing_since(runs, "b") is None
    assert failing_since(runs, "unknown") is None


@pytest.mark.parametrize(
    ("states", "flaky"),
    [
        (["built", "failed", "cached", "failed"], True),
        (["built", "failed", "failed", "failed"], False),
        (["failed", "built"], False),
        (["built", "built", "built", "built"], False),
    ],
)
def test_a_job_that_passes_and_fails_by_turns_is_flaky(states: list[str], flaky: bool) -> None:
    assert is_flaky([run(f"{at}", a=state) for at, state in enumerate(states)], "a") is flaky


def test_a_job_whose_keys_changed_is_not_flaky() -> None:
    runs = [run(f"{at}", a=state) for at, state in enumerate(["built", "failed", "built", "failed"])]
    runs[2]["jobs"]["a"][1] = "other keys"
    assert not is_flaky(runs, "a")


def test_a_stage_is_slower_than_in_the_median_of_earlier_runs() -> None:
    earlier = [run_of(run_report(job("a", stages={"export": built(seconds)}))) for seconds in (2.0, 2.2, 9.0)]
    (found,) = slower(earlier, job("a", stages={"export": built(5.0)}))
    assert (found.stage, found.seconds, found.usual) == ("export", 5.0, 2.2)
    assert slower(earlier, job("a", stages={"export": built(3.0)})) == []
    assert slower([], job("a", stages={"export": built(3.0)})) == []


def test_the_last_runs_are_kept(tmp_path: Path) -> None:
    path = history_file(tmp_path, tmp_path / "manifest.toml")
    save(path, [run(f"{at}") for at in range(KEPT + 5)])
    assert [one["started"] for one in load(path)] == [f"{at}" for at in range(5, KEPT + 5)]


@pytest.mark.parametrize("content", [b"", b"no gzip", b"\x1f\x8b\x08\x00cut"])
def test_a_damaged_history_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "history.json.gz"
    path.write_bytes(content)
    assert load(path) == load(tmp_path / "missing") == []


def test_no_flipped_bit_of_a_history_raises(tmp_path: Path) -> None:
    path = tmp_path / "history.json.gz"
    save(path, [run("1", a="built", b="failed")])
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        assert len(load(path)) <= 1


@pytest.mark.parametrize("jobs", [{"a": []}, {"a": ["built", "keys", {"export": "1"}]}, [], None])
def test_a_run_of_another_form_is_left_out(tmp_path: Path, jobs: object) -> None:
    path = tmp_path / "history.json.gz"
    save(path, [run("1", a="built"), {**run("2"), "jobs": jobs}])
    assert [one["started"] for one in load(path)] == ["1"]


def test_a_run_is_kept_with_the_state_and_times_of_each_job() -> None:
    stages = {"export": built(1.5), "compile": StageReport(outcome=Outcome.CACHED, reason="r")}
    kept = run_of(
        run_report(job("a", stages=stages), job("b", error=failure()), job("c", error=failure(), expected=True))
    )
    assert {name: row[0] for name, row in kept["jobs"].items()} == {"a": "built", "b": "failed", "c": "expected"}
    assert kept["jobs"]["a"][2] == {"export": 1.5}
