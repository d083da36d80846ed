"""Rounds of a run with --apply-fixes: fixes are written, only what they concern runs again, and it ends."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from batchexport.core.edits import Edit
from batchexport.core.errors import ExitCode, Kind
from batchexport.core.events import Event, ManifestFixed, Note
from batchexport.core.options import RunOptions
from batchexport.core.report import JobReport, Outcome, RunReport
from batchexport.engine.fix_rounds import FixRounds
from support.reports import failure, job, run_report, stage

TEXT = """schema = 1
[[entry]]
name = "a"
model = "m:M"
inputs.x = { shape = ["n"] }
dims.n = { max = 64 }  # rows

[[entry]]
name = "b"
model = "m:M"
"""


def failed(size: int = 5, name: str = "a@cpu", **more: object) -> JobReport:
    fix = (Edit(path=("dims", "n"), value=size),)
    return job(name, error=failure(stage="export", kind=Kind.SHAPES, fix=fix), **more)


@dataclass
class Command:
    """A command whose runs after the first one give these reports, one each."""

    manifest: Path
    later: list[RunReport] = field(default_factory=list)
    during: Callable[[], None] = lambda: None
    asked: list[RunOptions] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def ends(self, first: RunReport) -> RunReport:
        options = RunOptions(manifest=self.manifest, expression="a or b", force=("export",), apply_fixes=True)
        before = self.manifest.read_bytes()
        self.during()
        return FixRounds(options=options, run_again=self._run_again, listener=self.events.append).finish(first, before)

    def _run_again(self, options: RunOptions) -> RunReport:
        self.asked.append(options)
        return self.later[len(self.asked) - 1]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    path = tmp_path / "manifest.toml"
    path.write_text(TEXT)
    return Command(path)


def lost(*jobs: JobReport) -> RunReport:
    return run_report(*jobs, exit_code=ExitCode.JOB_FAILED)


def test_a_fix_is_written_and_its_jobs_run_again(command: Command) -> None:
    command.later = [run_report(job("a@cpu"))]
    report = command.ends(lost(failed(), job("b@cpu")))
    assert command.manifest.read_text() == TEXT.replace("{ max = 64 }", "5")
    (again,) = command.asked
    assert (again.only, again.expression, again.force) == (("a@cpu",), None, ())
    assert [(one.name, one.ok) for one in report.jobs] == [("a@cpu", True), ("b@cpu", True)]
    assert report.exit_code is ExitCode.OK
    assert [(fix.line, fix.before, fix.after) for fix in report.fixes] == [(6, "{ max = 64 }", "5")]
    assert [type(event) for event in command.events] == [ManifestFixed]


def test_what_the_next_run_refuses_is_fixed_in_its_turn(command: Command) -> None:
    command.later = [lost(failed(4)), run_report(job("a@cpu"))]
    report = command.ends(lost(failed(5)))
    assert [fix.after for fix in report.fixes] == ["5", "4"]
    assert report.exit_code is ExitCode.OK


def test_a_fix_that_does_not_help_is_not_written_again(command: Command) -> None:
    command.later = [lost(failed(5))]
    report = command.ends(lost(failed(5)))
    assert len(command.asked) == len(report.fixes) == 1
    assert report.exit_code is ExitCode.JOB_FAILED


def test_rounds_come_to_an_end(command: Command) -> None:
    command.later = [lost(failed(size)) for size in range(6, 20)]
    assert len(command.ends(lost(failed(5))).fixes) == len(command.asked) == 3


def test_jobs_that_fail_fast_has_cancelled_run_too(command: Command) -> None:
    command.later = [run_report(job("a@cpu"), job("b@cpu"))]
    command.ends(lost(failed(), job("b@cpu", ok=False, stages={"export": stage(Outcome.CANCELLED)})))
    assert command.asked[0].only == ("a@cpu", "b@cpu")


def test_all_jobs_of_a_changed_entry_run_again(command: Command) -> None:
    command.later = [run_report(job("a[4]@cpu", entry="a"), job("a[5]@cpu", entry="a"))]
    command.ends(lost(job("a[4]@cpu", entry="a"), failed(name="a[5]@cpu", entry="a"), job("b@cpu")))
    assert command.asked[0].only == ("a[4]@cpu", "a[5]@cpu")


@pytest.mark.parametrize(
    "report",
    [
        run_report(failed(expected=True)),
        run_report(failed(), exit_code=ExitCode.INTERRUPTED),
        lost(job("a@cpu", error=failure())),
        run_report(job("a@cpu")),
    ],
    ids=["expected", "interrupted", "without a fix", "delivered"],
)
def test_nothing_is_written_that_nobody_asked_for(command: Command, report: RunReport) -> None:
    assert command.ends(report) == report
    assert command.manifest.read_text() == TEXT


def test_a_read_only_manifest_is_left_alone_with_one_message(command: Command) -> None:
    command.manifest.chmod(0o444)
    report = command.ends(lost(failed()))
    (note,) = report.notes
    assert "can't write the fixes into" in note
    assert "read-only" in note
    assert [event for event in command.events if isinstance(event, Note)] == [Note(text=note)]
    assert (report.jobs[0].error is not None, command.asked, report.fixes) == (True, [], ())


def test_a_manifest_edited_during_the_run_is_left_alone(command: Command) -> None:
    command.during = lambda: command.manifest.write_text(f"# mine\n{TEXT}") and None
    (note,) = command.ends(lost(failed())).notes
    assert "was edited during the run" in note
    assert command.manifest.read_text() == f"# mine\n{TEXT}"


def test_jobs_that_do_not_agree_are_told_why(command: Command) -> None:
    both = failed(4, "a[4]@cpu", entry="a"), failed(5, "a[5]@cpu", entry="a")
    (note,) = command.ends(lost(*both)).notes
    assert "no range of the dim n suits both a[4]@cpu and a[5]@cpu" in note


def test_the_file_behind_a_link_is_written_and_keeps_its_mode(command: Command, tmp_path: Path) -> None:
    real = tmp_path / "real" / "zoo.toml"
    real.parent.mkdir()
    command.manifest.rename(real)
    real.chmod(0o640)
    command.manifest.symlink_to(real)
    command.later = [run_report(job("a@cpu"))]
    command.ends(lost(failed()))
    assert command.manifest.is_symlink()
    assert "dims.n = 5  # rows" in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o640
    assert os.listdir(real.parent) == ["zoo.toml"]
