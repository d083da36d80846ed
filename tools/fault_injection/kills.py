"""Kill -9 at random: coordinator, fork server, child, compiler. The next clean run delivers all, and all is right."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from random import Random

import psutil

from fault_injection.audit import unaccounted
from fault_injection.workspace import Workspace

# How often each role is the victim, and how many seconds it may have been there by then, at most.
_ROLES = {"coordinator": (3, 8.0), "server": (2, 6.0), "child": (4, 0.7), "compiler": (4, 3.0)}


def kills(
    workspace: Workspace, rng: Random, count: int, compile_every: int, say: Callable[[str], None]
) -> dict[str, object]:
    """`count` kills over as many runs as that takes; every `compile_every`-th run also compiles."""
    killed: Counter[str] = Counter()
    wrong: list[str] = []
    runs = 0
    while killed.total() < count:
        runs += 1
        compiled = runs if compile_every and runs % compile_every == 0 else None
        workspace.manifest([runs, runs + 1, runs + 2], compiled=compiled)
        process = workspace.start("run", "manifest.toml")
        while process.poll() is None and killed.total() < count:
            killed.update(_kill_one(workspace, process, rng, compiles=compiled is not None))
        ended = workspace.ended(process)
        if ended.code not in (0, 1, 3, -9):
            wrong.append(f"run {runs} ended with {ended.code}: {ended.output[-400:]}")
        if "Traceback" in ended.output:
            wrong.append(f"run {runs} printed a traceback")
        wrong += [f"run {runs} left {name} running" for name in _left_running(workspace)]
        say(f"  {killed.total()} of {count} kills, {runs} runs")
    last = workspace.run()
    if last.code:
        wrong.append(f"the last run ended with {last.code}: {last.output[-2000:]}")
    wrong += [f"not delivered: {name}" for name, job in workspace.jobs().items() if not job["ok"]]
    got, want = workspace.outputs(), workspace.truth()
    # Compiled code carries the folder it was built in; verify has held it against eager's numbers.
    wrong += [f"not right: {name}" for name in want if name.endswith("exported.pt2") and got.get(name) != want[name]]
    wrong += [f"not there: {name}" for name in want.keys() - got.keys()]
    swept = workspace.do("cache", "gc", "manifest.toml", "--max-size", "0B")
    if swept.code:
        wrong.append(f"gc ended with {swept.code}: {swept.output}")
    wrong += [f"left behind: {path}" for path in unaccounted(workspace)]
    again = workspace.run()
    if again.code or "everything cached" not in again.output:
        wrong.append(f"after gc the outputs were not cached any more: {again.output[-400:]}")
    return {"kills": killed.total(), "runs": runs, **{f"of {role}": killed[role] for role in _ROLES}, "wrong": wrong}


def _kill_one(workspace: Workspace, run: subprocess.Popen[str], rng: Random, *, compiles: bool) -> list[str]:
    """Wait for a process of the role that was drawn, and for some more, and kill it; empty if the run ends before."""
    roles = [role for role in _ROLES if compiles or role != "compiler"]
    [role] = rng.choices(roles, [_ROLES[role][0] for role in roles])
    while run.poll() is None:
        found = sorted((process.pid, process) for process, one in workspace.processes() if one == role)
        if found:
            deadline = time.monotonic() + rng.uniform(0.0, _ROLES[role][1])
            while run.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            with suppress(psutil.Error):
                rng.choice(found)[1].kill()
                return [role]
        time.sleep(0.05)
    return []


def _left_running(workspace: Workspace) -> list[str]:
    """What outlives its coordinator by more than some seconds."""
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        if not list(workspace.processes()):
            return []
        time.sleep(0.1)
    left = [f"{role} {process.pid}" for process, role in workspace.processes()]
    workspace.end_all()
    return left
