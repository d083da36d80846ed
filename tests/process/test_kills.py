"""Kills in the middle of a run: no process runs on, no finished result is lost, and every job is reported."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.projects import COMPILED, Project, wait_for

pytestmark = pytest.mark.process

MODELS = """
import os
import signal
import subprocess
import time
from pathlib import Path

from torch import nn

HERE = Path(__file__).parent


class Good(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        return self.linear(x)


class Slow(Good):
    def __init__(self, name):
        super().__init__()
        if os.path.exists(HERE / "hold"):
            # As a compiler would be: a process below the child, in the child's group.
            below = subprocess.Popen(["sleep", "1000"])
            HERE.joinpath(f"{name}.partial").write_text(f"{os.getppid()} {os.getpid()} {below.pid}")
            HERE.joinpath(f"{name}.partial").rename(HERE / f"{name}.started")
            time.sleep(1000)


class KillsItsServer(Good):
    def __init__(self):
        super().__init__()
        while not (HERE / "victim.started").exists():
            time.sleep(0.02)
        if os.path.exists(HERE / "hold"):
            (HERE / "hold").unlink()
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(1000)


def raises():
    while not (HERE / "slow.started").exists():
        time.sleep(0.02)
    raise RuntimeError("as planned")
"""


def good(name: str, seed: int) -> str:
    return f'name = "{name}"\nmodel = "models:Good"\nseed = {seed}'


def slow(name: str) -> str:
    return f'name = "{name}"\nmodel = "models:Slow"\nargs = ["{name}"]'


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    project.write("models.py", MODELS)
    project.write("hold", "")
    yield project
    for pid in project.processes():  # processes that a failed test left
        os.kill(pid, signal.SIGKILL)


def await_child(project: Project, name: str, command: subprocess.Popen[str]) -> tuple[int, int, int]:
    """Wait for the child of a slow job; return the pids of fork server, child and a process below it."""
    started = project.root / f"{name}.started"
    wait_for(started.exists, saying=f"the child of {name}", during=command)
    server, child, below = map(int, started.read_text().split())
    assert {command.pid, server, child, below} <= project.processes().keys()
    return server, child, below


def delivered(project: Project, name: str, command: subprocess.Popen[str]) -> dict[str, str]:
    """Wait until a job is delivered; return the keys in its `job.json`."""
    path = project.root / "dist" / f"{name}@cpu" / "job.json"
    wait_for(path.exists, saying=f"the delivery of {name}", during=command)
    keys: dict[str, str] = json.loads(path.read_text())["keys"]
    return keys


def _watched(coordinator: int, reaper: int) -> bool:
    """Return True if both still hold an end of one pipe."""
    return any(name.startswith("pipe:") for name in _open_files(coordinator) & _open_files(reaper))


def _open_files(pid: int) -> set[str]:
    names = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it is closed by now
            names.add(os.readlink(link))
    return names


def until_gone(project: Project) -> None:
    wait_for(lambda: not project.processes(), saying="the end of every process")


def test_after_the_coordinator_is_killed_nothing_runs_on_and_the_next_run_builds_only_the_rest(
    project: Project,
) -> None:
    project.manifest(slow("slow"), good("one", 1), good("two", 2))
    process = project.start("run", "--jobs", "2")
    await_child(project, "slow", process)
    before = {name: delivered(project, name, process) for name in ("one", "two")}
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    until_gone(project)
    (project.root / "hold").unlink()

    last = project.run()
    assert last.code == 0
    assert all(job["ok"] for job in last.jobs.values())
    assert last.built() == {"slow@cpu"}
    for name, keys in before.items():
        stages = last.jobs[f"{name}@cpu"]["stages"]
        assert {stage: stages[stage]["key"] for stage in keys} == keys
    assert list((project.root / "cache" / "v1" / "staging").iterdir()) == []


def test_a_model_that_kills_the_fork_server_fails_no_job_that_had_not_started(project: Project) -> None:
    project.manifest('name = "killer"\nmodel = "models:KillsItsServer"', slow("victim"), good("one", 1), good("two", 2))
    ran = project.run_alone("--jobs", "2")
    assert project.processes() == {}
    jobs = ran.jobs  # each exactly once
    assert jobs.keys() == {"killer@cpu", "victim@cpu", "one@cpu", "two@cpu"}
    for name in ("one@cpu", "two@cpu"):
        assert jobs[name]["ok"], jobs[name]
    for name in ("killer@cpu", "victim@cpu"):
        assert jobs[name]["ok"] or jobs[name]["error"]["kind"] == "crash"


def compile_servers(project: Project) -> list[int]:
    """The fork servers that another fork server has forked; children of theirs lead sessions of their own."""
    servers = [pid for pid, line in project.processes().items() if "-m batchexport.workers.server" in line]
    found = []
    for pid in servers:
        with contextlib.suppress(OSError):
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            if parent in servers and os.getsid(pid) == os.getsid(parent):
                found.append(pid)
    return found


def test_a_killed_compile_server_costs_no_job(project: Project) -> None:
    project.manifest(good("one", 1), good("two", 2), head=COMPILED)
    process = project.start("run", "--jobs", "2")
    [server] = wait_for(lambda: compile_servers(project), saying="a server for compiles", during=process)
    os.kill(server, signal.SIGKILL)
    ran = project.ended(process)
    assert project.processes() == {}
    assert ran.code == 0, ran
    assert all(job["ok"] for job in ran.jobs.values())


def test_a_killed_child_is_retried_once_and_affects_no_other_job(project: Project) -> None:
    project.manifest(slow("slow"), good("one", 1), good("two", 2))
    process = project.start("run", "--jobs", "1")
    _, child, _ = await_child(project, "slow", process)
    (project.root / "hold").unlink()
    os.kill(child, signal.SIGKILL)
    ran = project.ended(process)
    assert project.processes() == {}
    assert (ran.jobs["one@cpu"]["ok"], ran.jobs["two@cpu"]["ok"]) == (True, True)
    assert ran.jobs["slow@cpu"]["ok"]  # when it was retried
    assert "retried alone after crash" in ran.jobs["slow@cpu"]["stages"]["export"]["reason"]


def test_ctrl_c_reports_and_leaves_nothing_running_and_the_next_run_continues(project: Project) -> None:
    project.manifest(slow("slow"), good("one", 1))
    process = project.start("run", "--jobs", "2")
    await_child(project, "slow", process)
    delivered(project, "one", process)
    os.kill(process.pid, signal.SIGINT)
    ran = project.ended(process)
    assert ran.code == ran.report["exit_code"] == 130
    assert project.processes() == {}
    assert ran.outcomes() == {"slow@cpu": "cancelled", "one@cpu": "built"}
    assert [name for name, job in ran.jobs.items() if job["ok"]] == ["one@cpu"]
    assert all(job["error"] is None for job in ran.jobs.values())
    assert "interrupted" in ran.stdout
    assert "Traceback" not in ran.stdout + ran.stderr
    (project.root / "hold").unlink()

    last = project.run()
    assert last.code == 0
    assert last.built() == {"slow@cpu"}


def test_sigterm_ends_a_run_as_ctrl_c_does(project: Project) -> None:
    project.manifest(slow("slow"))
    process = project.start("run")
    await_child(project, "slow", process)
    os.kill(process.pid, signal.SIGTERM)
    ran = project.ended(process)
    assert ran.code == ran.report["exit_code"] == 130
    assert ran.outcomes() == {"slow@cpu": "cancelled"}
    assert project.processes() == {}


def test_the_second_ctrl_c_does_not_wait_and_still_nothing_runs_on(project: Project) -> None:
    project.manifest(slow("slow"), good("one", 1))
    process = project.start("run", "--jobs", "2")
    await_child(project, "slow", process)
    delivered(project, "one", process)
    [reaper] = [pid for pid, line in project.processes().items() if "workers.reaper" in line]
    os.kill(reaper, signal.SIGSTOP)  # so that the run would have to wait for its children's end
    os.kill(process.pid, signal.SIGINT)
    # The run has closed its end of the pipe that the reaper watches, and waits for the reaper.
    wait_for(lambda: not _watched(process.pid, reaper), saying="the first interrupt to be handled", during=process)
    os.kill(process.pid, signal.SIGINT)
    ran = project.ended(process)
    assert ran.code == 130
    assert ran.report == {}
    assert "Traceback" not in ran.stdout + ran.stderr
    os.kill(reaper, signal.SIGCONT)
    until_gone(project)
    (project.root / "hold").unlink()

    last = project.run()
    assert last.code == 0
    assert last.built() == {"slow@cpu"}
    assert list((project.root / "cache" / "v1" / "staging").iterdir()) == []


def test_a_run_can_be_interrupted_while_torch_is_imported(project: Project) -> None:
    project.manifest(good("one", 1))
    process = project.start("run")
    # The first process of a run is `g++ --version`, before it has anything to report: wait for the fork server.
    serving = lambda: any("workers.server" in line for line in project.processes().values())  # noqa: E731
    wait_for(serving, saying="the fork server", during=process)
    os.kill(process.pid, signal.SIGINT)
    ran = project.ended(process)
    assert ran.code == ran.report["exit_code"] == 130
    assert ran.outcomes() == {"one@cpu": "cancelled"}
    until_gone(project)  # a server that has just started takes a moment to notice


def test_fail_fast_starts_nothing_more_and_kills_what_runs(project: Project) -> None:
    project.manifest(
        slow("slow"), 'name = "failing"\nmodel = "models:raises"', *(good(f"good-{seed}", seed) for seed in range(4))
    )
    ran = project.run_alone("--fail-fast", "--jobs", "2")
    assert ran.code == 1
    assert project.processes() == {}
    assert ran.error("failing@cpu")["message"].startswith(
        "building models:raises: RuntimeError: as planned; at models.py:"
    )
    assert [name for name, job in ran.jobs.items() if job["error"]] == ["failing@cpu"]
    assert ran.outcomes() == {
        "slow@cpu": "cancelled",
        "failing@cpu": "failed",
        **{f"good-{seed}@cpu": "cancelled" for seed in range(4)},
    }
    assert len([line for line in ran.stdout.splitlines() if " slow@cpu" in line]) == 1
