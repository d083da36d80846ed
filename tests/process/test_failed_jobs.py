"""Repeating what failed: --failed, --maxfail, and what `logs` and `show` tell of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.projects import Project

pytestmark = pytest.mark.process

MODELS = """
from torch import nn


class Good(nn.Module):
    def forward(self, x):
        return x + 1


def bad():
    print("about to fail")
    raise ValueError("no such luck")
"""


def test_failed_jobs_run_again_alone_until_they_pass(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write("models.py", MODELS)
    project.manifest(
        *(f'name = "{name}"\nmodel = "models:{model}"' for name, model in (("a", "bad"), ("b", "bad"), ("c", "Good")))
    )
    ran = project.run("--failed")
    assert (ran.code, ran.report["jobs"]) == (0, [])
    assert "no earlier run of this manifest is known" in ran.stderr

    ran = project.run("--maxfail", "2", "--jobs", "1", "--durations", "1")
    assert ran.code == 1
    assert ran.report["totals"]["failed"] == 2
    assert "slowest 1 stage of" in ran.stdout
    assert ran.stdout.count("error     ") == 2, "each failure is told in full once"

    shown = project.do("logs", "a@cpu")
    assert shown.stdout.startswith("==> cache/v1/logs/a@cpu/export.log")
    assert "about to fail" in shown.stdout
    shown = project.do("show", "a@cpu")
    assert "ValueError: no such luck; at models.py:" in shown.stdout
    assert "(stage: export, kind: build)" in shown.stdout

    project.manifest('name = "a"\nmodel = "models:Good"', 'name = "b"\nmodel = "models:bad"')
    ran = project.run("--failed")
    assert ran.code == 1
    assert {name: job["ok"] for name, job in ran.jobs.items()} == {"a@cpu": True, "b@cpu": False}
    planned = project.do("plan", "--failed")
    assert [line.split()[1] for line in planned.stdout.splitlines() if "@cpu" in line] == ["b@cpu"]
