"""An export that only took new weights depends on what the export it took the graph from depended on, and on them.

It ran less code than that one, and so saw less. What it did see must be what the other saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Their like could have led to another graph, so one that is new may not be added in silence.
_CONTENT = ("source", "file", "listing", "distribution")

Rows = Sequence[Sequence[Any]]


class StaleGraph(Exception):
    """What the stored graph was captured from is not what is there now."""


def merge_dependencies(known: Rows, observed: Rows) -> list[list[Any]]:
    """The dependencies of an export with new weights, in no order.

    `known` are those of the export whose graph it has, `observed` those that its own child saw. Raises GraphOutdated
    where the two differ in anything but weights: something was edited after the decision to keep the graph.
    """
    before = {(row[0], row[1]): row for row in known}
    content = {row[1] for row in known if row[0] in _CONTENT}
    for row in observed:
        if row[0] == "weights":
            continue
        other = before.get((row[0], row[1]))
        if other is None:
            differs = row[0] in _CONTENT or (row[0] == "absent" and row[1] in content)
        else:
            differs = _meaning(row) != _meaning(other)
        if differs:
            raise StaleGraph(str(row[1]))
    seen = {(row[0], row[1]) for row in observed}
    unseen = [row for row in known if row[0] != "weights" and (row[0], row[1]) not in seen]
    return [list(row) for row in (*observed, *unseen)]


def _meaning(row: Sequence[Any]) -> list[Any]:
    """Of a source file, its syntax tree."""
    return [*row[:2], row[3]] if row[0] == "source" else list(row)
