"""`watch` over a project that is edited, and the fork server that its runs share."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from batchexport.api import RunOptions, kept_servers, run
from support.projects import Project, wait_for

pytestmark = pytest.mark.process

MODELS = """
import time

from torch import nn


class Linear(nn.Linear):
    def __init__(self):
        super().__init__(4, 2)

    def forward(self, x):
        return super().forward(x)


def raises():
    raise RuntimeError("as planned")


def hangs():
    time.sleep(1000)
"""
LINEAR = 'name = "linear"\nmodel = "models:Linear"'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.write("models.py", MODELS)
    project.manifest(LINEAR)
    return project


class Watch:
    """A running `batchexport watch`, and what it has printed."""

    def __init__(self, project: Project) -> None:
        self.out = project.root / "watch.out"
        with self.out.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "batchexport", "watch", "manifest.toml", "--jobs", "1"],
                cwd=project.root,
                env=project.environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self._read = 0

    def rest(self) -> str:
        """What it printed since the last call, up to where it waits for changes again."""

        def waits() -> str | None:
            text = self.out.read_text()[self._read :]
            return text if re.search(r"^watching .*\n", text, re.MULTILINE) else None

        text: str = wait_for(waits, saying="the next line of watch")
        self._read += len(text)
        return text


@pytest.fixture
def watch(project: Project) -> Iterator[Watch]:
    watch = Watch(project)
    yield watch
    watch.process.kill()
    watch.process.wait()


def server_of(process: int) -> int:
    """The pid of the fork server below a process."""
    below = psutil.Process(process).children(recursive=True)
    [server] = [one.pid for one in below if one.cmdline()[3:4] == ["batchexport.workers.server"]]
    return server


def test_an_edit_runs_the_jobs_that_it_touches_on_the_same_server_and_a_mistake_can_be_mended(
    project: Project, watch: Watch
) -> None:
    assert "1 job: 1 ok" in watch.rest()
    server = server_of(watch.process.pid)
    project.write("models.py", MODELS.replace("(4, 2)", "(4, 3)"))
    edited = watch.rest()
    assert edited.startswith("changed   models.py\nok        linear@cpu  export")
    assert "models.py changed" in edited
    project.write("models.py", MODELS.replace("(4, 2)", "(4, 3"))
    assert "SyntaxError" in watch.rest()
    project.write("models.py", MODELS)
    assert "(everything cached)" in watch.rest()
    project.manifest(LINEAR.replace("name", "nam"))
    assert 'nam: unknown key; did you mean "name"?' in watch.rest()
    project.manifest(LINEAR, LINEAR.replace('"linear"', '"second"') + "\nseed = 2")
    assert "ok        second@cpu" in watch.rest()
    assert server_of(watch.process.pid) == server
    watch.process.send_signal(signal.SIGINT)
    assert watch.process.wait(60) == 0
    wait_for(lambda: not project.processes(), saying="the end of every process")


def test_a_run_that_is_cut_short_leaves_no_child_to_the_next_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    manifest = project.manifest(
        'name = "hangs"\nmodel = "models:hangs"', 'name = "raises"\nmodel = "models:raises"', LINEAR
    )
    options = RunOptions(manifest=manifest, jobs=2, fail_fast=True, only=("hangs@cpu", "raises@cpu"))
    with kept_servers() as servers:
        report = run(options, servers=servers)
        assert {job.name: job.stages["export"].outcome for job in report.jobs}["hangs@cpu"] == "cancelled"
        [server] = servers._servers.values()
        pid = server._server
        assert psutil.Process(pid).children() == []
        assert run(RunOptions(manifest=manifest, jobs=2, only=("linear@cpu", "raises@cpu")), servers=servers).ok == 1
        assert [*servers._servers.values()] == [server]
    assert not psutil.pid_exists(pid)


def test_a_module_that_every_process_loads_as_it_starts_is_loaded_anew_after_an_edit(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    startup = project.write("startup/sitecustomize.py", "import sized")
    project.write("startup/sized.py", "SIZE = 2")
    project.write("models.py", MODELS.replace("(4, 2)", "(4, __import__('sized').SIZE)"))
    monkeypatch.setattr(sys, "path", [sys.path[0], str(startup.parent), *sys.path[1:]])
    monkeypatch.chdir(project.root)
    parameters = []
    with kept_servers() as servers:
        for size in (2, 3):
            project.write("startup/sized.py", f"SIZE = {size}")
            [job] = run(RunOptions(manifest=project.root / "manifest.toml"), servers=servers).jobs
            parameters.append(job.stats["parameter_bytes"])
    assert parameters == [4 * (4 * size + size) for size in (2, 3)]
