"""The page of a run in a real browser: Debian's Chromium, driven by playwright."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchexport.core.errors import Kind
from batchexport.core.report import Outcome, StageReport
from batchexport.reporting.history import run_of
from batchexport.reporting.page import html_page
from batchexport.reporting.timeline import Span
from support.reports import built, cached, failure, job, run_report, stage

pytestmark = pytest.mark.process

CHROMIUM = shutil.which("chromium")
LOAD_SECONDS = 2.0  # the target for 2,000 jobs; the test allows for a busy machine
SIZES = {"desktop": (1200, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with a failure, a flaky job and 200 jobs in all."""
    error = failure(
        stage="export",
        kind=Kind.BUILD,
        message="running the model in eager mode at batch=3: RuntimeError: mat1 and mat2 shapes cannot be multiplied; "
        "at models/attention.py:31: return self.projection(hidden_states_of_the_encoder.transpose(1, 2))",
        remedy="write 4 in place of 5 as the last size of x",
        log="cache/v1/logs/bad@cpu/export.log",
        reproduce="batchexport run manifests/zoo.toml --only bad@cpu --stage export --in-process",
    )
    stages = {"export": built(3.0), "compile": built(7.5), "verify": built(0.2)}
    jobs = [
        job("bad@cpu", error=error, stages={"export": stage(Outcome.FAILED, seconds=1.0)}),
        job("flaky@cpu", error=error, stages={"export": stage(Outcome.FAILED, seconds=1.0)}, tags=("nightly",)),
        *(job(f"model-{at:03}@cpu", stages=stages, tags=("demo",) if at % 2 else ()) for at in range(60)),
        *(job(f"kept-{at:03}@cpu", stages={"export": cached()}) for at in range(138)),
    ]
    now = run_report(*jobs, manifest="manifests/zoo.toml", seconds=312.0)
    passing = run_report(*(job("flaky@cpu") if one.name == "flaky@cpu" else one for one in jobs), seconds=290.0)
    spans = [
        Span(job=f"model-{at:03}@cpu", stage=name, reason="", start=at * 5 + more, end=at * 5 + more + 2, worker=at % 2)
        for at in range(60)
        for more, name in ((0, "export"), (2, "compile"), (4, "verify"))
    ]
    earlier = [run_of(passing), run_of(now), run_of(passing)]
    file = tmp_path_factory.mktemp("page") / "index.html"
    file.write_text(html_page(now, spans, earlier))
    return file


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_page_fits_every_screen_in_both_themes(browser: Any, page_file: Path, theme: str, size: str) -> None:
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(page_file.as_uri())
    page.screenshot(path=page_file.with_name(f"{size}-{theme}.png"))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, background[4:-1].split(","))) < 384) is (theme == "dark")
    assert said == []
    page.close()


def shown(page: Any) -> int:
    return int(page.locator(".j:visible").count())


def test_filters_show_what_they_say(browser: Any, page_file: Path) -> None:
    page = browser.new_page()
    page.goto(page_file.as_uri())
    assert shown(page) == 200
    page.click("#filters button[data-status=failed]")
    assert shown(page) == 2
    assert page.inner_text("#shown") == "2 of 200 shown"
    page.click("#filters button[data-status=built]")
    page.click("#filters button[data-tag=demo]")
    assert shown(page) == 30
    page.fill("#text", "model-001")
    assert shown(page) == 1
    page.click(".j:visible summary")
    assert "first time" in page.inner_text(".j:visible .in")
    page.close()


def test_what_failed_stands_at_the_top(browser: Any, page_file: Path) -> None:
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto(page_file.as_uri())
    first = page.locator(".fail").first
    assert "bad@cpu" in first.inner_text()
    assert first.bounding_box()["y"] < 400
    assert "flaky" in page.inner_text("main")
    page.close()


def test_two_thousand_jobs_open_quickly(browser: Any, tmp_path: Path) -> None:
    stages = dict.fromkeys(
        ("export", "compile", "verify"), StageReport(outcome=Outcome.BUILT, reason="source: a.py changed", seconds=2.0)
    )
    spans = [
        Span(job=f"model-{at:04}@cpu", stage=name, reason="", start=at, end=at + 1, worker=at % 2)
        for at in range(2000)
        for name in stages
    ]
    file = tmp_path / "index.html"
    file.write_text(html_page(run_report(*(job(f"model-{at:04}@cpu", stages=stages) for at in range(2000))), spans))
    assert file.stat().st_size < 1.5e6
    page = browser.new_page()
    started = time.monotonic()
    page.goto(file.as_uri())
    page.wait_for_function("document.getElementById('shown').textContent.startsWith('2000 of')")
    assert time.monotonic() - started < 5 * LOAD_SECONDS
    page.close()
