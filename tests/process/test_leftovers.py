"""What models that start processes leave behind: nothing, however they end."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.projects import PLAIN, Project

pytestmark = pytest.mark.process

MODELS = """
import time

import joblib
from torch import nn


class Good(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        return self.linear(x)


class Manages(Good):
    def __init__(self):
        super().__init__()
        import multiprocessing

        with multiprocessing.Manager() as manager:
            self.found = list(manager.list([1, 2]))


class Parallel(Good):
    def __init__(self):
        super().__init__()
        joblib.Parallel(n_jobs=2)(joblib.delayed(int)("8") for _ in range(2))


class ParallelHangs(Parallel):
    def forward(self, x):
        time.sleep(1000)


class ParallelAborts(Parallel):
    def forward(self, x):
        import os
        os.abort()


class Threads(Good):
    def __init__(self):
        super().__init__()
        joblib.Parallel(n_jobs=2, backend="threading")(joblib.delayed(int)("8") for _ in range(2))


class Alone(Good):
    def __init__(self):
        super().__init__()
        joblib.Parallel(n_jobs=1)(joblib.delayed(int)("8") for _ in range(2))
"""
ENTRY = 'name = "{0}"\nmodel = "leaving:{0}"\ntimeout = "{1}"'
NAMES = ("Manages", "Parallel", "ParallelHangs", "ParallelAborts", "Threads", "Alone")


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A temporary folder with a short path, in which nothing is left, and nothing of joblib in shared memory."""
    before = _shared()
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        yield Path(folder)
        assert list(Path(folder).iterdir()) == []
    assert _shared() <= before


def _shared() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if "loky" in name or "joblib" in name}


def test_models_that_start_processes_are_delivered_and_leave_nothing(tmp_path: Path, temporary: Path) -> None:
    environment = {"TMPDIR": str(temporary)}
    project = Project(tmp_path / ("a long folder name " * 3))
    project.write("leaving.py", MODELS)
    project.manifest(*(ENTRY.format(name, "4s" if "Hangs" in name else "60s") for name in NAMES), head=PLAIN)
    ran = project.run_alone(env=environment)
    failed = {"ParallelHangs@cpu": "failed", "ParallelAborts@cpu": "failed"}
    assert ran.outcomes() == {f"{name}@cpu": "built" for name in NAMES} | failed
    again = project.run_alone("-k", "not Hangs and not Aborts", env=environment)
    assert again.outcomes() == {
        "Manages@cpu": "built",  # uncacheable: it forks
        "Parallel@cpu": "built",  # uncacheable: joblib starts programs
        "Threads@cpu": "cached",
        "Alone@cpu": "cached",
    }
