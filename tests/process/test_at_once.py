"""Concurrency: a file edited while a stage runs, and two runs over the same cache."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from support.projects import Project, wait_for

pytestmark = pytest.mark.process

MODELS = """
import json
import os
import signal
from pathlib import Path

from torch import nn

HERE = Path(__file__).parent


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = json.loads((HERE / "data.json").read_text())["factor"]
        # Wait for a signal: a file would be observed as an input.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        (HERE / f"{os.getpid()}.started").touch()
        signal.sigwait([signal.SIGUSR1])

    def forward(self, x):
        return x * self.factor
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    project.write("models.py", MODELS)
    project.write("data.json", '{"factor": 2.0}')
    project.manifest('name = "one"\nmodel = "models:Model"')
    yield project
    for pid in project.processes():  # processes that a failed test left
        os.kill(pid, signal.SIGKILL)


def started(project: Project) -> set[int]:
    """Return the pids of the children that have started to build the model."""
    return {int(path.stem) for path in project.root.glob("*.started")}


def test_a_stage_whose_input_is_edited_while_it_runs_is_rerun_with_the_edit(project: Project) -> None:
    process = project.start("run")
    wait_for(lambda: started(project), saying="the child", during=process)
    [first] = started(project)
    project.write("data.json", '{"factor": 5.0}')
    os.kill(first, signal.SIGUSR1)
    wait_for(lambda: started(project) - {first}, saying="another child", during=process)
    [second] = started(project) - {first}
    os.kill(second, signal.SIGUSR1)
    ran = project.ended(process)
    assert ran.code == 0
    assert started(project) == {first, second}
    assert "data.json changed while the stage ran" in ran.jobs["one@cpu"]["stages"]["export"]["reason"]
    program = torch.export.load(project.root / "dist" / "one@cpu" / "exported.pt2").module()
    assert torch.equal(program(x=torch.ones(2, 4)), torch.full((2, 4), 5.0))
    assert project.run().built() == set()


def test_two_concurrent_runs_build_a_job_once_and_both_deliver_it(project: Project) -> None:
    first = project.start("run")
    wait_for(lambda: started(project), saying="the child", during=first)
    second = project.start("run", "--json", "second.json")
    wait_for(lambda: _has_open(second.pid, project.root / "cache"), saying="the second run's cache", during=second)
    [child] = started(project)
    os.kill(child, signal.SIGUSR1)
    ran, other = project.ended(first), project.ended(second)
    assert (ran.code, other.code) == (0, 0)
    assert started(project) == {child}
    assert ran.outcomes() == {"one@cpu": "built"}
    assert "one@cpu" in other.stdout
    assert '"outcome": "built"' not in (project.root / "second.json").read_text().partition('"verify"')[0]
    assert list((project.root / "cache" / "v1" / "staging").iterdir()) == []


def _has_open(pid: int, folder: Path) -> bool:
    try:
        return any(os.readlink(link).startswith(str(folder)) for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
