"""A script: carry out tasks in forked processes that know torch and not the product.

    bare.py TASKS.json FOLDER JOBS

A task is {id, what: "probe" | "artifacts" | "plain", card, …}; its result is left in FOLDER/ID.json, also where the
process died. torch is imported once, and nothing is computed before the forks.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import torch._dynamo
import torch._export
import torch._inductor
from torch.utils import _pytree as pytree

from fuzz import artifact, oracle

LIMIT_SECONDS = 300
_LARGEST = 1e5


def probe(task: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Whether a model runs in eager mode at the ends of its ranges and gives finite numbers: {"error": …}."""
    card = task["card"]
    try:
        made = oracle.calls(card, [oracle.example(card), *oracle.points(card)])
    except Exception as error:  # noqa: BLE001 - a model that fails is what is looked for
        return {"error": artifact.one_line(error)}
    for call in made:
        for leaf in pytree.tree_leaves(call.outputs):
            if isinstance(leaf, torch.Tensor) and leaf.numel() and not leaf.is_complex():
                size = float(leaf.to(torch.float64).abs().max())
                if not size < _LARGEST:
                    return {"error": f"a value of {size}"}
    return {"error": None}


def artifacts(task: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What differs between delivered files and eager, by name of the file."""
    card = task["card"]
    for module in task["imports"]:
        __import__(module)
    made = oracle.calls(card, oracle.points(card))
    reference = [call for call in made if not (call.free and task["fixed"])]
    found: dict[str, str | None] = {}
    for path in task["files"]:
        name = os.path.basename(path)
        try:
            run = artifact.load(path)
        except Exception as error:  # noqa: BLE001 - the same
            found[name] = f"loading raises {artifact.one_line(error)}"
            continue
        found[name] = artifact.compare(run, reference, card, compiled=name != "exported.pt2")
    assert "batchexport" not in sys.modules
    return {"found": found}


def plain(task: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What torch makes of the model alone."""
    card = task["card"]
    reference = oracle.calls(card, oracle.points(card))
    with tempfile.TemporaryDirectory(dir=folder) as work:
        steps = artifact.plain(card, reference, Path(work), compiled=task["compiled"])
    assert "batchexport" not in sys.modules
    return {"steps": steps}


WHAT = {"probe": probe, "artifacts": artifacts, "plain": plain}


def _child(task: Mapping[str, Any], folder: Path) -> None:
    os.setpgid(0, 0)
    log = os.open(folder / f"{task['id']}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    torch.set_num_threads(1)
    try:
        result = WHAT[task["what"]](task, folder)
    except BaseException as error:  # noqa: BLE001 - told as the task's own failure
        result = {"failed": artifact.one_line(error)}
    (folder / f"{task['id']}.json").write_text(json.dumps(result), encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)


def main(tasks: list[dict[str, Any]], folder: Path, jobs: int) -> None:
    """Carry out all tasks, so many at a time."""
    running: dict[int, tuple[str, float]] = {}
    waiting = list(reversed(tasks))
    while waiting or running:
        while waiting and len(running) < jobs:
            task = waiting.pop()
            if (pid := os.fork()) == 0:
                _child(task, folder)
            running[pid] = (task["id"], time.monotonic())
        for pid, (name, began) in list(running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            result = folder / f"{name}.json"
            if ended:
                del running[pid]
                if not result.exists():
                    result.write_text(json.dumps({"failed": f"the process ended with status {status}"}))
            elif time.monotonic() - began > LIMIT_SECONDS:
                os.killpg(pid, signal.SIGKILL)
        time.sleep(0.01)


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.path.insert(0, given["project"])
    main(given["tasks"], Path(sys.argv[2]), int(sys.argv[3]))
