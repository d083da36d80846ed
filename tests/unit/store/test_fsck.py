"""A checkup finds every damage, whatever is remembered of the file, and sets it aside."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from batchexport.store.fsck import check
from batchexport.store.store import Store

Key = Callable[[str], str]
Artifact = Callable[[bytes], Path]


def flip(path: Path, at: int = 0) -> None:
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_sound_store_is_told_sound(store: Store, key: Key, artifact: Artifact) -> None:
    store.publish("export", key("a"), files={"x": artifact(b"12345"), "y": artifact(b"1")}, data={})
    store.index.put("space", "key", 1)
    found = check(store)
    assert (found.records, found.files, found.bytes, found.damage) == (1, 2, 6, ())


def test_damage_of_every_sort_is_told_once_and_is_a_miss_from_then_on(
    store: Store, key: Key, artifact: Artifact
) -> None:
    records = {
        word: store.publish("export", key(word), files={"x": artifact(word.encode())}, data={"job": word})
        for word in ("good", "flipped", "gone", "record")
    }
    flip(store.layout.blob_path(records["flipped"].files["x"].digest))
    store.layout.blob_path(records["gone"].files["x"].digest).unlink()
    flip(store.layout.record_path("export", key("record")), at=300)
    store.index.put("space", "bad", 1)
    store.index.put("space", "good", 2)
    store.index.close()
    with sqlite3.connect(store.layout.index / "cache.db") as database:
        database.execute("UPDATE Cache SET value = replace(value, '1', '7') WHERE key = 'space:bad'")
    database.close()
    damage = check(store).damage
    assert sorted((one.what.split()[0], one.why, one.jobs) for one in damage) == [
        ("file", "its bytes have changed", ("flipped",)),
        ("file", "missing", ("gone",)),
        ("index:", "damaged and dropped", ()),
        ("record", "damaged", ()),
    ]
    assert check(store).damage == ()
    assert store.index.get("space", "good") == 2
    assert store.lookup("export", key("good")) is not None
    assert all(store.lookup("export", key(word)) is None for word in ("flipped", "gone", "record"))


def test_the_jobs_behind_a_damaged_file_are_named(store: Store, key: Key, artifact: Artifact) -> None:
    record = store.publish("export", key("a"), files={"x": artifact(b"data")}, data={"job": "bert@cpu"})
    store.publish("verify", key("b"), files={"y": artifact(b"data")}, data={"job": "gpt@cpu"})
    flip(store.layout.blob_path(record.files["x"].digest))
    (damage,) = check(store).damage
    assert (damage.why, damage.jobs) == ("its bytes have changed", ("bert@cpu", "gpt@cpu"))


def test_a_damaged_database_is_told_and_made_anew(store: Store) -> None:
    store.index.put("space", "key", 1)
    store.index.close()
    (store.layout.index / "cache.db").write_bytes(b"no database" * 100)
    (damage,) = check(store).damage
    assert damage.what == "index"
    assert "set aside" in damage.why
