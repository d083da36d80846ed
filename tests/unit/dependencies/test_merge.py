"""What an export with new weights depends on: all that its graph depended on, unless that was edited meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from batchexport.dependencies.dependency import Dependency, Row
from batchexport.dependencies.merge import StaleGraph, merge_dependencies

SOURCE = ["source", "m.py", "bytes 1", "tree 1"]
LAZY = ["source", "lazy.py", "bytes 1", "tree 1"]
DATA = ["file", "data.json", "bytes 1"]
WEIGHTS = ["weights", "w.pt", "bytes 1"]
ABSENT = ["absent", "torch.py"]
KNOWN = [SOURCE, LAZY, DATA, WEIGHTS, ABSENT]
NEW = ["weights", "w.pt", "bytes 2"]


def merge(known: list[Row], observed: list[Row]) -> list[Row]:
    """Merge stored rows."""
    merged = merge_dependencies(map(Dependency.from_row, known), map(Dependency.from_row, observed))
    return [dependency.to_row() for dependency in merged]


def test_what_was_not_seen_again_is_carried_over_but_for_the_old_weights() -> None:
    found = merge(KNOWN, [SOURCE, NEW])
    assert sorted(found) == sorted([SOURCE, NEW, LAZY, DATA, ABSENT])


def test_a_comment_edited_meanwhile_outdates_nothing_and_is_kept_as_it_was_seen() -> None:
    edited = ["source", "m.py", "bytes 2", "tree 1"]
    assert edited in merge(KNOWN, [edited, NEW])
    assert SOURCE not in merge(KNOWN, [edited, NEW])


def test_what_was_merely_looked_for_may_be_new() -> None:
    looked = ["absent", "other.py"]
    assert looked in merge(KNOWN, [looked, ["environment", "HF_HOME", None], NEW])


@pytest.mark.parametrize(
    "seen",
    [
        ["source", "m.py", "bytes 2", "tree 2"],
        ["source", "new.py", "bytes 1", "tree 1"],
        ["file", "data.json", "bytes 2"],
        ["file", "new.json", "bytes 1"],
        ["distribution", "numpy", "2.0", "record"],
        ["absent", "data.json"],
    ],
)
def test_whatever_else_differs_outdates_the_graph(seen: list[Any]) -> None:
    with pytest.raises(StaleGraph, match=seen[1]):
        merge(KNOWN, [seen, NEW])
