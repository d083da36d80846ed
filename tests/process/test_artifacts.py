"""What is delivered: an archive alone with `--stage export`, and files that load as the README says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.projects import COMPILED, GUARD, Project

pytestmark = [pytest.mark.process, pytest.mark.torch]

MODELS = """
import torch
from torch import nn

SCALE = 2.0


class Linear(nn.Linear):
    def __init__(self):
        super().__init__(4, 3)

    def forward(self, x):
        return super().forward(x)


def linear():
    torch.manual_seed(0)
    return Linear()


class Scaled(nn.Module):
    def forward(self, x):
        return x * SCALE
"""
README = Path(__file__).parents[2] / "README.md"
LOADER = re.compile(r"^\| `((?:exported|compiled)\.\w+)` \| .* \| `(.+)` \|$", re.MULTILINE)
CALLS = """
import sys
import torch
import models
path, loader = sys.argv[1:]
loaded = eval(loader)
run = loaded.module() if path.endswith("exported.pt2") else loaded
eager = models.linear()
with torch.no_grad():
    for batch in (5, 1, 16, 3, 2):
        x = torch.randn(batch, 4)
        torch.testing.assert_close(run(x=x), eager(x))
assert "batchexport" not in sys.modules
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.write("models.py", MODELS)
    return project


def delivered(project: Project, job: str) -> tuple[set[str], dict[str, Any]]:
    folder = project.root / "dist" / job
    return {path.name for path in folder.iterdir()}, json.loads((folder / "job.json").read_text())


def test_stage_export_delivers_the_archive_but_keeps_the_same_one_that_was_verified(project: Project) -> None:
    project.manifest('name = "scaled"\nmodel = "models:Scaled"', head=COMPILED)
    archive_alone = ({"exported.pt2", "job.json"}, None)

    ran = project.run("--stage", "export")
    assert ran.jobs["scaled@cpu"]["ok"]
    assert ran.jobs["scaled@cpu"]["outputs"] == {"exported": "dist/scaled@cpu/exported.pt2"}
    files, record = delivered(project, "scaled@cpu")
    assert (files, record["verify"]) == archive_alone

    project.run()
    files, verified = delivered(project, "scaled@cpu")
    assert files == {"exported.pt2", "compiled.pt2", "job.json"}
    assert len(verified["verify"]["samples"]) >= 2
    assert verified["digests"]["exported.pt2"] == record["digests"]["exported.pt2"]

    project.run("--stage", "export")
    assert delivered(project, "scaled@cpu") == (files, verified)

    project.write("models.py", MODELS.replace("2.0", "3.0"))
    project.run("--stage", "export")
    files, record = delivered(project, "scaled@cpu")  # no code of another program beside the archive
    assert (files, record["verify"]) == archive_alone
    assert record["digests"]["exported.pt2"] != verified["digests"]["exported.pt2"]


def test_the_readme_tells_how_each_kind_of_file_is_loaded_in_plain_torch(project: Project) -> None:
    library = 'name = "library"\nmodel = "models:linear"\ncompile.format = "so"'
    project.manifest('name = "package"\nmodel = "models:linear"', library, head=COMPILED)
    ran = project.run()
    assert all(job["ok"] for job in ran.jobs.values()), ran.stderr
    loaders = dict(LOADER.findall(README.read_text()))
    assert loaders.keys() == {"exported.pt2", "compiled.pt2", "compiled.so"}
    for file, loader in loaders.items():
        job = "library" if file.endswith(".so") else "package"
        command = [sys.executable, "-c", CALLS, f"dist/{job}@cpu/{file}", loader]
        ended = subprocess.run(command, cwd=project.root, capture_output=True, text=True, timeout=GUARD, check=False)
        assert ended.returncode == 0, f"{file}: {ended.stderr}"
