"""A script: does a compiled package give the numbers of a clean build's? Prints the differences as a JSON list.

    outputs.py KEPT/compiled.pt2 CLEAN RTOL ATOL

The inputs are those of the clean build's exported program, at three sizes of the batch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from batchexport.pipeline.load import load_compiled


def compare(kept: str, clean: Path, rtol: float, atol: float) -> list[str]:
    """What differs, in words: bits are allowed to, within the tolerance."""
    program = torch.export.load(clean / "exported.pt2")
    _, given = program.example_inputs or ((), {})
    runs: dict[str, Callable[..., Any]] = {
        "the clean build's": load_compiled(str(clean / "compiled.pt2")),
        "the exported program's": program.module(),
    }
    ours = load_compiled(kept)
    found = []
    for size in (1, 2, 7):
        inputs = {name: _resized(value, size) for name, value in given.items()}
        got = pytree.tree_leaves(ours(**inputs))
        for whose, run in runs.items():
            for one, other in zip(got, pytree.tree_leaves(run(**inputs)), strict=True):
                if one.dtype != other.dtype or not torch.allclose(one, other, rtol=rtol, atol=atol, equal_nan=True):
                    found.append(f"at batch {size}, outputs are not {whose}")
    return found


def _resized(value: Any, size: int) -> Any:
    return torch.cat([value] * size)[:size] if isinstance(value, torch.Tensor) else value


if __name__ == "__main__":
    with torch.no_grad():
        sys.stdout.write(json.dumps(compare(sys.argv[1], Path(sys.argv[2]), *map(float, sys.argv[3:]))) + "\n")
