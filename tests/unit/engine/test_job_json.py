"""job.json: a job's keys, digests and verification evidence, and no times or paths."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from batchexport.core.report import Outcome, StageReport
from batchexport.engine.job_json import job_json
from batchexport.engine.job_run import JobRun
from batchexport.store.results import Result
from batchexport.store.store import Record, Store
from support.builders import export_result, job, key

EVIDENCE = {"rtol": 1e-4, "atol": 1e-5, "samples": [{"point": {"batch": 1}, "max_abs_diff": 0.0}], "refused": None}


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, tuple[Record, str]]:
    store = Store.open(tmp_path / "cache")

    def record(kind: str, name: str, **data: object) -> Record:
        path = store.attempt("job") / name
        path.write_text(name)
        return store.publish(kind, key(kind), files={name: path}, data=data)

    stats = {"op_count": 3, "ops": {"add": 3}, "seconds": {"build": 1.5}}
    return {
        "exported.pt2": (record("export", "exported", stats=stats), "exported"),
        "compiled.pt2": (record("compile", "compiled"), "compiled"),
    }


def made(*, seconds: float = 1.0, outcome: Outcome = Outcome.BUILT) -> JobRun:
    run = JobRun(job())
    for stage in ("export", "compile", "verify"):
        run.stages[stage] = StageReport(outcome=outcome, reason="why", key=key(stage), seconds=seconds)
    run.export = export_result()
    run.verified = Result(key=key("verify"), files={}, facts={"evidence": EVIDENCE})
    return run


def test_it_holds_keys_digests_stats_and_evidence(sources: dict[str, tuple[Record, str]]) -> None:
    written = job_json(made(), sources)
    assert written["schema"] == 1
    assert (written["name"], written["entry"], written["target"]) == ("bert@cpu", "bert", "cpu")
    assert written["outputs"] == {"exported": "exported.pt2", "compiled": "compiled.pt2"}
    assert written["call"] == {"args": ["x"], "kwargs": ["mask"], "positions": ["x", "mask"]}
    assert written["keys"] == {stage: key(stage) for stage in ("export", "compile", "verify")}
    assert written["digests"] == {
        "exported.pt2": sources["exported.pt2"][0].files["exported"].digest,
        "compiled.pt2": sources["compiled.pt2"][0].files["compiled"].digest,
        "program": key("program"),
        "state": key("state"),
    }
    assert written["stats"] == {"op_count": 3, "ops": {"add": 3}}
    assert written["verify"]["samples"] == EVIDENCE["samples"]
    assert written["verify"]["rtol"] == 1e-4


def test_it_does_not_depend_on_build_time_or_outcome(sources: dict[str, tuple[Record, str]]) -> None:
    assert job_json(made(), sources) == job_json(made(seconds=99.0, outcome=Outcome.CACHED), sources)


def test_it_contains_no_path_of_this_machine(sources: dict[str, tuple[Record, str]], tmp_path: Path) -> None:
    assert str(tmp_path) not in json.dumps(job_json(made(), sources))


def test_a_job_without_compiled_code_names_none(sources: dict[str, tuple[Record, str]]) -> None:
    run = made()
    run.stages["compile"] = StageReport(outcome=Outcome.SKIPPED, reason='compile format is "none"')
    del sources["compiled.pt2"]
    written = job_json(run, sources)
    assert written["outputs"] == {"exported": "exported.pt2"}
    assert "compile" not in written["keys"]
