"""Known failures: `expect` in an entry turns them from a reason to fail the run into one that is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.projects import Project

pytestmark = pytest.mark.process

MODELS = """
import torch
from torch import nn


class Good(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        return self.linear(x)


class Branches(Good):
    def forward(self, x):
        return x + 1 if x.sum() > 0 else x


class TellsExport(Good):
    def forward(self, x):
        return x + (1 if torch.compiler.is_exporting() else 2)
"""


def entry(model: str, expect: str | None = None) -> str:
    return f'name = "{model}"\nmodel = "models:{model}"' + (f'\nexpect = "fail:{expect}"' if expect else "")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.write("models.py", MODELS)
    return project


def test_a_run_with_expected_failures_is_well_and_tries_them_every_time(project: Project) -> None:
    project.manifest(entry("Branches", "export"), entry("TellsExport", "verify"), entry("Good"))
    for outcome in ("built", "cached"):
        ran = project.run("--fail-fast", "--jobs", "1")
        assert ran.code == ran.report["exit_code"] == 0
        totals = ran.report["totals"]
        assert (totals["ok"], totals["failed"], totals["expected"], totals["skipped"]) == (1, 2, 2, 0)
        assert {name: job["expected"] for name, job in ran.jobs.items()} == {
            "Branches@cpu": True,
            "TellsExport@cpu": True,
            "Good@cpu": False,
        }
        assert ran.error("Branches@cpu")["kind"] == "export"
        assert ran.jobs["TellsExport@cpu"]["stages"]["verify"]["outcome"] == "failed"
        assert ran.outcomes()["Good@cpu"] == outcome
        assert "3 jobs: 1 ok, 2 failed (2 as expected), 0 skipped" in ran.stdout
        assert sorted(line.split()[0] for line in ran.stdout.splitlines() if "@cpu  " in line) == [
            "expected",
            "expected",
            "ok",
        ]


def test_a_pass_against_the_expectation_fails_the_run_until_the_line_is_removed(project: Project) -> None:
    project.manifest(entry("Good", "export"))
    for outcome in ("built", "cached"):
        ran = project.run()
        assert ran.code == 1
        assert ran.outcomes() == {"Good@cpu": outcome}
        error = ran.error("Good@cpu")
        assert (error["stage"], error["kind"]) == ("export", "expect")
        assert error["remedy"] == 'remove expect = "fail:export" from [[entry]] "Good"'
        assert not ran.jobs["Good@cpu"]["ok"]
        assert (project.root / ran.jobs["Good@cpu"]["outputs"]["exported"]).is_file()
    project.manifest(entry("Good"))
    ran = project.run()
    assert ran.code == 0
    assert ran.built() == set()


def test_a_failure_in_another_stage_is_an_ordinary_one(project: Project) -> None:
    project.manifest(entry("TellsExport", "export"), entry("Branches", "verify"))
    ran = project.run()
    assert ran.code == 1
    assert ran.error("TellsExport@cpu")["kind"] == "verify"
    assert ran.error("Branches@cpu")["kind"] == "export"
    assert ran.report["totals"]["expected"] == 0


def test_a_stage_that_was_not_asked_for_has_not_passed(project: Project) -> None:
    project.manifest(entry("TellsExport", "verify"))
    ran = project.run("--stage", "export")
    assert ran.code == 0
    assert ran.jobs["TellsExport@cpu"]["ok"]
    assert json.loads((project.root / "dist" / "report.json").read_text())["totals"]["failed"] == 0
