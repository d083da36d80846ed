"""Resolve the dims of [entry.dims] that are sizes of another dim: `d = "2*batch + 1"`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from batchexport.core.sizes import LIMIT, Affine, ShapeError, composed, parse_size
from batchexport.core.text import did_you_mean, quoted
from batchexport.manifest.locations import KeyPath
from batchexport.manifest.readers import INVALID, Report


class Derived(NamedTuple):
    """A derived dim as a size of one that is not derived; `through` are the names between, that one included.

    `size` is None where a mistake was reported, here or before.
    """

    size: Affine | None
    through: tuple[str, ...]


def read_derived(name: str, text: str, path: KeyPath, say: Report) -> Any:
    """Read a size of another dim."""
    try:
        size = parse_size(text)
    except ShapeError as error:
        say(path, error.message, error.hint)
        return INVALID
    if isinstance(size, int):
        say(path, f"{quoted(text)} is derived from no dim", f"write {name} = {size}")
        return INVALID
    return size


def resolve_derived(
    declared: Mapping[str, Any], used: Collection[str], *, is_own: Callable[[str], bool], say: Report
) -> dict[str, Derived]:
    """Return the derived dims by name.

    `used` are the names in shapes: they and those that the entry itself declares have to be right.
    """
    links = {name: what for name, what in declared.items() if isinstance(what, Affine)}
    found: dict[str, Derived] = {}
    for name, size in links.items():
        way = [name]
        while size.name in links and size.name not in way:
            way.append(size.name)
            size = composed(size, links[size.name])
        way.append(size.name)
        problem = _problem(way, size, links, declared, used)
        is_right = problem is None and declared.get(size.name) is not INVALID
        found[name] = Derived(size if is_right else None, tuple(way[1:]))
        if problem is not None and problem[0] and (name in used or is_own(name)):
            say(("dims", name), *problem)
    return found


def _problem(
    way: Sequence[str], size: Affine, links: Mapping[str, Any], declared: Mapping[str, Any], used: Collection[str]
) -> tuple[str, str] | None:
    """Return what is wrong with a derived dim, and a hint; no text where that is told of another dim."""
    name, root = way[0], way[-1]
    if root in links:
        circle = way[way.index(root) :]
        is_first = name == min(circle, key=list(links).index)
        return (f"it is derived from itself: {' → '.join(circle)}" if is_first else "", "give one of them a range")
    if root not in declared and root not in used:
        better = did_you_mean(root, [*(declared.keys() - {name}), *used]) or f"write {root} = {{ min = 1, max = 64 }}"
        return f"it is derived from {root}, which is no dim", better
    if size.coefficient > LIMIT or abs(size.offset) > LIMIT:
        return "it is beyond 64 bits", "write smaller numbers"
    return None
