"""The page of a run: one file, escaped, with what a person asks first at its top."""

from __future__ import annotations

import json
import re
from pathlib import Path

from batchexport.core.errors import Kind
from batchexport.core.report import Outcome, RunReport, StageReport
from batchexport.reporting.history import Run, run_of
from batchexport.reporting.page import html_page
from batchexport.reporting.timeline import Span
from support.reports import built, failure, job, run_report


def failing(name: str = "bad@cpu") -> RunReport:
    error = failure(
        stage="export", kind=Kind.BUILD, message="it can't <b>", remedy="write y", reproduce="batchexport run"
    )
    return run_report(job(name, error=error), job("good@cpu", stages={"export": built(reason="source: a.py changed")}))


def passing(started: str) -> Run:
    return {**run_of(run_report(job("bad@cpu"), job("good@cpu"))), "started": started}


def test_the_page_needs_no_other_file() -> None:
    page = html_page(failing())
    assert re.findall(r"""(?:src|href)=|url\(|@import|https?://""", page) == []


def test_names_and_messages_are_escaped() -> None:
    page = html_page(failing("<script>alert(1)</script>@cpu"))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;@cpu" in page
    assert "it can&#39;t &lt;b&gt;" in page


def test_a_failure_is_told_with_its_remedy_and_since_when() -> None:
    earlier = [passing("2026-01-01T00:00"), {**run_of(failing()), "started": "2026-01-01T03:04:05+00:00"}]
    page = html_page(failing(), earlier=earlier)
    assert "write y" in page
    assert re.search(r"failing since</dt><dd>2026-01-01 03:04 UTC", page)


def test_what_is_new_since_the_last_run_is_told() -> None:
    page = html_page(failing(), earlier=[passing("2026-01-01T00:00")])
    assert re.search(r"newly failing</dt><dd>bad@cpu", page)
    assert "New since the last run" not in html_page(failing())


def test_a_run_of_selected_jobs_makes_no_others_new_or_gone() -> None:
    earlier = [run_of(run_report(job("a@cpu"), job("b@cpu")))]
    assert "gone" not in html_page(run_report(job("a@cpu", stages={"export": built()})), earlier=earlier, whole=False)
    assert "gone" in html_page(run_report(job("a@cpu", stages={"export": built()})), earlier=earlier)


def test_reasons_of_what_was_built_are_counted() -> None:
    assert re.search(r"1 stage</dt><dd>source: a.py changed", html_page(failing()))


def test_a_flaky_job_is_called_out() -> None:
    earlier = [passing("1"), run_of(failing()), passing("2")]
    assert re.search(r"flaky</dt><dd>bad@cpu", html_page(failing(), earlier=earlier))


def test_a_slower_stage_is_called_out() -> None:
    stages = {"export": built(2.0)}
    earlier = [run_of(run_report(job("a@cpu", stages=stages)))] * 3
    page = html_page(run_report(job("a@cpu", stages={"export": built(6.0)})), earlier=earlier)
    assert "a@cpu: export took 6.0 s, usually 2.0 s" in page


def test_stages_are_drawn_by_worker() -> None:
    spans = [Span(job="a", stage="export", reason="", start=0, end=1, worker=0)]
    assert '<rect class="export"' in html_page(run_report(job("a")), spans)
    assert "Where the time went" not in html_page(run_report(job("a")))


def test_the_page_of_many_jobs_is_small(tmp_path: Path) -> None:
    stage = StageReport(outcome=Outcome.BUILT, reason="source: models/attention.py changed", seconds=3.0)
    stages = dict.fromkeys(("export", "compile", "verify"), stage)
    sample = {"point": {"batch": 16, "height": 128, "width": 192}, "max_abs_diff": 2.5e-5, "scale": 4.0}
    (tmp_path / "job.json").write_text(json.dumps({"verify": {"atol": 1e-5, "rtol": 1e-5, "samples": [sample] * 9}}))
    outputs = {name: str(tmp_path / f"{name}.pt2") for name in ("exported", "compiled")}
    names = [f"bert-base-{at:04}@cpu" for at in range(1900)]
    jobs = [job(name, stages=stages, outputs=outputs, tags=("demo",)) for name in names]
    spans = [Span(job=name, stage=one, reason="", start=0, end=1, worker=0) for name in names for one in stages]
    jobs += [job(f"bad-{at:04}@cpu", error=failure(message="x" * 200, remedy="y" * 100)) for at in range(100)]
    page = html_page(run_report(*jobs), spans)
    assert page.count("<meter") == 900
    assert len(page.encode()) < 1.5e6


def test_the_page_of_a_night_on_which_everything_fails_is_small_and_names_every_job() -> None:
    tail = tuple(f"line {at} of a traceback, as long as such lines are in the mean" for at in range(20))
    error = failure(message="RuntimeError: mat1 and mat2 shapes cannot be multiplied", log_tail=tail)
    page = html_page(run_report(*(job(f"model-{at:04}@cpu", error=error) for at in range(2000))))
    assert len(page) < 1.5e6
    assert "and 1900 more, in the list of all jobs below" in page
    assert all(f"model-{at:04}@cpu" in page for at in range(2000))


def test_a_built_job_shows_how_it_compared_with_eager_at_each_corner(tmp_path: Path) -> None:
    sample = {"point": {"batch": 16}, "max_abs_diff": 2.5e-5, "scale": 4.0}
    verify = {"atol": 1e-5, "rtol": 1e-5, "samples": [sample]}
    (tmp_path / "job.json").write_text(json.dumps({"verify": verify}))
    one = job(stages={"export": built()}, outputs={"exported": str(tmp_path / "exported.pt2")})
    page = html_page(run_report(one))
    assert "differs by 2.5e-05, 5.0e-05 allowed" in page
    assert 'value="0.500"' in page
    for damaged in ("[]", "{", '{"verify": {"samples": [{}]}}', '{"verify": null}'):
        (tmp_path / "job.json").write_text(damaged)
        assert "allowed" not in html_page(run_report(one))
