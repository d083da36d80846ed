"""Find what jobs need and is not there: weight files, data files, archives, modules. Imports none of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from batchexport.core.job import Job
from batchexport.core.options import data_files

_LIBRARIES = ("timm", "torchvision", "transformers")
_ARCHIVES = (".pt2", ".pt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """Something that is missing: what it is, what to do, and the jobs that need it."""

    what: str
    remedy: str
    jobs: tuple[str, ...]


def missing_requirements(jobs: Iterable[Job], root: Path, path: Sequence[str]) -> tuple[Requirement, ...]:
    """Return what is missing, each thing once with its jobs; `path` are the folders of the import path."""
    found: dict[tuple[str, str], list[str]] = {}
    for job in jobs:
        for missing in _missing(job, root, (str(root), *path)):
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
    for pattern in spec.data:
        if not any(os.path.exists(root / file) for file in data_files(root, [pattern])):
            yield f"data matches no file: {pattern}", "correct the pattern, which is relative to the manifest"
    for module in _modules(spec.model, spec.inputs if isinstance(spec.inputs, str) else "", spec.imports):
        top = module.partition(".")[0]
        if not _is_found(top, path):
            library = top in _LIBRARIES
            mend = f"pip install {top}" if library else f"install it, or put {top}.py beside the manifest"
            yield f"the {'package' if library else 'module'} {top} is not found", mend


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
