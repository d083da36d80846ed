"""The format of dependencies: rows, their order and their digests stay the same, byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchexport.core.keys import canonical, digest
from batchexport.dependencies.checker import relative_to
from batchexport.dependencies.dependency import (
    Dependency,
    DependencyKind,
    Row,
    canonical_order,
    source_digest,
    weight_files,
    without_weights,
)

# One row of each kind, as a child observes them, and as they are stored.
OBSERVED: list[list[Any]] = [
    ["weights", "/p/w.safetensors", "5" * 64],
    ["source", "/p/models/b.py", "1" * 64, "2" * 64],
    ["source", "/src/lib.py", "3" * 64, "4" * 64],
    ["file", "/p/vocab.json", "6" * 64],
    ["listing", "/p", "7" * 64],
    ["present", "/data/flag"],
    ["absent", "/p/torch.py"],
    ["no-module", "fast"],
    ["namespace", "models"],
    ["distribution", "foo", "1.0", ""],
    ["environment", "B", None],
    ["environment", "A", "8" * 64],
    ["environment", "A\udcff", "9" * 64],
]
STORED: list[list[Any]] = [
    ["absent", "torch.py"],
    ["distribution", "foo", "1.0", ""],
    ["environment", "A", "8" * 64],
    ["environment", "A\udcff", "9" * 64],
    ["environment", "B", None],
    ["file", "vocab.json", "6" * 64],
    ["listing", ".", "7" * 64],
    ["namespace", "models"],
    ["no-module", "fast"],
    ["place", "76a98aba9f8b2d46e49ef01df1120071b806c721594d66ce58e1f4c4a37ec5c4"],
    ["present", "/data/flag"],
    ["source", "/src/lib.py", "3" * 64, "4" * 64],
    ["source", "models/b.py", "1" * 64, "2" * 64],
    ["weights", "w.safetensors", "5" * 64],
]
# Kinds that came later; they are not in the digests below.
LATER: list[list[Any]] = [
    ["access", "tool", "1", "yes"],
    ["entry-points", "plugins", "7" * 64],
    ["installed", "distributions", "7" * 64],
    ["kinds", "parts", "7" * 64],
    ["link", "latest", "7" * 64],
    ["machine", "host", "7" * 64],
    ["metadata", "foo", None],
    ["modules", "", "json re"],
    ["stat", "a.json", "mtime", "1"],
    ["unreadable", "secret", "EACCES"],
    ["variables", "OWN TMPDIR", "7" * 64],
]
# Computed when dependencies were plain lists. A difference makes every cache worthless.
SET_DIGEST = "5b320584efd7a89ad5c963994a566ac43f413949b3d7287d45771cbf31c1b372"
SOURCE_DIGEST = "cfb1419b2af2a4ea8402c39f4ac512234f5ccc646329248d9bb105eadafa778f"


def parsed(rows: list[list[Any]]) -> list[Dependency]:
    return [Dependency.from_row(row) for row in rows]


def test_stored_rows_and_their_digests_never_change(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("HOME", "/home/me"), ("USER", "me"), ("LOGNAME", "me")):
        monkeypatch.setenv(name, value)
    dependencies = relative_to("/p", parsed(OBSERVED), ["/lib"])
    rows = [dependency.to_row() for dependency in dependencies]
    assert rows == STORED
    assert digest("set", 1, rows) == SET_DIGEST
    assert source_digest(dependencies) == SOURCE_DIGEST


def test_every_kind_has_a_golden_row() -> None:
    assert {row[0] for row in (*STORED, *LATER)} == {str(kind) for kind in DependencyKind}


@pytest.mark.parametrize("row", [*STORED, *LATER], ids=str)
def test_a_row_is_parsed_and_written_unchanged(row: Row) -> None:
    written = Dependency.from_row(row).to_row()
    assert written == row
    assert canonical(written) == canonical(row)
    assert {type(part) for part in written} <= {str, type(None)}, "plain JSON values"
    assert Dependency.from_row(tuple(row)) == Dependency.from_row(json.loads(json.dumps(row)))


def test_a_parsed_row_is_a_dependency() -> None:
    dependency = Dependency.from_row(["source", "m.py", "1", "2"])
    assert type(dependency) is Dependency
    assert dependency == Dependency(kind=DependencyKind.SOURCE, subject="m.py", digests=("1", "2"))
    assert dependency.kind is DependencyKind.SOURCE


def test_a_row_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind of dependency 'moon'"):
        Dependency.from_row(["moon", "full"])


def test_the_order_does_not_depend_on_the_order_of_observation() -> None:
    assert canonical_order(reversed(parsed(STORED))) == parsed(STORED)


def test_weight_files_are_told_apart_without_parsing() -> None:
    assert weight_files(STORED) == {"w.safetensors"}
    assert without_weights([*STORED, ["moon", "full"]]) == [*STORED[:-1], ["moon", "full"]]


def test_the_source_digest_takes_trees_of_sources_and_leaves_weights_out() -> None:
    def of(*rows: list[Any]) -> str:
        return source_digest(parsed(list(rows)))

    plain = [["file", "d", "1"], ["source", "m.py", "1", "tree"]]
    assert of(*plain) == of(["file", "d", "1"], ["source", "m.py", "other bytes", "tree"])
    assert of(*plain) == of(*plain, ["weights", "w", "1"])
    assert of(*plain) != of(["file", "d", "1"], ["source", "m.py", "1", "other"])
    assert of(*plain) != of(["file", "d", "2"], ["source", "m.py", "1", "tree"])
    assert of(*plain) != of(["file", "d", "1"], ["source", "n.py", "1", "tree"])
    assert of(*plain) != of(*plain, ["environment", "A", None])
