"""A file system fills up in mid-run: jobs end with kind `disk`, the store stays sound; with room all is delivered."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from havoc.audit import unaccounted
from havoc.ground import Ground

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
            ground = Ground(place)
            wrong += [f"{size} KiB: {line}" for line in _one(ground, kinds)]
            delivered += len(ground.jobs())
        finally:
            subprocess.run(["umount", str(place)], check=False)
        say(f"  {size} KiB: so far {dict(kinds)}")
    return {"runs": count, "delivered in the end": delivered, **kinds, "wrong": wrong}


def _one(ground: Ground, kinds: Counter[str]) -> list[str]:
    ground.manifest(_JOBS)
    ran = ground.run()
    wrong = [] if "Traceback" not in ran.output else [f"a traceback: {ran.output[-1000:]}"]
    failed = [line for line in ran.output.splitlines() if line.startswith("          error ")]
    for line in failed:
        kind = line.rpartition(", ")[2].rstrip("]")
        kinds[kind] += 1
        if kind != "disk" or "free" not in line:
            wrong.append(line.strip())
    if ran.code not in (0, 1, 4) or (ran.code == 0) != (not failed and "can't write" not in ran.output):
        wrong.append(f"it ended with {ran.code}: {ran.output[-600:]}")
    if ground.data.is_dir() and (checked := ground.do("cache", "check", "manifest.toml")).code:
        wrong.append(f"the cache is not sound: {checked.output}")
    subprocess.run(["mount", "-o", "remount,size=200m", str(ground.root)], check=True)
    again = ground.run()
    if again.code or sorted(ground.jobs()) != sorted(f"plain[seed={seed}]@cpu" for seed in _JOBS):
        wrong.append(f"with room it ended with {again.code}: {again.output[-600:]}")
    got, want = ground.outputs(), ground.truth()
    wrong += [f"not right: {name}" for name in want if got.get(name) != want[name]]
    ground.do("cache", "gc", "manifest.toml")
    return wrong + [f"left behind: {path}" for path in unaccounted(ground)]
