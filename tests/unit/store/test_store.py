from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from batchexport.store.errors import BlobDamaged, BlobMissing, DiskFull, StoreError, StoreReadOnly
from batchexport.store.store import Store

Key = Callable[[str], str]
Artifact = Callable[[bytes], Path]


def test_what_is_published_is_found_and_delivered(store: Store, key: Key, artifact: Artifact, tmp_path: Path) -> None:
    files = {"program": artifact(b"pt2"), "log": artifact(b"log")}
    published = store.publish("export", key("a"), files=files, data={"ops": 3})
    with Store.open(tmp_path / "cache") as other:
        record = other.lookup("export", key("a"))
        assert record == published
        assert record is not None
        assert record.data == {"ops": 3}
        assert other.path(record, "program").read_bytes() == b"pt2"
        other.deliver(record, "log", tmp_path / "dist/log.txt")
    assert (tmp_path / "dist/log.txt").read_bytes() == b"log"


def test_what_was_never_published_is_a_miss(store: Store, key: Key) -> None:
    assert store.lookup("export", key("a")) is None


def test_a_later_record_takes_the_place_of_an_earlier_one(store: Store, key: Key, artifact: Artifact) -> None:
    for text in (b"1", b"2"):
        store.publish("export", key("a"), files={"f": artifact(text)}, data={})
    record = store.lookup("export", key("a"))
    assert record is not None
    assert store.path(record, "f").read_bytes() == b"2"


@pytest.mark.parametrize("damage", ["missing", "shorter"])
def test_a_record_whose_blobs_do_not_hold_is_a_miss_and_heals(
    store: Store, key: Key, artifact: Artifact, damage: str
) -> None:
    record = store.publish("export", key("a"), files={"f": artifact(b"good")}, data={})
    blob = store.layout.blob_path(record.files["f"].digest)
    blob.unlink()
    if damage == "shorter":
        blob.write_bytes(b"goo")
    assert store.lookup("export", key("a")) is None
    assert not store.layout.record_path("export", key("a")).exists()
    store.publish("export", key("a"), files={"f": artifact(b"good")}, data={})
    healed = store.lookup("export", key("a"))
    assert healed is not None
    assert store.path(healed, "f").read_bytes() == b"good"


@pytest.mark.parametrize("damage", [BlobDamaged, BlobMissing])
def test_a_blob_that_is_bad_when_handed_out_makes_its_record_a_miss(
    store: Store, key: Key, artifact: Artifact, tmp_path: Path, damage: type[StoreError]
) -> None:
    for word, hand_out in (
        ("a", lambda record: store.path(record, "f")),
        ("b", lambda record: store.deliver(record, "f", tmp_path / "out")),
    ):
        record = store.publish("export", key(word), files={"f": artifact(b"good")}, data={})
        blob = store.layout.blob_path(record.files["f"].digest)
        blob.unlink()
        if damage is BlobDamaged:
            blob.write_bytes(b"evil")
        with pytest.raises(damage):
            hand_out(record)
        assert store.lookup("export", key(word)) is None
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"files": [], "data": {}},
        {"files": {"f": {}}, "data": {}},
        {"files": {"f": {"digest": "../../../etc/passwd", "size": 1}}, "data": {}},
        {"files": {"f": {"digest": None, "size": 1}}, "data": {}},
        {"files": {}, "data": []},
    ],
)
def test_a_record_of_another_make_is_a_miss(store: Store, key: Key, stored: dict[str, object]) -> None:
    store.records.put("export", key("a"), stored)
    assert store.lookup("export", key("a")) is None


def test_a_stage_that_cannot_be_published_whole_is_not_known(
    store: Store, key: Key, artifact: Artifact, tmp_path: Path
) -> None:
    with pytest.raises(StoreError, match="missing"):
        store.publish("export", key("a"), files={"f": artifact(b"x"), "g": tmp_path / "missing"}, data={})
    assert store.lookup("export", key("a")) is None


def test_a_malformed_key_is_refused_before_anything_is_moved(store: Store, artifact: Artifact) -> None:
    source = artifact(b"x")
    with pytest.raises(ValueError, match="SHA-256"):
        store.publish("export", "../x", files={"f": source}, data={})
    assert source.exists()


def test_a_full_disk_stops_a_publication_and_says_so(
    store: Store, key: Key, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = artifact(b"x")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull):
        store.publish("export", key("a"), files={"f": source}, data={})
    assert store.lookup("export", key("a")) is None


def test_a_hit_marks_the_record_as_used(store: Store, key: Key) -> None:
    store.publish("export", key("a"), files={}, data={})
    path = store.layout.record_path("export", key("a"))
    os.utime(path, (1, 1))
    store.lookup("export", key("a"))
    assert path.stat().st_mtime > 1


def test_a_file_in_the_folders_place_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("x")
    for root in (tmp_path / "cache", tmp_path / "cache/deeper"):
        with pytest.raises(StoreError, match=r"can't use .*cache.* is in the way; .*--cache-dir"):
            Store.open(root)


