"""Bad jobs do not affect the others: hangs, aborts and memory hogs fail alone, and their compilers end with them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.projects import PLAIN, Project, Ran, wait_for

pytestmark = pytest.mark.process

MODELS = """
import mmap
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).parent
# A source that keeps the compiler itself busy for minutes, in little memory.
ENDLESS = "template<long N, long M> struct A { static const long v = A<N-1, M>::v + A<N-1, M+1>::v; };" \
    "template<long M> struct A<0, M> { static const long v = M; };" \
    "long f() { return " + " + ".join(f"A<850, {n}000>::v" for n in range(900)) + "; }"


class Good(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        return self.linear(x)


class Aborts(Good):
    def forward(self, x):
        os.abort()


class Hangs(Good):
    def forward(self, x):
        (HERE / "hang.pid").write_text(str(os.getpid()))
        time.sleep(1000)


class Compiles(Good):
    def forward(self, x):
        source = Path(tempfile.mkdtemp(), "endless.cpp")
        source.write_text(ENDLESS)
        command = ["g++", "-c", "-ftemplate-depth=1000", str(source), "-o", str(source) + ".o"]
        compiler = subprocess.Popen(command)
        (HERE / "compiler.partial").write_text(f"{os.getppid()} {os.getpid()} {compiler.pid}")
        (HERE / "compiler.partial").rename(HERE / "compiler.pids")
        compiler.wait()


class HogsPrivately(Good):
    def forward(self, x):
        hoard = []
        while True:
            hoard.append(b"x" * (32 << 20))


class Needs(Good):
    def __init__(self):
        super().__init__()
        hoard = b"x" * (1100 << 20)
        time.sleep(3)
        assert len(hoard)


class HogsShared(Good):
    def forward(self, x):
        hoard = []
        while True:
            hoard.append(mmap.mmap(-1, 32 << 20))  # shared memory, which no limit on data counts
            for page in range(0, 32 << 20, 4096):
                hoard[-1][page] = 1


class HogsInChildren(Good):
    def forward(self, x):
        command = "import time; hoard = b'x' * (900 << 20); time.sleep(1000)"
        for process in [subprocess.Popen([sys.executable, "-c", command]) for _ in range(3)]:
            process.wait()


class Escapes(Good):
    def forward(self, x):
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
        return self.linear(x)
"""
POOL = PLAIN + '\n[pools.cpu]\nmemory = "2GiB"\n'


def entry(model: str, *more: str) -> str:
    return "\n".join([f'name = "{model}"', f'model = "models:{model}"', *more])


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    project.write("models.py", MODELS)
    yield project
    for pid in project.processes():  # processes that a failed test left
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def survived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Ran]:
    project = Project(tmp_path_factory.mktemp("survival"))
    project.write("models.py", MODELS)
    good = [f'name = "good-{seed}"\nmodel = "models:Good"\nseed = {seed}' for seed in range(5)]
    bad = [entry("Hangs", 'timeout = "3s"'), *map(entry, ("Aborts", "HogsPrivately", "HogsShared", "HogsInChildren"))]
    project.manifest(*good[:2], *bad, *good[2:], head=POOL)
    return project, project.run_alone("--jobs", "2")


def test_all_good_jobs_among_bad_ones_are_delivered(survived: tuple[Project, Ran]) -> None:
    project, ran = survived
    assert ran.code == 1
    assert {name for name, job in ran.jobs.items() if job["ok"]} == {f"good-{seed}@cpu" for seed in range(5)}
    assert project.processes() == {}


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("Hangs", "timeout", ["3 s"]),
        ("Aborts", "crash", ["SIGABRT"]),
        # It is refused memory at the pool's size, or killed earlier, if another hog uses part of the pool.
        ("HogsPrivately", "oom", ["MemoryError", "2.0 GiB"]),
        ("HogsShared", "oom", ["2.0 GiB"]),
        ("HogsInChildren", "oom", ["2.0 GiB"]),
    ],
)
def test_a_bad_job_fails_with_its_kind(survived: tuple[Project, Ran], name: str, kind: str, words: list[str]) -> None:
    error = survived[1].error(f"{name}@cpu")
    assert (error["kind"], any(word in error["message"] for word in words)) == (kind, True), error
    assert error["remedy"]
    # Whether a hog is retried depends on how much of the pool it had, and so on what else ran.
    if kind != "oom":
        assert ("failed again when retried alone" in error["message"]) == (kind == "crash")


def test_two_jobs_that_do_not_fit_together_are_both_delivered(project: Project) -> None:
    project.manifest(entry("Needs", "seed = 1"), entry("Needs", "seed = 2").replace("Needs", "More", 1), head=POOL)
    ran = project.run_alone("--jobs", "2")
    assert ran.code == 0, ran
    stages = [job["stages"]["export"]["reason"] for job in ran.jobs.values()]
    assert sum("retried alone after oom" in reason for reason in stages) == 1
    assert project.processes() == {}


def test_killed_jobs_leave_nothing_in_staging(survived: tuple[Project, Ran]) -> None:
    assert list((survived[0].root / "cache/v1/staging").iterdir()) == []


def await_compiler(project: Project, command: subprocess.Popen[str]) -> tuple[int, int, int]:
    """Wait for the compiler; return the pids of fork server, child and g++, below which cc1plus runs."""
    pids = project.root / "compiler.pids"
    wait_for(pids.exists, saying="g++", during=command)
    wait_for(lambda: any("cc1plus" in line for line in project.processes().values()), saying="cc1plus", during=command)
    server, child, compiler = map(int, pids.read_text().split())
    return server, child, compiler


def test_a_hanging_job_is_killed_with_its_compiler(project: Project) -> None:
    project.manifest(entry("Compiles", 'timeout = "4s"'))
    process = project.start("run")
    await_compiler(project, process)
    ran = project.ended(process)
    assert ran.error("Compiles@cpu")["kind"] == "timeout"
    assert project.processes() == {}


@pytest.mark.parametrize("victims", [("coordinator",), ("server",), ("coordinator", "server"), ("server", "child")])
def test_no_compiler_outlives_a_killed_process_above_it(project: Project, victims: tuple[str, ...]) -> None:
    project.manifest(entry("Compiles"))
    process = project.start("run")
    server, child, _ = await_compiler(project, process)
    pids = {"coordinator": process.pid, "server": server, "child": child}
    before = set(project.processes())
    (project.root / "compiler.pids").unlink()
    for name in victims:  # stopped first, so that none of them can react to the end of another
        os.kill(pids[name], signal.SIGSTOP)
    for name in victims:
        os.kill(pids[name], signal.SIGKILL)
    wait_for(lambda: not before & project.processes().keys() - {process.pid}, saying="the end of every process")
    process.kill()  # if it is alive, it has started the retry
    process.communicate()
    wait_for(lambda: not project.processes(), saying="the end of every process")


def test_if_the_reaper_is_killed_the_server_kills_its_children(project: Project) -> None:
    project.manifest(entry("Compiles"))
    process = project.start("run")
    await_compiler(project, process)
    [reaper] = [pid for pid, line in project.processes().items() if "workers.reaper" in line]
    os.kill(reaper, signal.SIGKILL)
    os.kill(process.pid, signal.SIGINT)
    assert project.ended(process).code == 130
    assert project.processes() == {}


def test_a_process_that_leaves_its_session_ends_with_the_run(project: Project) -> None:
    project.manifest(entry("Escapes"))
    assert project.run_alone().code == 0
    assert project.processes() == {}
