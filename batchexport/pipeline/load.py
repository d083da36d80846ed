"""Load compiled artifacts with torch's own loader, and call them as the model was exported."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
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
    return called_by(runner)


def called_by(runner: Any) -> Callable[..., Any]:
    """Return a callable for the runner of a compiled library."""

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
    """Return a callable for the compiled artifact in an output folder, by position and by name as the model was.

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
    run, call = load_compiled(str(folder / Path(compiled).name), device), record.get("call")
    return _as_called(run, **call) if call else run  # earlier versions did not write it


def _as_called(
    run: Callable[..., Any], *, args: Sequence[str], kwargs: Sequence[str], positions: Sequence[str]
) -> Callable[..., Any]:
    """Return a callable that passes its inputs on to `run` as that takes them; see `call` in `job.json`."""

    def call(*by_position: Any, **by_name: Any) -> Any:
        if len(by_position) > len(positions):
            raise TypeError(f"at most {len(positions)} inputs are taken by position, and {len(by_position)} are given")
        given = dict(zip(positions, by_position, strict=False))
        twice = [name for name in by_name if name in given]
        unknown = [name for name in by_name if name not in (*args, *kwargs)]
        missing = [name for name in (*args, *kwargs) if name not in given and name not in by_name]
        for what, names in (("given twice", twice), ("unknown", unknown), ("missing", missing)):
            if names:
                raise TypeError(f"the input {names[0]!r} is {what}; the inputs are {', '.join((*args, *kwargs))}")
        given |= by_name
        return run(*(given[name] for name in args), **{name: given[name] for name in kwargs})

    return call
