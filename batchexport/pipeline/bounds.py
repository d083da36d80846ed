"""Say what to write in the manifest where a model or program does not take the sizes that it allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from batchexport.core.dims import Dim
from batchexport.core.sizes import Affine, evaluate
from batchexport.pipeline.manifest_lines import Changes, Dims, Sizes

Point = Mapping[str, int]
_FACTORS = (1, 2, 3, 4)  # of sizes that are derived from another dim
_STEPS = range(2, 65)
_PARTS = 64  # into which the way to an end is divided


def narrower_bounds(point: Point, good: Point, dims: Dims, holds: Callable[[Point], bool]) -> Changes:
    """Return what to change for the dims whose sizes make `point` fail, where `good` holds.

    `holds` tries a point. `dims` are those of the spec.
    """
    prober = _Prober(good=good, dims={name: Dim(name=name, **dim) for name, dim in dims.items()}, holds=holds)
    sizes: dict[str, Sizes] = {}
    replaced: dict[str, Affine] = {}
    for name in good:
        if name in replaced or name in sizes or all(prober.moves(name, end) for end in prober.ends(name, point[name])):
            continue
        step = prober.dims[name].multiple_of
        near = [prober.moves(name, size) for size in prober.near(name, step)]
        # A size of 1 may hold beside any other one, by broadcasting: one neighbour that holds is no range yet.
        if not all(near) and (found := prober.relation(name)):
            replaced |= found.replaced
            sizes[found.of] = found.sizes
        elif any(near):
            sizes[name] = prober.sizes(name, step)
        else:
            sizes[name] = prober.steps(name) or Sizes(first=good[name], last=good[name])
    return Changes(sizes=prober.together(sizes, replaced), replaced=replaced)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Relation:
    """Dims that must move together: those in `replaced` always have a size of the dim `of`, which has these sizes."""

    of: str
    sizes: Sizes
    replaced: Mapping[str, Affine]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prober:
    """Moves dims away from a point that holds, alone or together."""

    good: Point
    dims: Mapping[str, Dim]
    holds: Callable[[Point], bool]

    def moves(self, name: str, value: int, along: Mapping[str, Affine] | None = None) -> bool:
        """Return whether the point holds with this dim at `value`, and those that go `along` at sizes derived of it."""
        moved = {other: evaluate(size, {name: value}) for other, size in (along or {}).items()}
        return self.holds({**self.good, **moved, name: value})

    def ends(self, name: str, value: int) -> set[int]:
        """Return the ends of the range of a dim, and `value`, where they are not the good size."""
        dim = self.dims[name]
        low, high = (value, value) if dim.auto else (dim.lowest, value if dim.highest is None else dim.highest)
        return {low, high, value} - {self.good[name]}

    def near(self, name: str, step: int, along: Mapping[str, Affine] | None = None) -> list[int]:
        """Return the sizes next to the good one, in this step, that the ranges allow; the larger one first."""
        values = (self.good[name] + step, self.good[name] - step)
        return [value for value in values if self._allows(name, value, along)]

    def _allows(self, name: str, value: int, along: Mapping[str, Affine] | None) -> bool:
        moved = {other: evaluate(size, {name: value}) for other, size in (along or {}).items()}
        return all(_sizes(self.dims[other]).hold(size) for other, size in {**moved, name: value}.items())

    def sizes(self, name: str, step: int, along: Mapping[str, Affine] | None = None) -> Sizes:
        """Return the sizes that hold around the good one, in this step, if they have no gaps."""
        dim, good = self.dims[name], self.good[name]
        first = self._end(name, good - (good - dim.lowest) // step * step, step, along)
        if dim.highest is None and all(self.dims[other].highest is None for other in along or ()):
            return Sizes(first=first, last=None, step=step)
        ends = [dim.highest] if dim.highest is not None else []
        for other, size in (along or {}).items():
            highest = self.dims[other].highest
            ends += [] if highest is None else [(highest - size.offset) // size.coefficient]
        last = self._end(name, good + (min(ends) - good) // step * step, step, along)
        return Sizes(first=first, last=last, step=step)

    def _end(self, name: str, end: int, step: int, along: Mapping[str, Affine] | None) -> int:
        """Return the size nearest to `end` that holds and that the ranges allow, by bisection."""

        def works(value: int) -> bool:
            return self._allows(name, value, along) and self.moves(name, value, along)

        refused, held = end, self.good[name]
        if refused == held or works(refused):
            return refused
        while abs(held - refused) > step:
            middle = held + (refused - held) // step // 2 * step
            if middle == held:
                middle = held + (step if refused > held else -step)
            refused, held = (refused, middle) if works(middle) else (middle, held)
        return held

    def relation(self, name: str) -> _Relation | None:
        """Return how this dim must move together with others; None if no such way was found."""
        for of, replaced in self._relations(name):
            step = self.dims[of].multiple_of
            tried = [value for times in (1, 2) for value in self.near(of, times * step, replaced)]
            # Where the dim moves alone too, there is no relation; but a size of 1 may be broadcast.
            if any(self.moves(of, value) for value in tried if value != 1) or tried in ([], [1]):
                continue
            if all(self.moves(of, value, replaced) for value in tried[:2]):
                return _Relation(of=of, sizes=self.sizes(of, step, replaced), replaced=replaced)
        return None

    def _relations(self, name: str) -> Iterator[tuple[str, dict[str, Affine]]]:
        """Yield the relations to try, the plainest first: the dim that is kept, and the others as sizes of it."""
        others = [other for other in self.good if other != name]
        for other in others:
            if self.good[other] == self.good[name]:
                first, second = (one for one in self.good if one in (name, other))
                yield first, {second: Affine(name=first)}
                yield second, {first: Affine(name=second)}
        equal = [other for other in self.good if self.good[other] == self.good[name]]
        if len(equal) > 2:
            yield equal[0], {other: Affine(name=equal[0]) for other in equal[1:]}
        derived = [
            (of, replaced, Affine(coefficient=factor, name=of, offset=self.good[replaced] - factor * self.good[of]))
            for other in others
            for of, replaced in ((name, other), (other, name))
            for factor in _FACTORS
        ]
        # A positive offset reads better: u = s + 1, not s = u - 1.
        for of, replaced, size in sorted(derived, key=lambda one: (one[2].offset != 0, one[2].offset < 0)):
            if size != Affine(name=of):
                yield of, {replaced: size}

    def steps(self, name: str) -> Sizes | None:
        """Return the sizes that hold if they are those in a larger step."""
        for step in (self.dims[name].multiple_of * times for times in _STEPS):
            if any(self.moves(name, near) for near in self.near(name, step)):
                return self.sizes(name, step)
        return None

    def together(self, sizes: Mapping[str, Sizes], replaced: Mapping[str, Affine]) -> dict[str, Sizes]:
        """Return the sizes with nearer ends, where dims that hold one by one do not hold at all their ends at once."""
        found = {name: sizes.get(name, _sizes(self.dims[name])) for name in self.good if name not in replaced}
        for is_high in (False, True):
            ends = {name: self._far(name, one, is_high=is_high) for name, one in found.items()}

            def point(ends: Mapping[str, int]) -> Point:
                return {**ends, **{name: evaluate(size, ends) for name, size in replaced.items()}}

            if self.holds(point(ends)):
                continue
            guilty = [name for name in ends if self.holds(point({**ends, name: self.good[name]}))]
            for part in range(_PARTS - 1, -1, -1):
                nearer = {name: self._part(name, ends[name], part, found[name].step) for name in guilty}
                if self.holds(point({**ends, **nearer})):
                    for name, end in nearer.items():
                        found[name] = replace(found[name], **{"last" if is_high else "first": end})
                    break
        return found

    def _far(self, name: str, sizes: Sizes, *, is_high: bool) -> int:
        end = sizes.last if is_high else sizes.first
        return self.good[name] if end is None or self.dims[name].auto else end

    def _part(self, name: str, end: int, part: int, step: int) -> int:
        """Return the size that lies `part` of the way from the good one to this end."""
        way = (end - self.good[name]) // step
        return self.good[name] + int(way * part / _PARTS) * step


def _sizes(dim: Dim) -> Sizes:
    return Sizes(first=dim.lowest, last=dim.highest, step=dim.multiple_of)
