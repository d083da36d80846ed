"""Find which sizes a program takes of the dims whose range is left to torch, and so at which to verify it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from batchexport.core.dims import Dim, corners
from batchexport.core.sizes import evaluate
from batchexport.pipeline.bounds import Point, narrower_bounds
from batchexport.pipeline.manifest_lines import Changes, Sizes

Span = tuple[int, int | None]  # the sizes of a dim from first to last; None where there is no end
_SMALLEST = 2  # that torch takes a dim without a range for, though the program may take 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptDims:
    """At which points to call, and the auto dims that `bounded` have the maximum of the manifest.

    `notes` tell where torch keeps less than the manifest allows.
    """

    points: Sequence[Point]
    bounded: Sequence[str] = ()
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the points and the bounded dims, which an export with other weights needs."""
        return {"points": [dict(point) for point in self.points], "bounded": list(self.bounded)}


def kept_dims(
    dims: Iterable[Dim], spans: Mapping[str, Span], fixed: Mapping[str, int], holds: Callable[[Point], bool]
) -> KeptDims:
    """Return the points at which to call a program.

    They are the corners of the ranges, where an auto dim without an end is called at one size more than the example.
    `spans` are what torch says of auto dims, `fixed` those of one size, and `holds` returns whether the program takes
    a point.
    """
    dims = tuple(dims)
    example = {dim.name: dim.example for dim in dims}
    opened = [_opened(dim, spans.get(dim.name)) for dim in dims if dim.auto and dim.name not in fixed]
    changes = Changes(sizes={}, replaced={})
    if not all(holds({**example, **point}) for point in corners(map(_ended, opened))):
        changes = _narrowed(opened, lambda point: holds({**example, **point}))
    sizes = {dim.name: changes.sizes.get(dim.name, Sizes.of(_fields(dim))) for dim in opened}
    free = {name: one for name, one in sizes.items() if name not in changes.replaced}
    called = [_ended(_of(dim, free[dim.name])) if dim.name in free else dim for dim in dims]
    points = [
        {**point, **{name: evaluate(size, point) for name, size in changes.replaced.items()}}
        for point in corners(called)
    ]
    if changes.sizes or changes.replaced:
        autos = [dim.name for dim in opened]
        points = [point for point in points if holds({**example, **{name: point[name] for name in autos}})]
    return KeptDims(
        points=points,
        bounded=tuple(dim.name for dim in dims if dim.max is not None and _last(free.get(dim.name)) == dim.max),
        notes=(*_notes(dims, free), *(_note(name, str(size)) for name, size in changes.replaced.items())),
    )


def _narrowed(opened: Sequence[Dim], holds: Callable[[Point], bool]) -> Changes:
    """Return the sizes that the program takes, and the dims that follow others; it refuses one of their corners."""
    # Where no start is known, smaller sizes than the example may be needed to see how dims move together.
    whole = {dim.name: _fields(replace(dim, min=_SMALLEST) if dim.min == dim.example else dim) for dim in opened}
    far = {dim.name: _ended(dim).highest or dim.example for dim in opened}
    found = narrower_bounds(far, {dim.name: dim.example for dim in opened}, whole, holds)
    as_before = {name for name, sizes in found.sizes.items() if sizes == Sizes.of(whole[name])}
    return replace(found, sizes={name: sizes for name, sizes in found.sizes.items() if name not in as_before})


def _fields(dim: Dim) -> dict[str, Any]:
    return {**dim.to_json(), "auto": False}


def _opened(dim: Dim, span: Span | None) -> Dim:
    """Return an auto dim with the range that torch has kept of it; where none is known, it starts at the example."""
    low, high = span or (_SMALLEST, None)
    ends = [end for end in (dim.max, high) if end is not None]
    has_start = dim.min > 1 or dim.max is not None or low > _SMALLEST
    first = max(dim.min, low) if has_start else dim.example
    return replace(dim, auto=False, min=first, max=min(ends, default=None))


def _ended(dim: Dim) -> Dim:
    """Return a dim without an end with the size after its example as the end."""
    return dim if dim.max is not None or dim.auto else replace(dim, max=dim.example + dim.multiple_of)


def _of(dim: Dim, sizes: Sizes) -> Dim:
    """Return an auto dim with these sizes; in steps, its next one is the end."""
    last = dim.example + sizes.step if sizes.last is None else sizes.last
    return replace(dim, auto=False, min=sizes.first, max=last)


def _last(sizes: Sizes | None) -> int | None:
    return sizes.last if sizes is not None and sizes.step == 1 else None


def _notes(dims: Sequence[Dim], kept: Mapping[str, Sizes]) -> list[str]:
    """Return a line for each auto dim of which torch keeps other sizes than the manifest asks for."""
    found = []
    for dim in dims:
        sizes = kept.get(dim.name)
        if sizes is None or sizes == Sizes.of(_fields(_opened(dim, None))):
            continue
        steps = f" in steps of {sizes.step}" if sizes.step > 1 else ""
        span = f"{sizes.first} and more" if sizes.last is None else f"{sizes.first} to {sizes.last}"
        found.append(_note(dim.name, str(sizes.first) if sizes.first == sizes.last else f"{span}{steps}"))
    return found


def _note(name: str, told: str) -> str:
    return f"torch keeps the dim {name} at {told}, and the artifacts hold for that only"
