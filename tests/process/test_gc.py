"""gc and real runs: it keeps what outputs need and what a run is using, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.projects import Project, Ran, wait_for

pytestmark = pytest.mark.process

MODELS = """
import os
import signal
from pathlib import Path

from torch import nn

HERE = Path(__file__).parent


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        return self.linear(x)


class Waits(Model):
    def __init__(self):
        super().__init__()
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        (HERE / f"{os.getpid()}.started").touch()
        signal.sigwait([signal.SIGUSR1])
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    project.write("models.py", MODELS)
    yield project
    for pid in project.processes():  # processes that a failed test left
        os.kill(pid, signal.SIGKILL)


def seeds(project: Project, *numbers: int, model: str = "Model") -> Ran:
    project.manifest(f'name = "a"\nmodel = "models:{model}"\nmatrix = {{ seed = {list(numbers)} }}')
    return project.run()


def cache(project: Project, *words: str, code: int = 0) -> dict[str, object]:
    """Run a `batchexport cache` command and return its JSON report."""
    done = subprocess.run(
        [sys.executable, "-m", "batchexport", "cache", *words, "manifest.toml", "--json"],
        cwd=project.root,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done
    report: dict[str, object] = json.loads(done.stdout)
    return report


def kinds(project: Project) -> list[str]:
    entries = project.root / "cache" / "v1" / "entries"
    return sorted(path.name.partition("-")[0] for path in entries.rglob("*.json"))


def test_with_a_size_limit_of_zero_gc_keeps_what_outputs_need_and_they_can_be_delivered_again(project: Project) -> None:
    assert seeds(project, 1, 2).code == 0
    assert seeds(project, 2, 3).code == 0
    before = kinds(project)
    planned = cache(project, "gc", "--max-size", "0B", "--dry-run")
    assert kinds(project) == before
    done = cache(project, "gc", "--max-size", "0B")
    assert planned["removed"] == done["removed"] == {"export": 1, "verify": 1}
    assert kinds(project) == ["export", "export", "manifest", "verify", "verify"]
    assert len(list((project.root / "cache" / "v1" / "objects").glob("*/*"))) == 4
    shutil.rmtree(project.root / "dist")
    ran = project.run()
    assert ran.code == 0
    assert ran.built() == set()
    assert cache(project, "check")["damage"] == []
    # A removed result is a miss like any other.
    assert seeds(project, 1, 2).built() == {"a[seed=1]@cpu"}


def test_gc_works_without_the_index(project: Project) -> None:
    assert seeds(project, 1).code == 0
    shutil.rmtree(project.root / "cache" / "v1" / "index")
    assert cache(project, "gc", "--max-size", "0B")["removed"] == {}
    assert project.run().built() == set()


def test_a_gc_during_a_run_removes_nothing_that_it_uses(project: Project) -> None:
    assert seeds(project, 1).code == 0
    project.manifest(
        'name = "a"\nmodel = "models:Model"\nmatrix = { seed = [1, 2] }', 'name = "slow"\nmodel = "models:Waits"'
    )
    process = project.start("run", "--jobs", "2")
    wait_for(lambda: list(project.root.glob("*.started")), saying="the child", during=process)
    wait_for((project.root / "dist" / "a[seed=2]@cpu" / "job.json").exists, saying="the other job", during=process)
    done = cache(project, "gc", "--max-size", "0B")
    assert done["removed"] == {}
    assert any("at work" in note for note in done["notes"])  # type: ignore[attr-defined]
    [started] = project.root.glob("*.started")
    started.unlink()
    os.kill(int(started.stem), signal.SIGUSR1)
    ran = project.ended(process)
    assert ran.code == 0, ran
    assert ran.built() == {"a[seed=2]@cpu", "slow@cpu"}
    assert cache(project, "check")["damage"] == []


def test_damage_is_reported_with_its_job_and_exit_4_and_repaired_by_the_next_run(project: Project) -> None:
    assert seeds(project, 1).code == 0
    for path in (project.root / "cache" / "v1" / "objects").glob("*/*"):
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    damage = cache(project, "check", code=4)["damage"]
    assert [one["jobs"] for one in damage] == [["a[seed=1]@cpu"]] * 2  # type: ignore[attr-defined]
    assert cache(project, "check")["damage"] == []
    (project.root / "dist" / "a[seed=1]@cpu" / "exported.pt2").unlink()
    assert project.run().built() == {"a[seed=1]@cpu"}
    assert cache(project, "check")["damage"] == []
