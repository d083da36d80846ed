"""Load compiled artifacts with torch's own loader, and call them as the model was exported."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._inductor
from torch.export._tree_utils import reorder_kwargs
from torch.export.pt2_archive._package import AOTICompiledModel
from torch.utils import _pytree as pytree


def load_compiled(path: str, device: str = "cpu") -> Callable[..., Any]:
    """Return a callable for a compiled package (`.pt2`) or library (`.so`).

    Packages are passed to torch's inner loader: `aoti_load_package` would probe the compiler first, which takes
    seconds on a new machine and changes nothing.
    """
    if path.endswith(".pt2"):
        return AOTICompiledModel(torch._C._aoti.AOTIModelPackageLoader(path, "model", False, 1, -1))
    kinds = torch._C._aoti
    runner = (
        kinds.AOTIModelContainerRunnerCpu(path, 1)
        if device == "cpu"
        else kinds.AOTIModelContainerRunnerCuda(path, 1, device)
    )

    def call(*args: Any, **kwargs: Any) -> Any:
        in_spec, out_spec = (pytree.treespec_loads(text) for text in runner.get_call_spec())
        flat = pytree.tree_flatten((args, reorder_kwargs(kwargs, in_spec)))[0]
        outputs = runner.run([leaf for leaf in flat if isinstance(leaf, torch.Tensor)])
        return pytree.tree_unflatten(outputs, out_spec)

    return call


def leaf_names(tree: Any) -> list[str]:
    """Return how one gets at each leaf of inputs or outputs in Python: `['x'][0]`."""
    return [pytree.keystr(path) for path, _ in pytree.tree_flatten_with_path(tree)[0]]


def load(folder: str | Path) -> Callable[..., Any]:
    """Return a callable for the compiled artifact in an output folder.

    What its `job.json` lists under `imports` is imported first. Raises FileNotFoundError if there is no artifact, and
    ImportError.
    """
    folder = Path(folder)
    record = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    compiled = record["outputs"].get("compiled")
    if compiled is None:
        why = 'its compile format is "none", or it was made with --stage export'
        raise FileNotFoundError(f"{folder} holds no compiled artifact: {why}")
    for module in record.get("imports", []):
        importlib.import_module(module)
    device = "cuda" if record["target"].startswith("cuda") else "cpu"
    return load_compiled(str(folder / Path(compiled).name), device)
