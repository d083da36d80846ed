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
    bounds = [
        bound for name in point if (bound := _bound(name, point[name], good, _step(name, dims), holds)) is not None
    ]
    return f"write {' and '.join(bounds)} in [entry.dims]" if bounds else None


def _step(name: str, dims: Mapping[str, Mapping[str, Any]]) -> int:
    return Dim(name=name, **dims[name]).multiple_of


def _bound(name: str, value: int, good: Point, step: int, holds: Callable[[Point], bool]) -> str | None:
    if value == good[name] or holds({**good, name: value}):
        return None
    refused, held = value, good[name]
    while abs(held - refused) > step:  # the range that holds is taken to be without gaps
        middle = refused + (held - refused) // (2 * step) * step
        if middle == refused:
            break
        refused, held = (refused, middle) if holds({**good, name: middle}) else (middle, held)
    return f"`{'min' if value < good[name] else 'max'} = {held}` for {name}"
