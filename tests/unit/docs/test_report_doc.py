"""docs/report.md against the forms it describes: the same fields, kinds, outcomes and exit codes."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchexport.core.edits import AppliedFix, Edit
from batchexport.core.errors import ExitCode, Kind
from batchexport.core.events import StageStarted
from batchexport.core.plan import Plan, PlannedJob, PlannedStage
from batchexport.core.report import STAGES, Outcome, Place, StageReport
from batchexport.engine.event_log import EventLog
from batchexport.engine.job_json import job_json
from batchexport.engine.job_run import JobRun
from batchexport.store.blobs import Blob
from batchexport.store.results import Result
from batchexport.store.store import Record
from support.builders import CALL, export_result, key
from support.builders import job as make_job
from support.reports import failure, job, run_report

PAGE = Path(__file__).parents[3] / "docs" / "report.md"
STATS = {"op_count": 3, "parameter_bytes": 40, "buffer_bytes": 0, "strict": False}


def section(title: str) -> str:
    """The text below a heading of the page."""
    return PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def documented_fields(title: str) -> list[str]:
    """The fields that a section lists; several may share a bullet."""
    found = []
    for bullet in re.findall(r"^- .*(?:\n(?!- |\n).*)*", section(title), re.MULTILINE):
        head = re.match(r"- ((?:`[^`]+`(?: \([^)]*\))?(?:, )?)+)", bullet)
        assert head is not None, bullet
        assert re.search(r"`[^`]+` \([^)]+\): \S", bullet), f"no type or no meaning: {bullet}"
        found += re.findall(r"`([^`]+)`", head[1])
    return found


def documented_words(title: str) -> list[str]:
    """The first column of a section's table."""
    return re.findall(r"^\| `?([\w-]+)`? \|", section(title), re.MULTILINE)[1:]


def fields(form: Any, free: dict[str, str], path: str = "") -> Iterator[str]:
    """The fields of a JSON form; `free` names the placeholder for the keys of objects that are not fixed."""
    if path:
        yield path
    if isinstance(form, list):
        for item in form:
            if isinstance(item, dict):
                yield from fields(item, free, f"{path}[]")
    if isinstance(form, dict):
        for name, value in form.items():
            part = free.get(path, name)
            yield from fields(value, free, f"{path}.{part}" if path else part)


def described(form: Any, free: dict[str, str], documented: list[str]) -> set[str]:
    """The fields of a form, except objects and lists that the page describes only by what they hold."""
    found = set(fields(form, free))
    outer = {one for one in found if any(other.startswith((f"{one}.", f"{one}[]")) for other in found)}
    return found - (outer - set(documented))


def sample_report() -> dict[str, Any]:
    stage = StageReport(
        outcome=Outcome.BUILT,
        reason="r",
        key=key("a"),
        seconds=1.0,
        key_seconds=0.1,
        peak_rss_bytes=1,
        wrapper="parts",
    )
    built = job(stages=dict.fromkeys(STAGES, stage), outputs={"exported": "e", "compiled": "c"}, stats=STATS)
    fix = (Edit(path=("dims", "n"), value=5),)
    place = Place(file="models.py", line=3, text="raise", function="forward")
    error = failure(remedy="r", fix=fix, where=place, log="l", log_tail=("t",), reproduce="batchexport run")
    failed = job("gpt@cpu", error=error)
    applied = AppliedFix(line=7, entry="gpt", key="dims.n", before="4", after="5")
    return run_report(built, failed, fixes=(applied,)).to_json()


def sample_job_file() -> dict[str, Any]:
    run = JobRun(make_job())
    for name in STAGES:
        run.stages[name] = StageReport(outcome=Outcome.BUILT, reason="r", key=key(name))
    run.export = export_result(call={**CALL, "inputs": ["x = { shape = [2] }"]})
    evidence = {
        "samples": [{"point": {"batch": 1}, "max_abs_diff": 0.0, "scale": 1.0}],
        "refused": {"point": {"batch": 65}, "error": "RuntimeError"},
        "not_told_apart": ["output[1]"],
    }
    run.verified = Result(key=key("verify"), files={}, facts={"evidence": evidence})
    stats = {**STATS, "ops": {"add": 3}, "gradients": ["w"], "dtypes": ["float32"], "seconds": {"build": 1.0}}
    sources = {
        file: (Record(kind=kind, key=key(kind), data={"stats": stats}, files={name: Blob(digest="d", size=1)}), name)
        for file, kind, name in (("exported.pt2", "export", "exported"), ("compiled.pt2", "compile", "compiled"))
    }
    return job_json(run, sources)


def sample_plan() -> dict[str, Any]:
    stage = PlannedStage(action="run", reason="r", expected_seconds=1.0)
    return Plan(manifest="m", jobs=(PlannedJob(name="a@cpu", stages=dict.fromkeys(STAGES, stage)),)).to_json()


REPORT_FREE = {
    "totals.<stage>": "<outcome>",
    "jobs[].stages": "<stage>",
    "jobs[].outputs": "<artifact>",
}
JOB_FREE = {
    "outputs": "<artifact>",
    "keys": "<stage>",
    "stats.ops": "<operator>",
    "verify.samples[].point": "<dim>",
    "verify.refused.point": "<dim>",
}


def test_the_report_has_exactly_the_fields_of_the_page() -> None:
    form = sample_report()
    form["toolchain"] = "its names depend on the machine"
    for stage in STAGES:
        form["totals"]["<stage>"] = form["totals"].pop(stage)
    documented = documented_fields("The JSON report")
    assert Counter(documented) == Counter(described(form, REPORT_FREE, documented))


def test_job_json_has_exactly_the_fields_of_the_page() -> None:
    form = sample_job_file()
    for file in ("exported.pt2", "compiled.pt2"):
        form["digests"]["<file>"] = form["digests"].pop(file)
    documented = documented_fields("job.json")
    assert Counter(documented) == Counter(described(form, JOB_FREE, documented))


def test_the_event_log_has_exactly_the_fields_of_the_page(tmp_path: Path) -> None:
    EventLog(tmp_path / "events.jsonl", lambda _: None)(StageStarted(job="a@cpu", stage="export", reason="r"))
    assert documented_fields("The event log") == list(json.loads((tmp_path / "events.jsonl").read_text()))


def test_the_plan_has_exactly_the_fields_of_the_page() -> None:
    documented = documented_fields("The plan")
    found = described(sample_plan(), {"jobs[].stages": "<stage>"}, documented)
    assert Counter(documented) == Counter(found)


@pytest.mark.parametrize(
    ("title", "values"),
    [
        ("Outcomes", [str(outcome) for outcome in Outcome]),
        ("Failure kinds", [str(kind) for kind in Kind]),
        ("Exit codes", [str(int(code)) for code in ExitCode]),
    ],
)
def test_the_page_lists_every_value(title: str, values: list[str]) -> None:
    assert documented_words(title) == values
