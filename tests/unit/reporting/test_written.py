"""The reports of a run are written where options say, and none that can't be written stops the others."""

from __future__ import annotations

import json
from pathlib import Path

from batchexport.core.options import RunOptions
from batchexport.core.report import RunReport
from batchexport.reporting.history import history_file, load
from batchexport.reporting.written import write_reports
from support.reports import built, job, run_report

BUILT = run_report(job("a@cpu", stages={"export": built()}))
IDLE = run_report(job("a@cpu"))


def written(folder: Path, report: RunReport, **options: Path) -> list[Path]:
    """The reports that could not be written."""
    given = RunOptions(manifest=folder / "manifest.toml", **options)  # type: ignore[arg-type]
    page = folder / "report" / "index.html"
    return [one.path for one in write_reports(report, given, [], page=page, kept=folder / "histories")]


def test_a_run_that_built_something_leaves_a_page_and_a_history(tmp_path: Path) -> None:
    assert written(tmp_path, BUILT) == []
    assert (tmp_path / "report" / "index.html").read_text().startswith("<!doctype html>")
    assert len(load(history_file(tmp_path / "histories", tmp_path / "manifest.toml"))) == 1


def test_an_idle_run_leaves_page_and_history_as_they_are(tmp_path: Path) -> None:
    assert written(tmp_path, IDLE) == []
    assert list(tmp_path.iterdir()) == []


def test_options_name_the_files(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("junit", "html", "trace")}
    assert written(tmp_path, IDLE, **files) == []
    assert files["junit"].read_bytes().startswith(b"<?xml")
    assert files["html"].read_text().startswith("<!doctype html>")
    assert json.loads(files["trace"].read_text())["traceEvents"]
    assert not (tmp_path / "report").exists()


def test_a_file_that_can_not_be_written_is_told_and_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    bad = tmp_path / "file" / "junit.xml"
    assert written(tmp_path, BUILT, junit=bad, trace=tmp_path / "trace.json") == [bad]
    assert (tmp_path / "trace.json").exists()


def test_a_damaged_history_is_begun_anew(tmp_path: Path) -> None:
    path = history_file(tmp_path / "histories", tmp_path / "manifest.toml")
    path.parent.mkdir()
    path.write_bytes(b"damaged")
    assert written(tmp_path, BUILT) == []
    assert len(load(path)) == 1
