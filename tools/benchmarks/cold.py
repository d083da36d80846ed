"""What a first run costs, held against the scripts that people write: many small models, exported and verified.

    python tools/benchmarks/cold.py             50 models
    python tools/benchmarks/cold.py --count 200

Each contender builds every model, exports it, saves the archive, loads it and compares it with eager at the ends of
its one dim: batchexport with an empty cache; a loop of joblib's processes; one process for each model; and a script
that does them one after the other. All use the same number of processes, but for the last. Whole commands by the
clock, in turn; the ratios are medians over the rounds. Exit status: 0 the targets hold, 1 one does not.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from measure import Measured, batchexport, measured

# How many times as fast as each contender, for 50 and for 200 models.
TARGETS = {50: {"joblib": 1.2, "processes": 9.0}, 200: {"joblib": 1.5, "processes": 12.0}}

_MODELS = """import torch
from torch import nn


def model(number):
    torch.manual_seed(number)
    width = 8 + number % 7
    kinds = [
        lambda: nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, 4)),
        lambda: nn.Sequential(nn.Linear(16, width), nn.LayerNorm(width), nn.GELU(), nn.Linear(width, 4)),
        lambda: nn.Sequential(nn.Unflatten(1, (1, 16)), nn.Conv1d(1, width, 3), nn.BatchNorm1d(width), nn.Flatten()),
    ]
    return kinds[number % len(kinds)]().eval()
"""
_SCRIPT = """import os, subprocess, sys
import torch
from models import model


def one(number):
    torch.set_num_threads(1)
    made = model(number)
    batch = torch.export.Dim("batch", min=1, max=32)
    program = torch.export.export(made, (torch.randn(4, 16),), dynamic_shapes=({0: batch},))
    path = f"{sys.argv[3]}/{number}.pt2"
    torch.export.save(program, path)
    loaded = torch.export.load(path).module()
    with torch.no_grad():
        for size in (1, 4, 32):
            batch = torch.randn(size, 16)
            torch.testing.assert_close(loaded(batch), made(batch), rtol=1e-3, atol=1e-5)


how, count, jobs = sys.argv[1], int(sys.argv[2]), int(sys.argv[4])
os.makedirs(sys.argv[3], exist_ok=True)
if how == "one":
    one(count)
elif how == "sequential":
    for number in range(count):
        one(number)
elif how == "joblib":
    from joblib import Parallel, delayed

    Parallel(n_jobs=jobs)(delayed(one)(number) for number in range(count))
"""
_PROCESSES = """import subprocess, sys
from concurrent.futures import ThreadPoolExecutor

count, jobs = int(sys.argv[1]), int(sys.argv[3])
command = lambda number: [sys.executable, "script.py", "one", str(number), sys.argv[2], "1"]
with ThreadPoolExecutor(jobs) as pool:
    list(pool.map(lambda number: subprocess.run(command(number), check=True), range(count)))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50, help="how many models (default 50)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default 3)")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (default 2)")
    parser.add_argument("--without", action="append", default=[], help="leave a contender out; repeatable")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark_cold-") as name:
        folder = Path(name)
        found = _rounds(folder, given.count, given.jobs, given.rounds, given.without)
    ours = found.pop("batchexport")
    cpu = median(one.cpu_seconds for one in ours)
    print(f"batchexport  {median(one.seconds for one in ours):.2f} s, {cpu:.2f} s of CPU")
    complaints = []
    for title, theirs in found.items():
        ratio = median(other.seconds / one.seconds for one, other in zip(ours, theirs, strict=True))
        target = TARGETS.get(given.count, {}).get(title)
        told = f", target {target:g} x" if target else ""
        print(f"{title:<12} {median(one.seconds for one in theirs):.2f} s: {ratio:.2f} x as long{told}")
        if target and ratio < target:
            complaints.append(f"{ratio:.2f} x as fast as {title}, the target is {target:g} x")
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return bool(complaints)


def _rounds(folder: Path, count: int, jobs: int, rounds: int, without: list[str]) -> dict[str, list[Measured]]:
    (folder / "models.py").write_text(_MODELS, encoding="utf-8")
    (folder / "script.py").write_text(_SCRIPT, encoding="utf-8")
    (folder / "processes.py").write_text(_PROCESSES, encoding="utf-8")
    (folder / "m.toml").write_text(_manifest(count), encoding="utf-8")
    out = str(folder / "out")
    script = (sys.executable, "script.py")
    contenders = {
        "batchexport": batchexport("run", "m.toml", "--jobs", str(jobs)),
        "joblib": (*script, "joblib", str(count), out, str(jobs)),
        "processes": (sys.executable, "processes.py", str(count), out, str(jobs)),
        "sequential": (*script, "sequential", str(count), out, "1"),
    }
    found: dict[str, list[Measured]] = {title: [] for title in contenders if title not in without}
    for _ in range(rounds):
        for title, times in found.items():
            for name in ("cache", "dist", "out"):
                shutil.rmtree(folder / name, ignore_errors=True)
            times.append(measured(contenders[title], folder=folder))
            print(f"{title:<12} {times[-1].seconds:6.2f} s  load {os.getloadavg()[0]:.2f}", flush=True)
            if title == "batchexport":
                report = json.loads((folder / "dist" / "report.json").read_text(encoding="utf-8"))
                assert report["totals"]["ok"] == count, report["totals"]
    return found


def _manifest(count: int) -> str:
    head = """schema = 1
[cache]
dir = "cache"
[defaults.inputs]
input = { shape = ["batch", 16] }
[defaults.dims]
batch = { min = 1, max = 32, example = 4 }
[defaults.compile]
format = "none"
"""
    entries = [f'[[entry]]\nname = "m{n}"\nmodel = "models:model"\nkwargs = {{ number = {n} }}\n' for n in range(count)]
    return head + "".join(entries)


if __name__ == "__main__":
    sys.exit(main())
