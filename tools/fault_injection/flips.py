"""Bits flip and files end early in blobs, records and index: nothing wrong is delivered, and the next run heals all."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from fault_injection.audit import unaccounted
from fault_injection.workspace import Workspace

_SEEDS = [1, 2, 3, 4]


def flips(workspace: Workspace, rng: Random, count: int, a_round: int, say: Callable[[str], None]) -> dict[str, object]:
    """`count` damages, `a_round` of them before each run; every second run has lost its outputs, too."""
    workspace.manifest(_SEEDS)
    wrong: list[str] = []
    first = workspace.run()
    if first.code:
        raise RuntimeError(first.output)
    want = workspace.outputs()
    done: Counter[str] = Counter()
    rounds = rebuilt = 0
    while done.total() < count:
        rounds += 1
        for _ in range(min(a_round, count - done.total())):
            done[_damage(workspace, rng)] += 1
        if rounds % 2:
            shutil.rmtree(workspace.project / "dist")
        ran = workspace.run()
        if ran.code or "Traceback" in ran.output:
            wrong.append(f"round {rounds} ended with {ran.code}: {ran.output[-600:]}")
        got = workspace.outputs()
        wrong += [f"round {rounds} served wrong bytes: {name}" for name in got if got[name] != want.get(name)]
        wrong += [f"round {rounds} did not deliver {name}" for name in want.keys() - got.keys()]
        rebuilt += sum(job["stages"]["export"]["outcome"] == "built" for job in workspace.jobs().values())
        checked = workspace.do("cache", "check", "manifest.toml")
        if checked.code not in (0, 4) or "Traceback" in checked.output:
            wrong.append(f"round {rounds}: the check ended with {checked.code}: {checked.output[-600:]}")
        say(f"  {done.total()} of {count} damages, {rounds} rounds, {rebuilt} exports built again")
    # What no run has looked at was set aside by the last check: one more run, and all is as new.
    shutil.rmtree(workspace.project / "dist")
    last = workspace.run()
    if last.code or workspace.outputs() != want:
        wrong.append(f"the last run did not heal all: {last.output[-600:]}")
    if workspace.do("cache", "gc", "manifest.toml", "--max-size", "0B").code:
        wrong.append("gc failed")
    if workspace.do("cache", "check", "manifest.toml").code:
        wrong.append("after the last run the cache is not sound")
    wrong += [f"left behind: {path}" for path in unaccounted(workspace)]
    return {"damages": done.total(), "rounds": rounds, **done, "exports built again": rebuilt, "wrong": wrong}


def _damage(workspace: Workspace, rng: Random) -> str:
    """Flip a bit of, or cut short, a file of the cache; the times of the file stay, as on a failing disk."""
    sort = rng.choice(["blobs", "records", "index"])
    folder = workspace.data / {"blobs": "objects", "records": "entries", "index": "index"}[sort]
    path = rng.choice(sorted(path for path in folder.rglob("*") if path.is_file()) or [workspace.data / "schema"])
    stat = path.stat()
    data = bytearray(path.read_bytes())
    if data and rng.random() < 0.7:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    else:
        del data[rng.randrange(len(data) or 1) :]
    _write(path, bytes(data))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return sort


def _write(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)
