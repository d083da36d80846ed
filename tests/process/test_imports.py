"""Imports of torch: none in a run without work, and in the fork server before it forks a child."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.projects import GUARD, Project
from support.settled import TELLS

pytestmark = pytest.mark.process

HEAVY = ("torch", "numpy", "sympy", "transformers", "safetensors", "joblib")
IN_A_FRESH_PROCESS = """
import json, sys
from pathlib import Path
from batchexport.api import RunOptions, ls, plan, run

options = RunOptions(manifest=Path("manifest.toml"))
report = run(options)
states = ls(options)
planned = plan(options)
print(json.dumps({
    "exit_code": int(report.exit_code),
    "jobs": [job.to_json() for job in report.jobs],
    "states": {state.name: state.state for state in states},
    "up_to_date": [job.name for job in planned.jobs if job.up_to_date],
    "modules": sorted(sys.modules),
}))
"""


def test_a_run_without_work_imports_nothing_heavy_and_reports_every_job(settled: Project) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FRESH_PROCESS],
        cwd=settled.root,
        env=settled.environment(),
        capture_output=True,
        text=True,
        timeout=GUARD,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [name for name in HEAVY if name in result["modules"]] == []
    assert result["exit_code"] == 0
    names = [job["name"] for job in result["jobs"]]
    assert len(names) == 7
    for job in result["jobs"]:
        assert job["ok"]
        assert {stage["outcome"] for stage in job["stages"].values()} == {"cached", "skipped"}
    assert result["states"] == dict.fromkeys(names, "delivered")
    assert result["up_to_date"] == names


def test_a_child_is_forked_with_torch_and_its_export_already_imported(settled: Project) -> None:
    observed = json.loads(settled.log("tells@cpu").splitlines()[0])
    assert observed["had"] == ["torch", "torch.export"]
    # Forked and not spawned: it has the very command line of its parent, which is the fork server.
    assert "batchexport.workers.server" in observed["parent"]
    assert observed["command"] == observed["parent"]


def test_a_child_runs_in_the_folder_of_the_manifest_and_leaves_no_folder_of_its_own(settled: Project) -> None:
    observed = json.loads(settled.log("tells@cpu").splitlines()[0])
    assert observed["folder"] == str(settled.root)
    assert list((settled.root / "cache" / "v1" / "staging").iterdir()) == []


def test_a_fork_server_with_threads_spawns_every_child_and_notes_it(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.write(
        "sitecustomize.py",
        """
        import sys
        import threading

        if "batchexport.workers.server" in sys.orig_argv:
            threading.Thread(target=threading.Event().wait, daemon=True).start()
        """,
    )
    project.write("tells.py", TELLS)
    project.manifest('name = "tells"\nmodel = "tells:Model"')
    path = os.pathsep.join(entry for entry in (str(tmp_path), os.environ.get("PYTHONPATH")) if entry)
    ran = project.run_alone(env={"PYTHONPATH": path})
    assert ran.code == 0
    assert ran.built() == {"tells@cpu"}
    observed = json.loads(project.log("tells@cpu").splitlines()[0])
    assert "batchexport.workers.child" in observed["command"]
    assert "batchexport.workers.server" in observed["parent"]
    assert "every stage is spawned" in ran.stdout + ran.stderr
    assert project.processes() == {}
