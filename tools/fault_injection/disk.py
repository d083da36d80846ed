"""A file system fills up in mid-run: jobs end with kind `disk`, the store stays sound; with room all is delivered."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from fault_injection.audit import unaccounted
from fault_injection.workspace import Workspace

_JOBS = list(range(1, 7))


def disk(folder: Path, rng: Random, count: int, say: Callable[[str], None]) -> dict[str, object]:
    """`count` runs on small file systems of random size; {"skipped": why} where none can be mounted."""
    wrong: list[str] = []
    kinds: Counter[str] = Counter()
    delivered = 0
    for number in range(count):
        place = folder / f"disk-{number}"
        place.mkdir(parents=True)
        size = rng.randrange(100, 700)
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", str(place)],
            capture_output=True,
            text=True,
            check=False,
        )
        if mounted.returncode:
            return {"skipped": f"a file system can't be mounted here: {mounted.stderr.strip()}", "wrong": []}
        try:
            workspace = Workspace(place)
            wrong += [f"{size} KiB: {line}" for line in _one(workspace, kinds)]
            delivered += len(workspace.jobs())
        finally:
            subprocess.run(["umount", str(place)], check=False)
        say(f"  {size} KiB: so far {dict(kinds)}")
    return {"runs": count, "delivered in the end": delivered, **kinds, "wrong": wrong}


def _one(workspace: Workspace, kinds: Counter[str]) -> list[str]:
    workspace.manifest(_JOBS)
    ran = workspace.run()
    wrong = [] if "Traceback" not in ran.output else [f"a traceback: {ran.output[-1000:]}"]
    failed = [line for line in ran.output.splitlines() if line.startswith("          error ")]
    for line in failed:
        kind = line.rpartition("kind: ")[2].rstrip(")")
        kinds[kind] += 1
        if kind != "disk" or "free" not in line:
            wrong.append(line.strip())
    if ran.code not in (0, 1, 4) or (ran.code == 0) != (not failed and "can't write" not in ran.output):
        wrong.append(f"it ended with {ran.code}: {ran.output[-600:]}")
    if workspace.data.is_dir() and (checked := workspace.do("cache", "check", "manifest.toml")).code:
        wrong.append(f"the cache is not sound: {checked.output}")
    subprocess.run(["mount", "-o", "remount,size=200m", str(workspace.root)], check=True)
    again = workspace.run()
    if again.code or sorted(workspace.jobs()) != sorted(f"plain[seed={seed}]@cpu" for seed in _JOBS):
        wrong.append(f"with room it ended with {again.code}: {again.output[-600:]}")
    got, want = workspace.outputs(), workspace.truth()
    wrong += [f"not right: {name}" for name in want if got.get(name) != want[name]]
    workspace.do("cache", "gc", "manifest.toml")
    return wrong + [f"left behind: {path}" for path in unaccounted(workspace)]
