"""A precompiled header that a kill truncated is rebuilt: in the run that saw the kill, or else in the next one."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.projects import Project, wait_for
from support.tools import toolchain

pytestmark = [pytest.mark.process, pytest.mark.torch]

HEAD = 'schema = 1\n[cache]\ndir = "cache"\n'
ENTRY = 'name = "a"\nmodel = "models:model"\ninputs = { input = { shape = [3, 4] } }'


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    project.write("models.py", "from torch import nn\n\n\ndef model():\n    return nn.Linear(4, 2)\n")
    project.manifest(ENTRY, head=HEAD)
    yield project
    for pid in project.processes():  # processes that a failed test left
        os.kill(pid, signal.SIGKILL)


def own_toolchains(project: Project) -> dict[str, str]:
    """Make the project the first of its machine, but for the probes of the CPU, which take long and are no headers.

    Its temporary folder is its own as well: other tests compile at the same time.
    """
    own = project.root / "user" / "batchexport" / "toolchains" / toolchain().name
    if not own.exists():
        own.mkdir(parents=True, mode=0o700)
        (own / "vector-isa-passed").touch()
    temporary(project).mkdir(exist_ok=True)
    return {"XDG_CACHE_HOME": str(project.root / "user"), "TMPDIR": str(temporary(project))}


def temporary(project: Project) -> Path:
    return project.root / "temporary"


def headers(project: Project) -> list[Path]:
    return list(project.root.glob("user/batchexport/toolchains/*/tmp/**/*.gch"))


def test_a_truncated_header_is_rebuilt_by_the_run_that_saw_the_kill_and_by_a_later_one(
    project: Project,
) -> None:
    first = project.start("run", env=own_toolchains(project))
    wait_for(lambda: headers(project), saying="a precompiled header being written", during=first)
    for pid in project.processes():  # all at once, and the coordinator among them
        os.kill(pid, signal.SIGSTOP)
    for pid in project.processes():
        os.kill(pid, signal.SIGKILL)
    first.communicate()
    [truncated] = headers(project)
    size = truncated.stat().st_size

    second = project.start("run", env=own_toolchains(project))
    wait_for(lambda: not truncated.exists(), saying="its removal", during=second)
    wait_for(truncated.exists, saying="the header being written again", during=second)
    [child] = _running_children(project)
    os.kill(child, signal.SIGKILL)
    ran = project.ended(second)

    assert ran.code == 0, ran
    assert "retried alone after crash" in ran.jobs["a@cpu"]["stages"]["compile"]["reason"]
    assert all(header.stat().st_size > size for header in headers(project))
    assert project.processes() == {}
    assert list(project.root.glob("user/batchexport/toolchains/*/compiling-*")) == []
    assert [name for name in os.listdir(temporary(project)) if "inductor" in name] == []


def _running_children(project: Project) -> Iterator[int]:
    """Yield the pids of session leaders below the fork server."""
    for pid, line in project.processes().items():
        if "workers.server" in line and "workers.reaper" not in line and os.getsid(pid) == pid:
            yield pid
