"""What GitHub Actions is told: escaped commands that mark lines of code, and a summary that no name can break."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchexport.cli.github import tell_github
from batchexport.core.errors import Kind
from batchexport.core.report import Place
from batchexport.reporting.github import error_commands, step_summary
from support.reports import built, failure, job, run_report

WHERE = Place(file="models.py", line=31, text="x.view(2)", function="forward")
FAILED = job("a,b@cpu", error=failure(kind=Kind.BUILD, message="100%\nbad: x", remedy="write y", where=WHERE))


def test_a_failure_marks_the_line_of_the_users_code() -> None:
    (command,) = error_commands(run_report(FAILED, job("fine@cpu")), "zoo")
    assert command == (
        "::error file=zoo/models.py,line=31,title=a%2Cb@cpu%3A compile (build)::100%25%0Abad: x%0Awrite y"
    )


def test_a_failure_in_a_library_marks_no_line() -> None:
    where = Place(file="/usr/lib/library.py", line=1, text="", function="f")
    (command,) = error_commands(run_report(job(error=failure(where=where))))
    assert command.startswith("::error title=")


def test_expected_failures_are_not_marked() -> None:
    assert error_commands(run_report(job(error=failure(), expected=True))) == []


def test_no_more_is_marked_than_github_shows() -> None:
    assert len(error_commands(run_report(*(job(f"{at}@cpu", error=failure()) for at in range(50))))) == 10


def test_the_summary_has_counts_failures_and_reasons() -> None:
    text = step_summary(run_report(FAILED, job("new@cpu", stages={"export": built(reason="source: a.py changed")})))
    assert "**1 ok, 1 failed, 0 skipped** of 2 jobs" in text
    assert "| a,b@cpu | compile (build) | 100% bad: x | write y |" in text
    assert "| new@cpu | export: source: a.py changed |" in text


def test_names_can_break_no_table_and_make_no_html() -> None:
    text = step_summary(run_report(job("<b>|`x`@cpu", error=failure(message="a|b\n<script>"))))
    assert r"| &lt;b&gt;\|\`x\`@cpu |" in text
    assert r"a\|b &lt;script&gt;" in text


def test_a_summary_that_github_would_refuse_is_cut() -> None:
    jobs = [job(f"{at}@cpu", error=failure(message="x" * 9000)) for at in range(300)]
    assert len(step_summary(run_report(*jobs)).encode()) < 1 << 20


def test_the_summary_is_appended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "summary.md"
    file.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(file))
    tell_github(run_report(FAILED))
    assert file.read_text().startswith("before\n### batchexport")
    assert capsys.readouterr().err.startswith("::error ")


def test_a_summary_that_can_not_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "missing" / "summary.md"))
    tell_github(run_report())
    assert "note: can't write" in capsys.readouterr().err
