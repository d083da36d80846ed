"""What a compile stage costs, held against plain `aoti_compile_and_package` of the same archive in its own process.

    python tools/benchmarks/compile.py            two small models and an encoder of two layers
    python tools/benchmarks/compile.py --large    BERT-base at full size, too

Both have compiled before on this machine. Ours is the time of the stage as the report tells it, plain torch's that of
loading and compiling, without the import of torch; the ratio is the median over pairs that ran in turn. Both packages
are then loaded in one process: their outputs must be equal bit for bit, and a call should take the same time.
Exit status: 0 all of that holds, 1 something does not.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from measure import batchexport, measured

TARGET, LARGE_TARGET, SLOWER = 0.5, 0.7, 1.01

_MANIFEST = """schema = 1

[cache]
dir = "cache"

[[entry]]
name = "mlp"
model = "models:mlp"
inputs = { input = { shape = ["batch", 64] } }
dims = { batch = { min = 1, max = 64, example = 4 } }

[[entry]]
name = "conv"
model = "models:conv"
inputs = { input = { shape = ["batch", 3, 32, 32] } }
dims = { batch = { min = 1, max = 64, example = 4 } }

[[entry]]
name = "encoder"
model = "models:bert"
kwargs = { layers = 2, width = 64 }
inputs = { input_ids = { shape = ["batch", "seq"], dtype = "int64", range = [0, 1000] } }
dims = { batch = { min = 1, max = 8, example = 2 }, seq = { min = 1, max = 64, example = 16 } }
"""
_LARGE = """
[[entry]]
name = "bert-base"
model = "models:bert"
kwargs = { layers = 12, width = 768 }
inputs = { input_ids = { shape = ["batch", "seq"], dtype = "int64", range = [0, 1000] } }
dims = { batch = { min = 1, max = 8, example = 2 }, seq = { min = 1, max = 64, example = 16 } }
"""
_MODELS = """import torch
from torch import nn


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.LayerNorm(128), nn.Linear(128, 10))


def conv():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.GELU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def bert(layers, width):
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    size = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": width // 16}
    return BertModel(BertConfig(num_hidden_layers=layers, vocab_size=1000, use_cache=False, **size))
"""
# What an archive needs when it is loaded is imported ahead of the clock.
_IMPORTS = """import importlib, json, sys, time
import torch

for module in json.load(open(sys.argv[1].replace("exported.pt2", "job.json")))["imports"]:
    importlib.import_module(module)
"""
_PLAIN = f"""{_IMPORTS}
started = time.perf_counter()
program = torch.export.load(sys.argv[1])
torch._inductor.aoti_compile_and_package(program, package_path=sys.argv[2])
print(json.dumps({{"seconds": time.perf_counter() - started}}))
"""
# Calls both packages in turn, each time the other one first.
_COMPARE = f"""{_IMPORTS}
import statistics

program = torch.export.load(sys.argv[1])
args, kwargs = program.example_inputs
both = [torch._inductor.aoti_load_package(path) for path in sys.argv[2:4]]


def call(model):
    started = time.perf_counter()
    outputs = model(*args, **kwargs)
    return outputs, time.perf_counter() - started


leaves = [torch.utils._pytree.tree_leaves(call(model)[0]) for model in both]
equal = all(torch.equal(one, other) for one, other in zip(*leaves, strict=True))
ratios = []
for turn in range(600):
    times = [0.0, 0.0]
    for which in (0, 1) if turn % 2 else (1, 0):
        times[which] = call(both[which])[1]
    ratios.append(times[0] / times[1])
print(json.dumps({{"equal": equal, "slower": statistics.median(ratios)}}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3, help="pairs for each model (default 3)")
    parser.add_argument("--large", action="store_true", help="BERT-base, too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark_compile-") as name:
        folder = Path(name)
        (folder / "models.py").write_text(_MODELS, encoding="utf-8")
        (folder / "m.toml").write_text(_MANIFEST + (_LARGE if given.large else ""), encoding="utf-8")
        measured(batchexport("run", "m.toml"), folder=folder)
        print(f"load average {os.getloadavg()[0]:.2f}; seconds are medians of {given.pairs} pairs")
        print(f"{'model':<10} {'ours':>8} {'plain':>8} {'ratio':>7} {'target':>7}  {'equal':<5} {'call':>6}  wrapper")
        names = [job["entry"] for job in _report(folder)["jobs"]]
        complaints = [one for name in names for one in _compare(folder, name, given.pairs)]
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return bool(complaints)


def _compare(folder: Path, name: str, pairs: int) -> list[str]:
    job = folder / "dist" / f"{name}@cpu"
    theirs = str(folder / f"{name}.pt2")
    plain = (sys.executable, "-c", _PLAIN, str(job / "exported.pt2"), theirs)
    measured(plain, folder=folder)
    found: list[tuple[float, float]] = []
    stage: dict[str, Any] = {}
    for _ in range(pairs):
        measured(batchexport("run", "m.toml", "--only", f"{name}@cpu", "--force"), folder=folder)
        stage = _report(folder)["jobs"][0]["stages"]["compile"]
        found.append((stage["seconds"], json.loads(measured(plain, folder=folder).output.splitlines()[-1])["seconds"]))
    ratio = median(one / other for one, other in found)
    ours, reference = (median(times) for times in zip(*found, strict=True))
    command = (sys.executable, "-c", _COMPARE, str(job / "exported.pt2"), str(job / "compiled.pt2"), theirs)
    compared = json.loads(measured(command, folder=folder).output.splitlines()[-1])
    target = LARGE_TARGET if name == "bert-base" else TARGET
    print(
        f"{name:<10} {ours:>6.2f} s {reference:>6.2f} s {ratio:>7.3f} {target:>7.2f}  "
        f"{'yes' if compared['equal'] else 'NO':<5} {compared['slower']:>6.3f}  {stage.get('wrapper')}",
        flush=True,
    )
    complaints = [f"{name}: the outputs differ"] if not compared["equal"] else []
    if ratio > target:
        complaints.append(f"{name}: the stage costs {ratio:.3f} of plain torch's compile, the target is {target:g}")
    if compared["slower"] > SLOWER:
        complaints.append(f"{name}: a call takes {compared['slower']:.3f} of what it takes in plain torch's package")
    return complaints


def _report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "dist" / "report.json").read_text(encoding="utf-8"))
    return report


if __name__ == "__main__":
    sys.exit(main())
