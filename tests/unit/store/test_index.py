from __future__ import annotations

import io
import os
import pickle
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import diskcache
import pytest

from batchexport.store.index import Index
from batchexport.store.rows import InvalidRow, TextDisk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def index(folder: Path) -> Iterator[Index]:
    opened = Index(folder, timeout=0.05)
    yield opened
    opened.close()


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def sql(folder: Path, query: str, *values: Any) -> None:
    with closing(sqlite3.connect(folder / "cache.db")) as connection, connection:
        connection.execute(query, values)


def test_values_come_back_in_their_spaces(index: Index) -> None:
    value = {"a": [1, 2.5, None], "b": "ü"}
    index.put("trace", "k", value)
    index.put("stat", "k", 3)
    assert index.get("trace", "k") == value
    assert index.get("stat", "k") == 3
    assert index.get("other", "k") is None
    assert index.problem is None


def test_values_outlive_the_process_that_put_them(index: Index, folder: Path) -> None:
    index.put("trace", "k", 1)
    index.close()
    assert Index(folder).get("trace", "k") == 1


def test_many_values_go_in_and_out_at_once(index: Index) -> None:
    values = {f"k{n}": {"n": n} for n in range(2500)}
    index.put_many("trace", values)
    index.put_many("trace", {})
    found = index.get_many("trace", [*values, "missing"])
    assert found == values
    assert index.get_many("trace", []) == {}


def test_a_deleted_value_is_a_miss(index: Index) -> None:
    index.put("trace", "k", 1)
    index.delete("trace", "k")
    index.delete("trace", "k")
    assert index.get("trace", "k") is None


def test_a_value_is_updated_from_what_it_is(index: Index) -> None:
    assert index.update("trace", "k", lambda old: [old]) == [None]
    assert index.update("trace", "k", lambda old: [*old, 1]) == [None, 1]
    assert index.get("trace", "k") == [None, 1]
    assert index.update("trace", "k", lambda old: None) is None
    assert index.keys("trace") == []


def test_updates_of_several_processes_lose_nothing(index: Index, folder: Path) -> None:
    index.close()
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            own = Index(folder)
            for turn in range(25):
                own.update("trace", "k", lambda old, add=number * 100 + turn: [*(old or []), add])
            own.close()
            os._exit(0)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    assert len(set(index.get("trace", "k") or ())) == 100


def test_an_update_that_fails_leaves_the_value(index: Index) -> None:
    index.put("trace", "k", 1)
    with pytest.raises(TypeError):
        index.update("trace", "k", lambda old: object())
    assert index.get("trace", "k") == 1


def test_a_path_that_is_not_utf8_is_a_key_like_any_other(index: Index) -> None:
    strange = os.fsdecode(b"/x/\xff")
    index.put("stat", strange, 1)
    assert index.get("stat", strange) == 1
    assert index.get("stat", "/x/\\udcff") is None


def test_spaces_cannot_be_confused(index: Index) -> None:
    for space in ("", "a:b"):
        with pytest.raises(ValueError, match="space"):
            index.get(space, "k")


def test_a_value_that_is_not_json_is_refused(index: Index) -> None:
    with pytest.raises(TypeError):
        index.put("trace", "k", object())
    with pytest.raises(ValueError, match="JSON"):
        index.put("trace", "k", float("inf"))


def test_nothing_is_opened_before_it_is_used(folder: Path) -> None:
    Index(folder).close()
    assert not folder.exists()


def test_large_values_stay_inside_the_database(index: Index, folder: Path) -> None:
    index.put("trace", "k", "x" * 1_000_000)
    assert {path.name.partition("-")[0] for path in folder.iterdir()} == {"cache.db"}
    assert index.get("trace", "k") == "x" * 1_000_000


def test_a_planted_pickle_is_never_unpickled(index: Index, folder: Path, tmp_path: Path) -> None:
    index.put("trace", "k", 1)
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    sql(folder, "UPDATE Cache SET mode = 4, value = ?", bomb)
    assert index.get("trace", "k") is None
    assert index.get_many("trace", ["k"]) == {}
    assert index.problem is not None
    cache = diskcache.Cache(str(folder), disk=TextDisk)
    with pytest.raises(InvalidRow):
        cache.get("trace:k")
    sql(folder, "UPDATE Cache SET key = ?, raw = 0", bomb)
    with pytest.raises(InvalidRow):
        list(cache)
    cache.close()
    assert index.get("trace", "k") is None
    assert not (tmp_path / "exploded").exists()
    with closing(io.BytesIO(bomb)) as stream:  # and it would have gone off
        pickle.load(stream)
    assert (tmp_path / "exploded").exists()


def test_a_pickle_is_never_written(folder: Path) -> None:
    cache = diskcache.Cache(str(folder), disk=TextDisk)
    for key, value in (("k", {"a": 1}), ("k", b"x"), (("a", 1), "x"), (1, "x")):
        with pytest.raises(InvalidRow):
            cache.set(key, value)
    assert len(cache) == 0
    cache.close()


