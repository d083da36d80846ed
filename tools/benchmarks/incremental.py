"""What an edit costs, held against building everything: BERT-base, at full size, with its weights in a file.

    python tools/benchmarks/incremental.py             one round
    python tools/benchmarks/incremental.py --rounds 3  ratios are then medians of the rounds

Each round, in one project: (0) the first run with a new cache; (a) a run with no results in the cache, though with
Inductor's own precompiled headers, as on any machine that has compiled before; (b) a run after the weights file was
replaced by another one of the same layout; (c) after a comment was edited in the module that defines the model;
(d) after that module was rewritten so that the same graph comes out. The target is (b) <= 0.15 x (a), whole processes
by the clock; (b) / (0) is told beside it. What must not happen is held against the counts: (b) and (d) compile
nothing, (c) runs nothing at all. Exit status: 0 all of that holds, 1 something does not.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from measure import Measured, batchexport, measured

TARGET = 0.15
STAGES = ("export", "compile", "verify")

_MANIFEST = """schema = 1

[output]
dir = "dist"

[cache]
dir = "cache"

[[entry]]
name = "bert-base"
model = "encoder:bert"
kwargs = { layers = LAYERS }
weights = "bert.safetensors"

[entry.inputs]
input_ids = { shape = ["batch", "seq"], dtype = "int64", range = [0, 30522] }
attention_mask = { shape = ["batch", "seq"], dtype = "int64", value = 1 }

[entry.dims]
batch = { min = 1, max = 4, example = 2 }
seq = { min = 1, max = 64, example = 16 }
"""

_MODEL = '''"""BERT-base, or fewer layers of it."""

from transformers import BertConfig, BertModel


def bert(layers):
    config = BertConfig(num_hidden_layers=layers)
    return BertModel(config)
'''

_WEIGHTS = """
import sys
import torch
from safetensors.torch import save_file
from encoder import bert

layers, seed, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.manual_seed(seed)
state = bert(layers).state_dict()
for tensor in state.values():
    if tensor.is_floating_point():
        tensor.add_(torch.randn_like(tensor), alpha=0.01)
save_file(state, path)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One measured run and what its report says of the only job."""

    cost: Measured
    stages: dict[str, dict[str, Any]]

    @property
    def work(self) -> Counter[str]:
        """How many exports, compiles, packs and verifications ran."""
        found: Counter[str] = Counter()
        for stage, report in self.stages.items():
            if report["outcome"] == "built":
                found[stage] += 1
            elif report["seconds"]:
                found["pack"] += 1
        return found


class Project:
    """BERT in a folder of its own, where its source and weights can be edited."""

    def __init__(self, folder: Path, layers: int) -> None:
        self.folder = folder
        self._layers = layers
        (folder / "bert.toml").write_text(_MANIFEST.replace("LAYERS", str(layers)), encoding="utf-8")
        (folder / "weights.py").write_text(_WEIGHTS, encoding="utf-8")
        self._model = folder / "encoder.py"
        self._model.write_text(_MODEL, encoding="utf-8")

    def begin(self) -> None:
        """Remove the cache and the outputs, and undo the edits."""
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        shutil.rmtree(self.folder / "dist", ignore_errors=True)
        self._model.write_text(_MODEL, encoding="utf-8")

    def forget(self) -> None:
        """Empty the cache but for what the compiler keeps there for itself."""
        for name in ("entries", "objects", "index"):
            shutil.rmtree(self.folder / "cache" / "v1" / name, ignore_errors=True)
        shutil.rmtree(self.folder / "dist", ignore_errors=True)

    def write_weights(self, seed: int) -> None:
        """Put another weights file in place."""
        partial = self.folder / "partial.safetensors"
        command = [sys.executable, "weights.py", str(self._layers), str(seed), partial.name]
        subprocess.run(command, cwd=self.folder, check=True)
        partial.replace(self.folder / "bert.safetensors")

    def comment(self) -> None:
        """Edit a comment."""
        self._model.write_text(f"# A comment.\n{_MODEL}", encoding="utf-8")

    def refactor(self) -> None:
        """Rename a local variable and move an expression into a helper."""
        changed = _MODEL.replace("    config = BertConfig(", "    settings = BertConfig(")
        changed = changed.replace("return BertModel(config)", "return _built(settings)")
        helper = "\n\ndef _built(settings):\n    return BertModel(settings)\n"
        self._model.write_text(changed + helper, encoding="utf-8")

    def run(self) -> Ran:
        """Run, and read the report."""
        cost = measured(batchexport("run", "bert.toml"), folder=self.folder)
        report = json.loads((self.folder / "dist" / "report.json").read_text(encoding="utf-8"))
        return Ran(cost=cost, stages=report["jobs"][0]["stages"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1, help="how often everything is measured (default 1)")
    parser.add_argument("--layers", type=int, default=12, help="layers of BERT (default 12; fewer for a quick look)")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark_incremental-", dir=given.folder) as name:
        project = Project(Path(name), given.layers)
        return _judge([_round(project, number) for number in range(given.rounds)])


def _round(project: Project, number: int) -> dict[str, Ran]:
    edits: dict[str, Callable[[], None]] = {
        "0 first run": lambda: project.write_weights(2 * number),
        "a everything": project.forget,
        "b new weights": lambda: project.write_weights(2 * number + 1),
        "c comment": project.comment,
        "d refactor": project.refactor,
    }
    project.begin()
    print(
        f"{'run':<14} {'wall':>8} {'/ (a)':>7} {'cpu':>8} "
        + " ".join(f"{stage:>9}" for stage in STAGES)
        + "   what ran"
    )
    found: dict[str, Ran] = {}
    for title, edit in edits.items():
        edit()
        os.sync()  # or a run would wait for what the edit, or the run before it, wrote
        ran = found[title[0]] = project.run()
        times = " ".join(f"{ran.stages[stage]['seconds']:>7.2f} s" for stage in STAGES)
        work = ", ".join(f"{count} {what}" for what, count in ran.work.items()) or "nothing"
        ratio = ran.cost.seconds / found["a" if "a" in found else "0"].cost.seconds
        wall, cpu = f"{ran.cost.seconds:>6.2f} s", f"{ran.cost.cpu_seconds:>6.2f} s"
        print(f"{title:<14} {wall} {ratio:>7.3f} {cpu} {times}   {work}", flush=True)
    return found


def _judge(rounds: Sequence[dict[str, Ran]]) -> int:
    ratio = median(found["b"].cost.seconds / found["a"].cost.seconds for found in rounds)
    complaints = []
    if ratio > TARGET:
        complaints.append(f"new weights cost {ratio:.3f} of a compile run, the target is {TARGET:g}")
    for found in rounds:
        wanted = {
            "0": {"export": 1, "compile": 1, "verify": 1},
            "a": {"export": 1, "compile": 1, "verify": 1},
            "b": {"export": 1, "pack": 1, "verify": 1},
            "c": {},
            "d": {"export": 1},
        }
        complaints += [f"({name}) ran {dict(found[name].work)}, not {work}" for name, work in wanted.items()
                       if dict(found[name].work) != work]  # fmt: skip
    first = median(found["b"].cost.seconds / found["0"].cost.seconds for found in rounds)
    print(f"(b) / (a): {ratio:.3f}, target {TARGET:g}; (b) / (0): {first:.3f}")
    for complaint in complaints:
        print(f"MISSED: {complaint}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
