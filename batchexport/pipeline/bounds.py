"""Say which bounds to write in the manifest where a model or program does not take the sizes that it allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from batchexport.core.dims import Dim

Point = Mapping[str, int]


def narrower_bounds(
    point: Point, good: Point, dims: Mapping[str, Mapping[str, Any]], holds: Callable[[Point], bool]
) -> str | None:
    """Return what to write for the dims that alone make `point` fail, where `good` holds; None if no single one does.

    `holds` tries a point. `dims` are those of the spec.
    """
    bounds, fixed = [], []
    for name, value in point.items():
        if value == good[name] or holds({**good, name: value}):
            continue
        step = Dim(name=name, **dims[name]).multiple_of
        bound = _bound(name, value, good, step, holds)
        word, opposite = ("min", step) if value < good[name] else ("max", -step)
        if bound == good[name] and not holds({**good, name: bound + opposite}):
            fixed.append(f"{name} = {bound} alone works: write {bound} in the shapes, or one name for equal sizes")
        else:
            bounds.append(f"`{word} = {bound}` for {name}")
    written = [f"write {' and '.join(bounds)} in [entry.dims]"] if bounds else []
    return "; ".join([*written, *fixed]) or None


def _bound(name: str, value: int, good: Point, step: int, holds: Callable[[Point], bool]) -> int:
    """Return the size nearest to `value` that holds, if the range that holds has no gaps."""
    refused, held = value, good[name]
    while abs(held - refused) > step:
        middle = refused + (held - refused) // (2 * step) * step
        if middle == refused:
            break
        refused, held = (refused, middle) if holds({**good, name: middle}) else (middle, held)
    return held