def test_a_row_that_names_a_file_neither_reads_nor_removes_it(index: Index, folder: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("x")
    for mode in (2, 3, 4):
        index.put("trace", "k", 1)
        sql(folder, "UPDATE Cache SET mode = ?, filename = '../precious', value = NULL", mode)
        assert index.get("trace", "k") is None
        index.put("trace", "k", 2)
        assert index.get("trace", "k") == 2
        sql(folder, "UPDATE Cache SET mode = ?, filename = '../precious', value = NULL", mode)
        index.delete("trace", "k")
    assert precious.read_text() == "x"


def test_flipped_bit_in_a_value_is_a_miss_and_heals(index: Index, folder: Path) -> None:
    index.put_many("trace", {"k": {"n": 1}, "other": 2})
    sql(folder, """UPDATE Cache SET value = replace(value, '{"n":1}', '{"n":3}')""")
    assert index.get_many("trace", ["k", "other"]) == {"other": 2}
    assert index.problem is not None
    assert "checksum" in index.problem
    index.put("trace", "k", {"n": 1})
    assert index.get("trace", "k") == {"n": 1}


def test_a_value_under_another_key_is_a_miss(index: Index, folder: Path) -> None:
    index.put("trace", "k", 1)
    sql(folder, "UPDATE Cache SET key = 'trace:other'")
    assert index.get("trace", "other") is None


@pytest.mark.parametrize("damage", ["garbage", "truncated", "no tables", "strange settings", "file"])
def test_a_damaged_database_is_set_aside_and_made_anew(folder: Path, damage: str) -> None:
    with closing(Index(folder)) as earlier:
        earlier.put_many("trace", {f"k{n}": "x" * 100 for n in range(1000)})
    database = folder / "cache.db"
    if damage == "garbage":
        database.write_bytes(b"garbage!" * 1000)
    elif damage == "truncated":
        database.write_bytes(database.read_bytes()[:9000])
    elif damage == "no tables":
        sql(folder, "DROP TABLE Cache")
        sql(folder, "CREATE TABLE Cache (x)")
    elif damage == "strange settings":
        sql(folder, "INSERT INTO Settings VALUES ('disk_surprise', 1)")
    else:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        folder.write_text("a file")
    with closing(Index(folder)) as index:
        assert index.get_many("trace", [f"k{n}" for n in range(1000)]) == {}
        index.put("trace", "k", 1)
        assert index.get("trace", "k") == 1
        assert index.problem is not None
        assert "fresh" in index.problem
    assert (folder.parent / "index.damaged").exists()
    with closing(Index(folder)) as later:
        assert later.get("trace", "k") == 1
        assert later.problem is None


def test_of_several_damaged_databases_the_last_is_kept(folder: Path) -> None:
    for garbage in ("folder", "file", "folder", "folder"):
        if garbage == "file":
            folder.rename(folder.with_name("moved"))
            folder.write_text("a file")
        else:
            folder.mkdir(exist_ok=True)
            (folder / "cache.db").write_bytes(b"garbage!" * 1000)
        with closing(Index(folder)) as index:
            index.put("trace", "k", 1)
            assert index.get("trace", "k") == 1
    assert {path.name for path in folder.parent.iterdir()} == {"index", "index.damaged", "moved"}


def test_a_database_damaged_while_it_is_open_degrades(index: Index, folder: Path) -> None:
    index.put_many("trace", {f"k{n}": "x" * 1000 for n in range(1000)})
    index.close()
    index.get("trace", "k0")
    with (folder / "cache.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 200_000)
    assert index.get_many("trace", [f"k{n}" for n in range(1000)]).keys() <= {f"k{n}" for n in range(1000)}
    index.put("trace", "k", 1)
    index.put("trace", "k", 1)
    assert index.get("trace", "k") == 1
    assert index.problem is not None


def test_damage_for_the_second_time_leaves_the_run_without_an_index(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = 0

    def connect(*_: object, **__: object) -> None:
        nonlocal opened
        opened += 1
        raise sqlite3.DatabaseError("malformed")

    monkeypatch.setattr(diskcache, "Cache", connect)
    for _ in range(3):
        assert index.get("trace", "k") is None
        index.put("trace", "k", 1)
    assert opened == 2
    assert index.problem is not None
    assert "malformed" in index.problem


def test_while_another_process_writes_a_put_is_dropped_and_gets_go_on(index: Index, folder: Path) -> None:
    index.put("trace", "k", 1)
    with closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        index.put("trace", "k", 2)
        assert index.get("trace", "k") == 1
    assert index.problem is not None
    assert not (folder.parent / "index.damaged").exists()


def test_a_full_disk_stops_the_writing_and_not_the_reading(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.put("trace", "k", 1)

    def full(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(diskcache.Cache, "set", full)
    index.put("trace", "k", 2)
    assert index.get("trace", "k") == 1
    assert index.problem == "index: database or disk is full"


def test_a_folder_that_cannot_be_made_leaves_the_run_without_an_index(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    index = Index(tmp_path / "file" / "index")
    index.put("trace", "k", 1)
    assert index.get("trace", "k") is None
    assert index.problem is not None


def test_a_variable_in_the_path_is_not_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSEWHERE", str(tmp_path / "elsewhere"))
    index = Index(tmp_path / "$ELSEWHERE")
    index.put("trace", "k", 1)
    assert index.problem is not None
    assert list(tmp_path.iterdir()) == []
