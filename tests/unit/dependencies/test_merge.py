"""The dependencies of an export with new weights: those of its graph, unless they changed meanwhile."""

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


def test_dependencies_not_observed_again_are_kept_except_the_old_weights() -> None:
    found = merge(KNOWN, [SOURCE, NEW])
    assert sorted(found) == sorted([SOURCE, NEW, LAZY, DATA, ABSENT])


def test_an_edited_comment_is_no_change_and_the_new_bytes_are_kept() -> None:
    edited = ["source", "m.py", "bytes 2", "tree 1"]
    assert edited in merge(KNOWN, [edited, NEW])
    assert SOURCE not in merge(KNOWN, [edited, NEW])


def test_a_new_probe_is_added() -> None:
    probed = ["absent", "other.py"]
    assert probed in merge(KNOWN, [probed, ["environment", "HF_HOME", None], NEW])


@pytest.mark.parametrize(
    "seen",
    [
        ["source", "m.py", "bytes 2", "tree 2"],
        ["source", "new.py", "bytes 1", "tree 1"],
        ["file", "data.json", "bytes 2"],
        ["file", "new.json", "bytes 1"],
        ["distribution", "numpy", "2.0", "record"],
        ["absent", "data.json"],
        ["stat", "data.json", "mtime", "1"],
        ["kinds", "parts", "names 1"],
        ["link", "latest", "text 1"],
        ["metadata", "numpy", "2.0"],
    ],
)
def test_any_other_difference_makes_the_graph_stale(seen: list[Any]) -> None:
    with pytest.raises(StaleGraph, match=seen[1]):
        merge(KNOWN, [seen, NEW])


def test_the_imported_modules_of_both_exports_count() -> None:
    known, observed = ["modules", "", "json re"], ["modules", "", "json wave"]
    found = merge([SOURCE, known, ["modules", "pyyaml", "yaml"]], [SOURCE, observed, NEW])
    assert ["modules", "", "json re wave"] in found
    assert ["modules", "pyyaml", "yaml"] in found
    assert len([row for row in found if row[0] == "modules"]) == 2


def test_each_question_about_a_path_is_compared_with_itself() -> None:
    size, time = ["stat", "a", "size", "1"], ["stat", "a", "mtime", "2"]
    assert [size, time] == [row for row in merge([size, time], [size, NEW]) if row[0] == "stat"]
    with pytest.raises(StaleGraph):
        merge([size, time], [["stat", "a", "size", "3"]])
