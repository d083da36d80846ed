"""Solve what torch.export tells of violated constraints for the dims of a manifest.

torch tells them as text only: a reason per line, and Python to write for its Dim objects, which leaves out what it
guards against (a single group of four rows) and what has no Dim (`2*s + 1`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from batchexport.core.dims import Dim
from batchexport.core.sizes import Affine, ShapeError, evaluate, parse_size
from batchexport.pipeline.guards import UnknownGuardError, parse_guard
from batchexport.pipeline.manifest_lines import Changes, Dims, Sizes

_FIX = re.compile(r"^\s*(\w+) = (.+?)\s*$", re.MULTILINE)
_BOUNDS = re.compile(r"Dim\('\w+'(?:, min=(-?\d+))?(?:, max=(\d+|oo))?\)")
_FIXED = re.compile(r"You marked (.+?) as dynamic but your code specialized it to be a constant \((\d+)\)")
_EQUAL = re.compile(r"The values of (.+?) = L.+? and (.+?) = L.+? must always be equal")
_RELATED = re.compile(
    r"The values of (.+?) = L.+? must always be related to the values of (.+?) = L.+? by .+? = (.+?)\.?$", re.MULTILINE
)
_GUARD = re.compile(r"satisfy the generated guard (.+?)\.?$", re.MULTILINE)
_WINDOW = 4096  # sizes that are tried on either side of the example
_Test = Callable[[int], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A size of an input: its name in messages (`x.shape[0]`) and what the manifest has there.

    None stands for a number, in place of which additional inputs have another one.
    """

    label: str
    size: Affine | None


