from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from batchexport.store.statcache import IndexedStats, is_settled

DIGEST = "0" * 64


class Table(dict[tuple[str, str], Any]):
    """An index in memory."""

    def get(self, space: str, key: str) -> Any:  # type: ignore[override]
        return super().get((space, key))

    def get_many(self, space: str, keys: Iterable[str]) -> dict[str, Any]:
        return {key: self[space, key] for key in keys if (space, key) in self}

    def put(self, space: str, key: str, value: Any) -> None:
        self[space, key] = value


def aged(path: Path, **changes: int) -> os.stat_result:
    """The stat of `path` as of long ago."""
    path.touch()
    fields = {name: getattr(path.stat(), name) for name in dir(path.stat()) if name.startswith("st_")}
    fields |= {"st_mtime": 1, "st_ctime": 1, "st_mtime_ns": 10**9, "st_ctime_ns": 10**9, **changes}
    return cast(os.stat_result, SimpleNamespace(**fields))


def test_a_settled_file_is_remembered_while_its_stat_stays(tmp_path: Path) -> None:
    cache = IndexedStats(Table(), "blob")
    path = tmp_path / "file"
    cache.put(path, aged(path), DIGEST)
    assert cache.get(path, aged(path)) == DIGEST
    assert cache.get(tmp_path / "other", aged(path)) is None
    for name in ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns"):
        assert cache.get(path, aged(path, **{name: 77})) is None


def test_a_row_that_was_read_ahead_serves_until_the_file_is_hashed_anew(tmp_path: Path) -> None:
    table = Table()
    path = tmp_path / "file"
    IndexedStats(table, "blob").put(path, aged(path), DIGEST)
    cache = IndexedStats(table, "blob")
    cache.prefetch([str(path), str(tmp_path / "other")])
    table.clear()
    assert cache.get(path, aged(path)) == DIGEST
    cache.put(path, aged(path), DIGEST.replace("0", "1"))
    assert cache.get(path, aged(path)) == DIGEST.replace("0", "1")


def test_a_young_file_is_not_remembered(tmp_path: Path) -> None:
    cache = IndexedStats(Table(), "blob")
    path = tmp_path / "file"
    path.touch()
    cache.put(path, path.stat(), DIGEST)
    assert cache.get(path, path.stat()) is None


def test_a_file_is_settled_two_seconds_after_its_last_change(tmp_path: Path) -> None:
    stat = aged(tmp_path / "file", st_mtime=100, st_ctime=200)
    assert not is_settled(stat, 202.0)
    assert is_settled(stat, 202.5)


def test_a_strange_row_is_a_miss(tmp_path: Path) -> None:
    table = Table()
    cache = IndexedStats(table, "blob")
    path = tmp_path / "file"
    cache.put(path, aged(path), DIGEST)
    good = table["blob", str(path)]
    rows: list[Any] = [
        None,
        3,
        "x",
        [],
        {},
        good[:-1],
        [*good[:-1], "../x"],
        [*good[:-1], 7],
        [*good, DIGEST],
    ]
    for row in rows:
        table["blob", str(path)] = row
        assert cache.get(path, aged(path)) is None
