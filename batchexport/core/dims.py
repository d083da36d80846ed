"""Dynamic dims: the multiples of a step between two bounds, of which at least two are allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from batchexport.core.sizes import LIMIT, ShapeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Dim:
    """A dynamic dim: its sizes are the multiples of `multiple_of` from `min` to `max`, both included.

    With `max` None there is no upper bound. `auto` leaves the range to torch.export (Dim.AUTO).
    """

    name: str
    min: int = 1
    max: int | None = None
    example: int = 2
    multiple_of: int = 1
    auto: bool = False

    @property
    def lowest(self) -> int:
        """Return the smallest size allowed: `min`, rounded up to a multiple."""
        return round_up(self.min, self.multiple_of)

    @property
    def highest(self) -> int | None:
        """Return the largest size allowed: `max`, rounded down to a multiple."""
        return None if self.max is None else self.max - self.max % self.multiple_of

    def to_json(self) -> dict[str, Any]:
        """Return all fields but the name, which is the key of the table that dims are kept in."""
        return {
            "min": self.min,
            "max": self.max,
            "example": self.example,
            "multiple_of": self.multiple_of,
            "auto": self.auto,
        }


def round_up(value: int, step: int) -> int:
    """Return the smallest multiple of `step` that is at least `value`."""
    return -(-value // step) * step


def make_dim(name: str, bounds: Mapping[str, int], *, least: int = 2) -> Dim | int:
    """Return the dim with the bounds given in a manifest, or a whole number when they allow only one size.

    `bounds` holds any of min (1 when left out), max, example and multiple_of. An example that is chosen here is
    at least `least`, where the range has room for it.

    Raises:
        ShapeError: on bounds that clash, or an example that torch.export could not keep dynamic.
    """
    low, high, step = bounds.get("min", 1), bounds.get("max"), bounds.get("multiple_of", 1)
    top = LIMIT if high is None else high
    lowest, highest = round_up(low, step), top - top % step
    if low > top:
        raise ShapeError(f"max = {high} is below min = {low}", f"write max = {low} or more", key="max")
    if lowest > highest:
        raise ShapeError(f"no multiple of {step} lies in {low}..{high}", f"write max = {lowest}", key="max")
    example = bounds.get("example")
    if example is not None:
        _check_example(example, lowest, highest, step)
    if lowest == highest:
        return lowest
    if highest < 2 * step:
        problem = f"torch.export can't keep sizes of 0 and {step} alone dynamic"
        raise ShapeError(problem, f"write max = {2 * step}", key="max")
    if example is None:
        example = min(round_up(max(lowest, least, 2 * step), step), highest)
    elif example < 2 * step:
        problem = f"an example of {example} would make torch.export fix this dim"
        raise ShapeError(problem, f"write {max(lowest, 2 * step)}", key="example")
    return Dim(name=name, min=low, max=high, example=example, multiple_of=step)


def _check_example(example: int, lowest: int, highest: int, step: int) -> None:
    dynamic = max(lowest, 2 * step)  # an example below 2, or below twice the step, would not stay dynamic
    smallest = dynamic if dynamic <= highest else lowest
    if not lowest <= example <= highest:
        above = f"{smallest} or more" if highest >= LIMIT - step else f"{smallest} to {highest}"
        raise ShapeError(f"{example} is outside the range of the dim", f"write {above}", key="example")
    if example % step:
        below = example - example % step
        hint = f"write {max(below, smallest)}"
        raise ShapeError(f"{example} is not a multiple of {step}", hint, key="example")


def corners(dims: Iterable[Dim]) -> tuple[Mapping[str, int], ...]:
    """Return the sizes a model is verified at: the example, each dim at either end of its range, all at either end.

    Where a range has no end (auto, or no max), the example is used instead. No two corners are equal.
    """
    dims = tuple(dims)
    example = {dim.name: dim.example for dim in dims}
    low = {dim.name: dim.example if dim.auto else dim.lowest for dim in dims}
    high = {dim.name: dim.example if dim.auto or dim.highest is None else dim.highest for dim in dims}
    points = [example]
    for dim in dims:
        points += [example | {dim.name: low[dim.name]}, example | {dim.name: high[dim.name]}]
    points += [low, high]
    return tuple(dict(point) for point in dict.fromkeys(tuple(point.items()) for point in points))