def solve(text: str, dims: Dims, sources: Mapping[str, Source]) -> Changes:
    """Solve the violated constraints in torch's text; `sources` are by torch's names (`L['x'].size()[0]`).

    What can't be solved is left out.
    """
    solver = _Solver(dims=dims, sources=sources)
    solver.read(text)
    return solver.solution()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Solver:
    """The dims of a spec, and the tests of their sizes that were found so far."""

    dims: Dims
    sources: Mapping[str, Source]
    tests: dict[str, list[_Test]] = field(default_factory=dict)
    replaced: dict[str, Affine] = field(default_factory=dict)

    def read(self, text: str) -> None:
        reasons, _, fixes = text.partition("Suggested fixes:")
        for name, number in _FIXED.findall(reasons):
            size = self._size(name)
            if size is not None:
                self._test(size.name, _of(size, int(number).__eq__))
        for guard in _GUARD.findall(reasons):
            self._guard(guard)
        self._fixes(dict(_FIX.findall(fixes)))
        related = [(one, other, other) for one, other in _EQUAL.findall(reasons)]
        for one, other, size in related + _RELATED.findall(reasons):
            self._relate_or_fix(self._size(one), self._size(other), self._size(size))

    def _fixes(self, fixes: Mapping[str, str]) -> None:
        spans = {name: found for name, text in fixes.items() if (found := _BOUNDS.fullmatch(text))}
        for name, text in fixes.items():
            mine = self._size(name)
            if name in spans and mine is not None:
                self._test(mine.name, self._within(name, spans[name]))
            if name in spans or mine is None:
                continue
            with suppress(ShapeError):
                size = parse_size(text)
                if isinstance(size, Affine) and size.name in spans and self._size(size.name) is None:
                    self._test(mine.name, self._stepped(name, size, spans[size.name]))
                elif isinstance(size, Affine) and self._step(name) == 1:
                    self._relate(mine, self._size(text))

    def _within(self, name: str, span: re.Match[str]) -> _Test:
        step = self._step(name)
        low, high = int(span[1] or 0) * step, None if span[2] in (None, "oo") else int(span[2]) * step
        return lambda value: low <= value and (high is None or value <= high)

    def _stepped(self, name: str, size: Affine, span: re.Match[str]) -> _Test:
        """Return the test of a dim that torch wants to be `size`, where the dim of `size` is torch's own."""
        step, within = self._step(name), self._within(size.name, span)

        def test(value: int) -> bool:
            part, rest = divmod(value - step * size.offset, step * size.coefficient)
            return rest == 0 and within(part)

        return test

    def _step(self, name: str) -> int:
        """Return what torch's Dim of this name is multiplied by to give a dim of the manifest."""
        step: int = 1 if name in self.dims else self.dims.get(name[1:], {}).get("multiple_of", 1)
        return step

    def _size(self, text: str) -> Affine | None:
        """Return a size in torch's words as one of the manifest; None if there is none. `4*_n` is n in steps of 4."""
        if text in self.sources:
            return self.sources[text].size
        try:
            size = parse_size(text)
        except ShapeError:
            return None
        if not isinstance(size, Affine) or size.name in self.dims:
            return size if isinstance(size, Affine) else None
        step = self._step(size.name)
        if step == 1 or (size.coefficient % step and size != Affine(name=size.name)):
            return None
        # A fix of torch's own Dim, `_n`, is one of n: what it says of the range takes the step into account.
        coefficient = max(size.coefficient // step, 1)
        return Affine(coefficient=coefficient, name=size.name[1:], offset=size.offset)

    def _relate(self, one: Affine | None, other: Affine | None) -> bool:
        """Let a dim be a size of another one. Returns False if a manifest has no words for that."""
        if one is None or other is None or one.name == other.name:
            return False
        if one != Affine(name=one.name):
            one, other = other, one
        if one != Affine(name=one.name) or other.name in self.replaced:
            return False
        self.replaced.setdefault(one.name, other)
        return True

    def _relate_or_fix(self, one: Affine | None, other: Affine | None, size: Affine | None) -> None:
        """Let `one` be `size`, which is derived from `other`; keep both at the example where that can't be written."""
        sides = [side for side in (one, other) if side is not None]
        if any(side.name in self.replaced for side in sides) or self._relate(one, size):
            return
        for side in sides:
            self._test(side.name, int(self.dims[side.name]["example"]).__eq__)

    def _guard(self, text: str) -> None:
        try:
            guard = parse_guard(text, self.sources)
        except UnknownGuardError:
            return
        known = {source: self.sources[source].size for source in guard.sources}
        sizes = {source: size for source, size in known.items() if size is not None}
        if len(sizes) < len(known):
            return
        names = {size.name for size in sizes.values()}
        if len(names) == 1:
            (name,) = names
            self._test(
                name,
                lambda value: guard.holds({source: evaluate(size, {name: value}) for source, size in sizes.items()}),
            )

    def _test(self, name: str, test: _Test) -> None:
        if name in self.dims:
            self.tests.setdefault(name, []).append(test)

    def solution(self) -> Changes:
        for name, size in self.replaced.items():
            for test in (Sizes.of(self.dims[name]).hold, *self.tests.get(name, ())):
                self._test(size.name, _of(size, test))
        sizes = {name: self._sizes(name, tests) for name, tests in self.tests.items() if name not in self.replaced}
        return Changes(
            sizes={name: found for name, found in sizes.items() if found is not None}, replaced=self.replaced
        )

    def _sizes(self, name: str, tests: list[_Test]) -> Sizes | None:
        """Return the sizes around the example that pass all tests, in equal steps; None if the example does not."""
        dim = Dim(name=name, **self.dims[name])
        step, example = dim.multiple_of, dim.example

        def passes(value: int) -> bool:
            return all(test(value) for test in tests)

        low = max(dim.lowest, example - _WINDOW * step)
        high = example + _WINDOW * step if dim.highest is None else min(dim.highest, example + _WINDOW * step)
        good = {value for value in range(low, high + 1, step) if passes(value)}
        if example not in good:
            return None
        if len(good) == 1:
            return Sizes(first=example, last=example)
        near = min(abs(value - example) for value in good if value != example)
        first = last = example
        while first - near in good:
            first -= near
        while last + near in good:
            last += near
        # What holds of all sizes that were tried is taken to hold beyond them.
        if low > dim.lowest and first - near < low:
            first = example - (example - dim.lowest) // near * near
        if last + near <= high or high == dim.highest:
            return Sizes(first=first, last=last, step=near)
        end = None if dim.highest is None else example + (dim.highest - example) // near * near
        while end is not None and end > last and not passes(end):
            end = last + (end - last) // (2 * near) * near
        return Sizes(first=first, last=end, step=near)


def telling(reasons: Sequence[str], dims: Dims, sources: Mapping[str, Source]) -> str | None:
    """Return the first of torch's reasons that is one: it lists guards too that hold for every size of the range."""
    for reason in reasons:
        solver = _Solver(dims=dims, sources=sources)
        solver.read(reason)
        if solver.replaced or any(
            not _holds_of_all(Dim(name=name, **dims[name]), tests) for name, tests in solver.tests.items()
        ):
            return reason
    return reasons[0] if reasons else None


def _holds_of_all(dim: Dim, tests: Sequence[_Test]) -> bool:
    last = dim.example + _WINDOW * dim.multiple_of if dim.highest is None else dim.highest
    values = [*range(dim.lowest, last + 1, dim.multiple_of)[:_WINDOW], last]
    return all(test(value) for test in tests for value in values)


def _of(size: Affine, test: _Test) -> _Test:
    """Return the test of the dim that `size` is derived from."""
    return lambda value: test(evaluate(size, {size.name: value}))


def in_words_of_the_manifest(text: str, sources: Mapping[str, Source], dims: Dims) -> str:
    """Return a sentence of torch with the names of the manifest: `x.shape[0]` for `L['x'].size()[0]`."""
    if found := _FIXED.search(text):
        name, number = sources[found[1]].label if found[1] in sources else found[1], found[2]
        text = f"the model fixes {name} at {number}, and the manifest lets it vary"
    for source in sorted(sources, key=len, reverse=True):
        text = text.replace(source, sources[source].label)
    for name, dim in dims.items():
        if f"_{name}" not in dims:
            text = re.sub(rf"\b{dim['multiple_of']}\*_{name}\b", name, text)
            text = re.sub(rf"\b_{name}\b", f"{name}/{dim['multiple_of']}", text)
    return text
