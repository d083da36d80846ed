"""Kill -9 at random: coordinator, fork server, child, compiler. The next clean run delivers all, and all is right."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from random import Random

import psutil

from havoc.audit import unaccounted
from havoc.ground import Ground

_LONGEST = 9.0  # seconds between two kills at most
_ROLES = {"coordinator": 1, "server": 2, "child": 4, "compiler": 6}  # how often each is taken where it is there


def kills(ground: Ground, rng: Random, count: int, compile_every: int, say: Callable[[str], None]) -> dict[str, object]:
    """`count` kills over as many runs as that takes; every `compile_every`-th run also compiles."""
    killed: Counter[str] = Counter()
    wrong: list[str] = []
    runs = 0
    while killed.total() < count:
        runs += 1
        compiled = runs if compile_every and runs % compile_every == 0 else None
        ground.manifest([runs, runs + 1, runs + 2], compiled=compiled)
        process = ground.start("run", "manifest.toml")
        while process.poll() is None and killed.total() < count:
            deadline = time.monotonic() + rng.uniform(0.0, _LONGEST) * rng.random()
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            role = _kill_one(ground, rng)
            if role:
                killed[role] += 1
        ended = ground.ended(process)
        if ended.code not in (0, 1, 3, -9):
            wrong.append(f"run {runs} ended with {ended.code}: {ended.output[-400:]}")
        if "Traceback" in ended.output:
            wrong.append(f"run {runs} printed a traceback")
        wrong += [f"run {runs} left {name} running" for name in _left_running(ground)]
        say(f"  {killed.total()} of {count} kills, {runs} runs")
    last = ground.run()
    if last.code:
        wrong.append(f"the last run ended with {last.code}: {last.output[-2000:]}")
    wrong += [f"not delivered: {name}" for name, job in ground.jobs().items() if not job["ok"]]
    got, want = ground.outputs(), ground.truth()
    # Compiled code carries the folder it was built in; verify has held it against eager's numbers.
    wrong += [f"not right: {name}" for name in want if name.endswith("exported.pt2") and got.get(name) != want[name]]
    wrong += [f"not there: {name}" for name in want.keys() - got.keys()]
    swept = ground.do("cache", "gc", "manifest.toml", "--max-size", "0B")
    if swept.code:
        wrong.append(f"gc ended with {swept.code}: {swept.output}")
    wrong += [f"left behind: {path}" for path in unaccounted(ground)]
    again = ground.run()
    if again.code or "everything cached" not in again.output:
        wrong.append(f"after gc the outputs were not cached any more: {again.output[-400:]}")
    return {"kills": killed.total(), "runs": runs, **{f"of {role}": killed[role] for role in _ROLES}, "wrong": wrong}


def _kill_one(ground: Ground, rng: Random) -> str | None:
    there = list(ground.processes())
    roles = sorted({role for _, role in there})
    if not roles:
        return None
    role = rng.choices(roles, [_ROLES[role] for role in roles])[0]
    victim, _ = rng.choice([one for one in there if one[1] == role])
    try:
        victim.kill()
    except psutil.Error:
        return None
    return role


def _left_running(ground: Ground) -> list[str]:
    """What outlives its coordinator by more than some seconds."""
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        if not list(ground.processes()):
            return []
        time.sleep(0.1)
    left = [f"{role} {process.pid}" for process, role in ground.processes()]
    ground.end_all()
    return left
