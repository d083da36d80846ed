"""Agree on one change of an entry where several of its jobs need one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from batchexport.core.dims import make_dim
from batchexport.core.edits import Edit
from batchexport.core.sizes import ShapeError
from batchexport.manifest.locations import KeyPath


class NotWrittenError(Exception):
    """A fix that is not written into the manifest; the text says why."""


def agreed(wanted: Mapping[str, Sequence[Edit]]) -> tuple[Edit, ...]:
    """Return the edits that satisfy all jobs, given by name: ranges of dims narrow each other.

    Raises NotWrittenError where the jobs need different things.
    """
    (first, edits), *others = wanted.items()
    values = {edit.path: edit.value for edit in edits}
    for job, more in others:
        mine = {edit.path: edit.value for edit in more}
        # Where sizes stand in other places, a range of the same dim means something else.
        if _beside_ranges(mine) != _beside_ranges(values):
            raise NotWrittenError(f"{first} and {job} need different changes; paste one remedy, or split the entry")
        for path, value in mine.items():
            if path in values and value != values[path]:
                value = _narrowed(path, values[path], value, f"{first} and {job}")
            values[path] = value
    return tuple(Edit(path=path, value=value) for path, value in values.items())


def _beside_ranges(values: Mapping[KeyPath, Any]) -> dict[KeyPath, Any]:
    return {path: value for path, value in values.items() if path[0] != "dims" or value is None}


def _narrowed(path: KeyPath, one: Any, other: Any, jobs: str) -> dict[str, int] | int:
    """Return the value of a dim that allows what both values allow. Raises NotWrittenError where that is nothing."""
    both = [value if isinstance(value, dict) else {"min": value, "max": value} for value in (one, other)]
    bounds = {"min": max(value.get("min", 1) for value in both)}
    ends = [value["max"] for value in both if "max" in value]
    step = math.lcm(*(value.get("multiple_of", 1) for value in both))
    bounds |= ({"max": min(ends)} if ends else {}) | ({"multiple_of": step} if step > 1 else {})
    name, *examples = str(path[1]), *(value["example"] for value in both if "example" in value)
    for more in (*({"example": example} for example in examples), {}):
        try:
            made = make_dim(name, {**bounds, **more})
        except ShapeError:
            continue
        keys = ("min", "max", "example", "multiple_of")
        return made if isinstance(made, int) else {key: {**bounds, **more}[key] for key in keys if key in bounds | more}
    raise NotWrittenError(f"no range of the dim {name} suits both {jobs}; split the entry")
