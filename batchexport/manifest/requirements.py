"""Find what jobs need and is not there: weight files, data files, archives, modules. Imports none of them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from batchexport.core.dims import Dim
from batchexport.core.job import Job
from batchexport.core.options import data_files
from batchexport.core.sizes import Affine, evaluate, parse_size
from batchexport.core.text import format_bytes

_LIBRARIES = ("timm", "torchvision", "transformers")
_SHOWN = 3
_BITS = re.compile(r"\d+")
_ARCHIVES = (".pt2", ".pt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """Something that is missing: what it is, what to do, and the jobs that need it."""

    what: str
    remedy: str
    jobs: tuple[str, ...]

    @property
    def detail(self) -> str:
        """Return what is missing, and which jobs need it."""
        more = f" and {len(self.jobs) - _SHOWN} more" if len(self.jobs) > _SHOWN else ""
        return f"{self.what} ({', '.join(self.jobs[:_SHOWN])}{more})"

    def __str__(self) -> str:
        return f"{self.detail}; {self.remedy}"


def missing_requirements(
    jobs: Iterable[Job], root: Path, path: Sequence[str], memory: int | None = None
) -> tuple[Requirement, ...]:
    """Return what is missing, each thing once with its jobs; `path` are the folders of the import path.

    With `memory`, that of the machine in bytes, inputs are told that it can't hold.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for job in jobs:
        oversized = () if memory is None else _oversized(job, memory)
        for missing in (*_missing(job, root, (str(root), *path)), *oversized):
            found.setdefault(missing, []).append(job.name)
    return tuple(Requirement(what=what, remedy=remedy, jobs=tuple(names)) for (what, remedy), names in found.items())


def _missing(job: Job, root: Path, path: Sequence[str]) -> Iterator[tuple[str, str]]:
    spec = job.export
    files = [("weights", spec.weights), *(("extra_files", file) for file in spec.extra_files.values())]
    files += [("model", spec.model)] if spec.model.endswith(_ARCHIVES) else []
    files += [("inputs", spec.inputs)] if isinstance(spec.inputs, str) and ":" not in spec.inputs else []
    for key, file in files:
        if file and not os.path.exists(root / file):
            yield f"the file of {key} does not exist: {file}", f"put it there, or correct {key} in the manifest"
    yield from unmatched_data(spec.data, root)
    for module in _modules(spec.model, spec.inputs if isinstance(spec.inputs, str) else "", spec.imports):
        top = module.partition(".")[0]
        if not _is_found(top, path):
            library = top in _LIBRARIES
            mend = f"pip install {top}" if library else f"install it, or put {top}.py beside the manifest"
            yield f"the {'package' if library else 'module'} {top} is not found", mend


def _oversized(job: Job, memory: int) -> Iterator[tuple[str, str]]:
    """Yield the tensors of which memory can't hold two, at the largest sizes: the model gets a copy of its inputs."""
    spec = job.export
    highest = {name: Dim(name=name, **dim).highest for name, dim in spec.dims.items()}
    known = {**{name: value for name, value in highest.items() if value is not None}, **spec.fixed}
    items = spec.inputs.items() if isinstance(spec.inputs, Mapping) else ()
    for name, node in items:
        for tensor in _tensors(node):
            sizes = [parse_size(one) if isinstance(one, str) else one for one in tensor["shape"]]
            if any(isinstance(size, Affine) and size.name not in known for size in sizes):
                continue
            shape = [evaluate(size, known) for size in sizes]
            size = math.prod(shape) * _item_bytes(tensor["dtype"])
            if 2 * size > memory:
                what = f"{name} would be {tensor['dtype']} {shape}: {format_bytes(size)}"
                have = f"this machine's {format_bytes(memory)} of memory can't hold two of it"
                yield f"{what}, and {have}", "lower max in [entry.dims]"


def _tensors(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, Mapping):
        if isinstance(node.get("tensor"), Mapping) and "shape" in node["tensor"]:
            yield node["tensor"]
            return
        node = node.values()
    elif not isinstance(node, list | tuple):
        return
    for inner in node:
        yield from _tensors(inner)


def _item_bytes(dtype: str) -> int:
    """Return the bytes of an item, by the bits in the name of its dtype: `float32`, `bfloat16`, `bool`."""
    bits = _BITS.search(dtype)
    return max(int(bits[0]) // 8, 1) if bits else 1


def unmatched_data(patterns: Iterable[str], root: Path) -> Iterator[tuple[str, str]]:
    """Yield what to say of each pattern or name of data files that matches none, and what to do."""
    for pattern in patterns:
        if not any(os.path.exists(root / file) for file in data_files(root, [pattern])):
            yield f"data matches no file: {pattern}", "correct the pattern, which is relative to the manifest"


def _modules(model: str, inputs: str, imports: Sequence[str]) -> Iterator[str]:
    for reference in (model, inputs):
        if ":" in reference and not reference.endswith(_ARCHIVES):
            yield reference.partition(":")[0]
    yield from imports


def _is_found(module: str, path: Sequence[str]) -> bool:
    try:
        return PathFinder.find_spec(module, list(path)) is not None
    except (ImportError, ValueError):
        return False
