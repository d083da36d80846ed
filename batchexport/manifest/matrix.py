"""Read the matrix of an entry and expand it into variants: every combination of the values of its axes."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from batchexport.core.text import describe, did_you_mean, number, quoted
from batchexport.manifest import readers
from batchexport.manifest.locations import KeyPath
from batchexport.manifest.readers import Report

MAX_VARIANTS = 10_000
_FIXED = ("name", "matrix", "checkpoints")
_AMBIGUOUS = frozenset("[],@ ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis sets the path `keys` to each of `values`; `ids` are their forms in job names, `where` is its own path."""

    keys: tuple[str, ...]
    where: KeyPath
    values: list[Any]
    ids: tuple[str, ...]


def read_matrix(matrix: Any, known: Collection[str], say: Report) -> list[Axis] | None:
    """Return the axes in the order written, outermost first; None if a mistake was reported.

    `known` are the keys of an entry; every path starts with one of them.
    """
    if not readers.is_table(matrix, ("matrix",), say, "lists"):
        return None
    found = list(leaves(matrix, ("matrix",), ()))
    good = [_is_axis(keys, where, values, known, say) for keys, where, values in found]
    for index, (keys, where, _) in enumerate(found):
        for other, _, _ in found[:index]:
            short = min(len(keys), len(other))
            if keys[:short] == other[:short]:
                say(where, f"overlaps the axis {quoted('.'.join(other))}", "keep one of them", key=True)
                good.append(False)
    count = math.prod(len(values) for _, _, values in found if type(values) is list)
    if count > MAX_VARIANTS:
        say(("matrix",), f"{_count(count)} variants are more than {MAX_VARIANTS}", "shorten a list, or split the entry")
        good.append(False)
    if not all(good):
        return None
    lasts = Counter(keys[-1] for keys, _, _ in found)
    return [
        Axis(keys=keys, where=where, values=values, ids=_ids(keys, values, lasts[keys[-1]] > 1))
        for keys, where, values in found
    ]


def _count(number: int) -> str:
    return str(number) if number < 10**12 else "so many"


def leaves(
    table: Mapping[str, Any], where: KeyPath, keys: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], KeyPath, Any]]:
    """Yield the axes, written as `"kwargs.layers" = […]` or as `kwargs.layers = […]`, a nested table to TOML."""
    for key, value in table.items():
        here, there = (*keys, *key.split(".")), (*where, key)
        if type(value) is dict and value:
            yield from leaves(value, there, here)
        else:
            yield here, there, value


def _is_axis(keys: tuple[str, ...], where: KeyPath, values: Any, known: Collection[str], say: Report) -> bool:
    root = keys[0]
    if "" in keys:
        say(where, "a name is missing beside a dot", 'write "kwargs.layers"', key=True)
    elif root in _FIXED:
        say(
            where,
            f"{root} can't vary in a matrix",
            "matrix and checkpoints name the jobs themselves",
            key=True,
        )
    elif root not in known:
        start = f"a path starts with a key of the entry, as in {quoted(f'kwargs.{root}')}"
        say(where, f"an entry has no key {quoted(root)}", did_you_mean(root, known) or start, key=True)
    elif type(values) is not list:
        listed = f"write [{describe(values).removeprefix('the string ')}]" if type(values) is not dict else None
        say(where, f"expected a list of values, found {describe(values)}", listed)
    elif not values:
        say(
            where,
            "the list is empty, so there would be no job",
            "list at least one value, or leave the axis out",
        )
    else:
        seen: set[str] = set()
        for index, value in enumerate(values):
            before = len(seen)
            seen.add(repr(value))  # not the value itself: 1 and true are equal in Python
            if len(seen) == before:
                say((*where, index), f"{describe(value)} is listed twice", "keep one")
                return False
        return True
    return False


def _ids(keys: tuple[str, ...], values: list[Any], is_ambiguous: bool) -> tuple[str, ...]:
    """Return the ids of values: `float32` for a key of the entry, else `layers=4`; `inputs.x=0` if it is long."""
    texts = [_text(value) for value in values]
    if None in texts:
        return tuple(f"{'.'.join(keys)}={index}" for index in range(len(values)))
    label = ".".join(keys) if is_ambiguous else keys[-1]
    if len(keys) == 1 and not is_ambiguous and all(type(value) is str for value in values):
        return tuple(str(text) for text in texts)
    return tuple(f"{label}={text}" for text in texts)


def _text(value: Any) -> str | None:
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is str:
        return value if 0 < len(value) <= 60 and value.isprintable() and not _AMBIGUOUS & set(value) else None
    return number(value)[:40] if type(value) in (int, float) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One combination: the table of the entry with its values, their ids, and the index of each axis's value."""

    table: Mapping[str, Any]
    ids: tuple[str, ...]
    picks: tuple[tuple[Axis, int], ...]


def variants(table: Mapping[str, Any], axes: list[Axis], say: Report) -> Iterator[Variant]:
    """Yield every combination, the last axis fastest; none if a path leads through anything but tables."""
    for axis in axes:
        if (stop := _dead_end(table, axis.keys)) is not None:
            through = quoted(".".join(axis.keys[:stop]))
            what = describe(_at(table, axis.keys[:stop]))
            hint = f"a path leads through tables only: list whole values of {through}"
            say(axis.where, f"{through} is {what}", hint, key=True)
            return
    for choice in itertools.product(*(range(len(axis.values)) for axis in axes)):
        varied: Mapping[str, Any] = table
        for axis, index in zip(axes, choice, strict=True):
            varied = _with(varied, axis.keys, axis.values[index])
        yield Variant(
            table=varied,
            ids=tuple(axis.ids[index] for axis, index in zip(axes, choice, strict=True)),
            picks=tuple(zip(axes, choice, strict=True)),
        )


def _dead_end(table: Any, keys: tuple[str, ...]) -> int | None:
    for depth, key in enumerate(keys):
        if type(table) is not dict:
            return depth
        if key not in table:
            return None
        table = table[key]
    return None


def _at(table: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        table = table[key]
    return table


def _with(table: Mapping[str, Any], keys: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return a copy of `table` with one value set; tables off the path are shared."""
    first, rest = keys[0], keys[1:]
    return {**table, first: _with(table.get(first, {}), rest, value) if rest else value}
