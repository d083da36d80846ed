"""What three bad jobs cost a batch of a hundred: one that aborts, one that hangs, one that allocates without end.

    python tools/benchmarks/survival.py
    python tools/benchmarks/survival.py --jobs 20 --seed 3 --timeout 5

The same manifest runs with and without the three, each time in an empty cache. Held against the claims of the design:
all good jobs are delivered, each bad one is told by its kind, and the run takes at most 1.15 times as long as the one
without them, plus the timeout. The two runs are compared by the wall clock, so nothing else should run on the machine:
the load is printed. Exit status: 0 all hold, 1 one does not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import batchexport

LIMIT = 1.15
KINDS = {"aborts": "crash", "hangs": "timeout", "hogs": "oom"}

_MODELS = '''"""Good models of many sizes, and three bad ones."""

import os
import time

from torch import Tensor, nn


class Good(nn.Module):
    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, width), *(nn.Linear(width, width) for _ in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Aborts(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        os.abort()


class Hangs(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        time.sleep(100_000)


class Hogs(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        hoard = []
        while True:
            hoard.append(b"x" * (16 << 20))
'''
_HEAD = """schema = 1

[output]
dir = "dist"

[cache]
dir = "cache"

[pools.cpu]
memory = "{memory}"

[defaults]
timeout = "{timeout}s"
compile = {{ format = "none" }}

[defaults.inputs]
x = {{ shape = ["batch", 4] }}

[defaults.dims]
batch = {{ min = 1, max = 16, example = 3 }}
"""


def write_project(folder: Path, *, good: int, bad: bool, given: argparse.Namespace) -> None:
    """A manifest of `good` good jobs, and the bad ones at random places among them."""
    dice = random.Random(given.seed)
    folder.mkdir(parents=True)
    (folder / "models.py").write_text(_MODELS, encoding="utf-8")
    entries = [
        f'name = "good-{number}"\nmodel = "models:Good"\nseed = {number}\n'
        f"kwargs = {{ width = {dice.randint(8, 256)}, layers = {dice.randint(1, 12)} }}"
        for number in range(good)
    ]
    for name in KINDS if bad else ():
        entries.insert(dice.randrange(len(entries)), f'name = "{name}"\nmodel = "models:{name.capitalize()}"')
    head = _HEAD.format(memory=given.memory, timeout=given.timeout)
    text = head + "".join(f"\n[[entry]]\n{entry}\n" for entry in entries)
    (folder / "manifest.toml").write_text(text, encoding="utf-8")


def run(folder: Path) -> tuple[float, dict[str, Any]]:
    """Seconds of one whole run, and the reports of its jobs by name."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BATCHEXPORT_")}
    started = time.perf_counter()
    command = batchexport("run", "manifest.toml")
    subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    seconds = time.perf_counter() - started
    report = json.loads((folder / "dist" / "report.json").read_text(encoding="utf-8"))
    return seconds, {job["name"].partition("@")[0]: job for job in report["jobs"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100, metavar="N", help="jobs, the three among them (default 100)")
    parser.add_argument("--timeout", type=float, default=10, metavar="S", help="seconds a stage may take (default 10)")
    parser.add_argument("--memory", default="4GiB", help="of the pool (default 4GiB)")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    given = parser.parse_args()
    good = given.jobs - len(KINDS)
    with tempfile.TemporaryDirectory(prefix="benchmark_survival-", dir=given.folder) as name:
        seconds, jobs = {}, {}
        for bad in (False, True):
            folder = Path(name, "with" if bad else "without")
            write_project(folder, good=good, bad=bad, given=given)
            seconds[bad], jobs[bad] = run(folder)
            load, *_ = os.getloadavg()
            title = "with" if bad else "without"
            print(f"{title} the three: {len(jobs[bad])} jobs, {seconds[bad]:.1f} s, load {load:.1f}", flush=True)
    return 0 if _holds(good, jobs[True], seconds[False], seconds[True], given.timeout) else 1


def _holds(good: int, jobs: dict[str, Any], without: float, with_them: float, timeout: float) -> bool:
    delivered = sum(job["ok"] for job in jobs.values())
    rows = [("good jobs delivered", f"{delivered} of {good}", delivered == good)]
    for name, kind in KINDS.items():
        error = jobs[name]["error"] or {"kind": "none", "message": ""}
        took = jobs[name]["stages"]["export"]["seconds"]
        rows.append((name, f"{error['kind']} after {took:.1f} s: {error['message'][:60]}", error["kind"] == kind))
    limit = LIMIT * without + timeout
    rows.append(("seconds", f"{with_them:.1f}, and {limit:.1f} allowed", with_them <= limit))
    for title, found, holds in rows:
        print(f"{title:<20} {found:<80} {'holds' if holds else 'MISSED'}")
    return all(holds for *_, holds in rows)


if __name__ == "__main__":
    sys.exit(main())