def test_a_folder_without_permission_is_one_clear_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store.open(tmp_path / "cache").close()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with (
        Store.open(tmp_path / "cache") as store,
        pytest.raises(StoreError, match=r"cache is read-only.*make it writable or .*--cache-dir"),
    ):
        store.try_lock("a")


def test_a_read_only_store_serves_what_it_holds(tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(tmp_path / "cache") as store:
        store.publish("export", key("a"), files={}, data={"ops": 3})
        store.index.put("space", "name", 1)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
    monkeypatch.setattr(os, "access", lambda *_: False)
    with Store.open(tmp_path / "cache") as store:
        found = store.lookup("export", key("a"))
        assert found is not None
        assert found.data == {"ops": 3}
        assert store.index.get("space", "name") == 1
        store.index.put("space", "name", 2)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
    assert {path.name for path in before if before[path] != after[path]} <= {f"export-{key('a')}.json"}  # its last use
    with Store.open(tmp_path / "cache") as store:
        assert store.index.get("space", "name") == 1


def test_a_read_only_store_has_room_for_work_that_stores_no_file(
    tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(tmp_path / "cache").close()
    source = tmp_path / "source"
    source.write_text("x")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with Store.open(tmp_path / "cache") as store:
        lock = store.try_lock("a", stores_files=False)
        assert lock is not None
        lock.release()
        attempt = store.attempt("verify")
        assert attempt.is_dir()
        assert not attempt.is_relative_to(tmp_path / "cache")
        assert store.publish("verify", key("a"), files={}, data={"ops": 3}).data == {"ops": 3}
        with pytest.raises(StoreReadOnly):
            store.publish("export", key("a"), files={"f": source}, data={})
        assert store.lookup("verify", key("a")) is None
    assert not attempt.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
def test_another_user_of_its_group_can_use_a_shared_cache(tmp_path: Path, key: Key) -> None:
    group, user = 54321, 54322
    root = tmp_path / "cache"
    root.mkdir()
    os.chown(root, 0, group)
    root.chmod(0o2775)
    for folder in (*tmp_path.parents, tmp_path):
        if folder != Path("/") and folder.is_relative_to(tempfile.gettempdir()):
            folder.chmod(folder.stat().st_mode | 0o055)
    before = os.umask(0o022)
    os.umask(before)

    def use(name: str) -> None:
        with Store.open(root) as store:
            lock = store.try_lock("a")
            assert lock is not None
            lock.release()
            store.publish("export", key(name), files={}, data={"ops": 3})
            store.index.put("space", name, name)
            assert store.index.get("space", name) == name
            assert store.index.problem is None
            store.discard(store.attempt("job"))

    use("a")
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
            use("b")
            with Store.open(root) as store:
                assert store.lookup("export", key("a")) is not None
                assert store.index.get("space", "a") == "a"
            code = 0
        except BaseException:  # noqa: BLE001 - the child must not go on as pytest
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    use("c")
    assert os.umask(before) == before


def test_a_read_only_disk_is_one_clear_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StoreError, match=r"can't write to .*Read-only.*--cache-dir"):
        Store.open(tmp_path / "cache")


def test_a_relative_root_stays_the_same_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: Key
) -> None:
    monkeypatch.chdir(tmp_path)
    with Store.open(Path("cache")) as store:
        store.publish("export", key("a"), files={}, data={})
        monkeypatch.chdir("/")
        assert store.lookup("export", key("a")) is not None


def test_locks_attempts_and_sweeps_work_through_the_store(store: Store, key: Key, tmp_path: Path) -> None:
    lock = store.try_lock(key("a"))
    assert lock is not None
    with Store.open(tmp_path / "cache") as other, lock:
        assert other.try_lock(key("a")) is None
        dead = other.attempt("job")
    assert store.sweep() == 1
    assert not dead.exists()
    mine = store.attempt("job")
    store.discard(mine)
    assert not mine.exists()


def test_stats_count_records_by_kind_and_each_blob_once(store: Store, key: Key, artifact: Artifact) -> None:
    store.publish("export", key("a"), files={"f": artifact(b"12345")}, data={})
    store.publish("compile", key("b"), files={"f": artifact(b"12345"), "g": artifact(b"1")}, data={})
    store.publish("compile", key("c"), files={}, data={})
    stats = store.stats()
    assert (stats.records, stats.blobs, stats.bytes) == (3, 2, 6)
    assert stats.by_kind == {"export": 1, "compile": 2}


def test_a_lookup_needs_no_slow_imports(store: Store, key: Key, artifact: Artifact, tmp_path: Path) -> None:
    store.publish("export", key("a"), files={"f": artifact(b"x")}, data={})
    script = """
import sys
from pathlib import Path
from batchexport.store.store import Store
with Store.open(Path(sys.argv[1])) as store:
    record = store.lookup("export", sys.argv[2])
    store.path(record, "f")
print(sorted({"filelock", "psutil", "torch", "numpy", "joblib"} & set(sys.modules)))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, str(tmp_path / "cache"), key("a")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
