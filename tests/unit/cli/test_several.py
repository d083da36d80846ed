"""Several manifests in one run: each has its report, the last line has the totals, the exit code is the worst."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click.testing
import pytest

from batchexport.cli import main
from batchexport.core.errors import ExitCode, NothingSelected
from batchexport.core.events import Listener
from batchexport.core.report import RunReport
from support.reports import failure, job, run_report

Run = Callable[..., click.testing.Result]
ENTRY = '[[entry]]\nname = "a"\nmodel = "m:f"\ninputs = [1]\n'


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """The options of each run; the manifest bad.toml has a failed job, empty.toml none that is selected."""
    found: list[Any] = []

    def run(options: Any, listener: Listener, *, servers: Any = None) -> RunReport:
        found.append(options)
        name = options.manifest.name
        if name == "empty.toml":
            raise NothingSelected("no job matches")
        if name == "bad.toml":
            return run_report(job(error=failure()), exit_code=ExitCode.JOB_FAILED, path="bad.json")
        return run_report(job("x"), job("y"), path="good.json")

    monkeypatch.setattr(importlib.import_module("batchexport.api"), "run", run)
    monkeypatch.chdir(tmp_path)
    for name in ("good", "bad", "empty"):
        Path(f"{name}.toml").write_text(f'schema = 1\n[output]\ndir = "{name}"\n{ENTRY}')
    return found


def run(*words: str) -> click.testing.Result:
    return click.testing.CliRunner().invoke(main.cli, ["run", *words])


def test_each_manifest_runs_in_turn_and_the_last_line_has_the_totals(seen: list[Any]) -> None:
    result = run("bad.toml", "good.toml", "--maxfail", "3")
    assert result.exit_code == ExitCode.JOB_FAILED
    assert [(str(one.manifest), one.maxfail, one.json) for one in seen] == [
        ("bad.toml", 3, None),
        ("good.toml", 3, None),
    ]
    last = result.stdout.splitlines()[-1]
    assert last.startswith("2 manifests, 3 jobs: 2 ok, 1 failed, 0 skipped in ")
    assert last.endswith("; reports: bad.json, good.json")


def test_a_folder_stands_for_its_manifests_each_once(seen: list[Any]) -> None:
    Path("pyproject.toml").write_text("[project]\n")
    assert run(".", "good.toml").exit_code == ExitCode.JOB_FAILED
    assert [one.manifest.name for one in seen] == ["bad.toml", "empty.toml", "good.toml"]


def test_one_manifest_runs_as_ever_whether_it_or_its_folder_is_named(seen: list[Any]) -> None:
    Path("bad.toml").unlink()
    Path("empty.toml").unlink()
    assert run(".").stdout == run("good.toml").stdout
    assert "manifest" not in run(".").stdout


def test_a_selection_may_match_in_some_manifests_only_but_not_in_none(seen: list[Any]) -> None:
    assert run("empty.toml", "good.toml").exit_code == ExitCode.OK
    Path("two").mkdir()
    Path("two/empty.toml").write_text(f"schema = 1\n{ENTRY}")
    result = run("empty.toml", "two/empty.toml")
    assert result.exit_code == ExitCode.USAGE
    assert "no job matches" in result.stderr


def test_manifests_of_one_output_folder_have_reports_of_their_own(seen: list[Any], tmp_path: Path) -> None:
    for name in ("one", "two"):
        Path(f"{name}.toml").write_text(f"schema = 1\n{ENTRY}")
    run("one.toml", "two.toml", "good.toml")
    assert [one.json for one in seen] == [tmp_path / "dist/report-one.json", tmp_path / "dist/report-two.json", None]


@pytest.mark.parametrize("file", ["r.json", "-"])
def test_one_file_for_several_reports_is_refused(seen: list[Any], file: str) -> None:
    result = run("good.toml", "bad.toml", "--json", file)
    assert result.exit_code == ExitCode.USAGE
    assert "--json names one file, but each of 2 manifests has its own report" in result.stderr
    assert seen == []


def test_the_mistakes_of_all_manifests_are_told_before_anything_runs(seen: list[Any]) -> None:
    for name in ("one", "two"):
        Path(f"{name}.toml").write_text('schema = 1\n[[entry]]\nname = "a"\n')
    result = run("good.toml", "one.toml", "two.toml")
    assert result.exit_code == ExitCode.USAGE
    assert "one.toml:" in result.stderr
    assert "two.toml:" in result.stderr
    assert seen == []
