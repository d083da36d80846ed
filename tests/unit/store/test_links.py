"""A link that somebody put into the cache is never written, removed or served through."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from batchexport.store.errors import BlobMissing, StoreError
from batchexport.store.fsck import check
from batchexport.store.layout import Layout
from batchexport.store.store import Store
from batchexport.store.sweep import survey, sweep

Key = Callable[[str], str]
Artifact = Callable[[bytes], Path]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that nothing may touch; `untouched` below tells."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_bytes(b"precious")
    return folder


def state(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["objects", "entries", "staging", "inductor", "locks", "logs"])
def test_a_folder_of_the_cache_that_is_a_link_is_refused(tmp_path: Path, outside: Path, name: str) -> None:
    Store.open(tmp_path / "cache").close()
    folder = tmp_path / "cache" / "v1" / name
    folder.rmdir()
    folder.symlink_to(outside)
    with pytest.raises(StoreError, match=f"{name}: it is a link"):
        Store.open(tmp_path / "cache")
    assert [path.name for path in outside.iterdir()] == ["precious"]


@pytest.mark.parametrize("name", ["v1/schema", "CACHEDIR.TAG", ".gitignore"])
def test_no_new_file_of_the_cache_is_written_through_a_link(tmp_path: Path, outside: Path, name: str) -> None:
    link = tmp_path / "cache" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(outside / "new")
    Store.open(tmp_path / "cache").close()
    assert [path.name for path in outside.iterdir()] == ["precious"]


def test_all_of_the_data_behind_a_link_is_refused_and_the_cache_folder_itself_may_be_one(
    tmp_path: Path, outside: Path
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "v1").symlink_to(outside)
    with pytest.raises(StoreError, match="is a link"):
        Store.open(tmp_path / "cache")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    Store.open(tmp_path / "link").close()


def test_a_shard_that_is_a_link_takes_no_blob_and_no_record_outside(
    store: Store, key: Key, artifact: Artifact, outside: Path
) -> None:
    before = state(outside)
    record = store.publish("export", key("a"), files={"x": artifact(b"data")}, data={})
    blob, entry = store.layout.blob_path(record.files["x"].digest), store.layout.record_path("export", key("a"))
    for path in (blob, entry):
        shutil.move(path, outside / path.name)
        path.parent.rmdir()
        path.parent.symlink_to(outside)
    moved = state(outside)
    assert store.lookup("export", key("a")) is None
    with pytest.raises(BlobMissing):
        store.blobs.checked(record.files["x"].digest)
    store.records.set_aside("export", key("a"))
    store.blobs.remove(record.files["x"].digest)
    again = store.publish("export", key("a"), files={"x": artifact(b"data")}, data={})
    assert store.lookup("export", key("a")) is not None
    assert store.path(again, "x").read_bytes() == b"data"
    assert not blob.parent.is_symlink()
    assert not entry.parent.is_symlink()
    assert state(outside) == moved
    assert state(outside)["precious"] == before["precious"]


def test_a_record_that_is_a_link_is_set_aside_and_what_it_points_to_stays(
    store: Store, key: Key, outside: Path
) -> None:
    store.publish("export", key("a"), files={}, data={})
    path = store.layout.record_path("export", key("a"))
    shutil.move(path, outside / "record")
    path.symlink_to(outside / "record")
    before = state(outside)
    assert store.lookup("export", key("a")) is None
    assert not path.is_symlink()
    store.publish("export", key("a"), files={}, data={})
    assert state(outside) == before


def test_a_pipe_in_a_records_place_hangs_nobody(store: Store, key: Key) -> None:
    path = store.layout.record_path("export", key("a"))
    path.parent.mkdir()
    os.mkfifo(path)
    assert store.lookup("export", key("a")) is None
    store.publish("export", key("a"), files={}, data={})
    assert store.lookup("export", key("a")) is not None


def test_gc_and_checkup_remove_links_and_follow_none(store: Store, key: Key, artifact: Artifact, outside: Path) -> None:
    record = store.publish("export", key("a"), files={"x": artifact(b"data")}, data={})
    before = state(outside)
    blob = store.layout.blob_path(record.files["x"].digest)
    blob.unlink()
    blob.symlink_to(outside / "precious")
    (store.layout.objects / "zz").symlink_to(outside)
    (store.layout.entries / "zz").symlink_to(outside)
    (store.layout.staging / "1-a-0-job").symlink_to(outside)
    assert [one.why for one in check(store).damage] == ["not a regular file"]
    sweep(store, survey(store))
    store.sweep()
    assert state(outside) == before
    assert not [path for path in store.layout.home.rglob("*") if path.is_symlink()]


@pytest.mark.parametrize("what", ["folder", "database"])
def test_an_index_behind_a_link_is_set_aside_and_the_database_there_is_not_written(
    tmp_path: Path, outside: Path, what: str
) -> None:
    layout = Layout(tmp_path / "cache")
    layout.create()
    with sqlite3.connect(outside / "cache.db") as database:
        database.execute("CREATE TABLE mine (x)")
    database.close()
    if what == "folder":
        layout.index.symlink_to(outside)
    else:
        layout.index.mkdir()
        (layout.index / "cache.db").symlink_to(outside / "cache.db")
    before = state(outside)
    with Store.open(tmp_path / "cache") as store:
        store.index.put("space", "key", 1)
        assert store.index.get("space", "key") == 1
        assert store.index.problem is not None
        assert "set aside" in store.index.problem
    assert state(outside) == before
