"""gc frees down to a size or an age, never what the outputs of a manifest that is there need."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchexport.store import gc as gc_module
from batchexport.store import gc_roots
from batchexport.store.gc import Collected, collect
from batchexport.store.gc_roots import GcRoot
from batchexport.store.locks import KeyLock
from batchexport.store.store import Store
from support.blobs import put_bytes
from support.builders import key

NOW = time.time()
DAY = 86400.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "cache") as opened:
        yield opened


def publish(store: Store, word: str, *, kind: str = "export", days: float = 0.0, size: int = 1000) -> tuple[str, str]:
    """A record with one file, last used so many days ago."""
    path = store.attempt(word) / "file"
    path.write_bytes(word.encode().ljust(size, b"."))
    store.publish(kind, key(word), files={"file": path}, data={"job": word})
    used(store, (kind, key(word)), days)
    return kind, key(word)


def used(store: Store, name: tuple[str, str], days: float) -> None:
    os.utime(store.layout.record_path(*name), (NOW - days * DAY,) * 2)


def manifest(store: Store, path: Path, *names: tuple[str, str], days: float = 0.0, limit: int | None = None) -> Path:
    """A manifest whose last run, so many days ago, delivered one job made from these records."""
    path.write_text("schema = 1\n")
    asked = GcRoot(manifest=path, size_limit=limit, jobs={"job": names}, folders=("job",))
    times = {name: store.layout.record_path(*name).stat().st_mtime for name in names}
    gc_roots.save_root(store, asked, ["job"])
    for name, then in times.items():
        os.utime(store.layout.record_path(*name), (then, then))
    used(store, ("manifest", gc_roots.root_key(path)), days)
    return path


def gc(store: Store, *, max_size: int | None = None, days: float | None = None, dry_run: bool = False) -> Collected:
    return collect(store.layout.root, max_size=max_size, max_age=days and days * DAY, dry_run=dry_run)


def everything(store: Store) -> list[Path]:
    return sorted(path for path in store.layout.home.rglob("*") if path.suffix != ".lock")


def left(store: Store) -> set[tuple[str, str]]:
    return {(kind, name) for kind, name, _ in store.records.iterate() if kind != "manifest"}


@pytest.fixture(autouse=True)
def idle(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store of these tests is open in this very process, and nobody else builds."""
    store.close()
    monkeypatch.setattr(Store, "others_at_work", lambda self: False)


def test_what_outputs_need_stays_and_the_rest_goes_oldest_first(store: Store, tmp_path: Path) -> None:
    needed = publish(store, "needed", days=90)
    old, new = publish(store, "old", days=3), publish(store, "new", days=1)
    manifest(store, tmp_path / "m.toml", needed)
    total = gc(store, dry_run=True).before
    found = gc(store, max_size=total - 1)
    assert left(store) == {needed, new}
    assert found.removed == {"export": 1}
    assert found.after == gc(store, dry_run=True).before == total - (found.before - found.after)
    assert gc(store, max_size=0).notes
    assert left(store) == {needed}
    assert old not in left(store)


def test_a_dry_run_tells_the_same_and_removes_nothing(store: Store, tmp_path: Path) -> None:
    publish(store, "a", days=3)
    put_bytes(store.blobs, b"orphan")
    store.close()
    before = everything(store)
    told = gc(store, max_size=0, dry_run=True)
    assert everything(store) == before
    done = gc(store, max_size=0)
    assert (told.removed, told.before, told.after) == (done.removed, done.before, done.after)
    assert told.swept == done.swept
    assert {one.what for one in done.swept} == {"files of no record", "attempts of dead processes"}
    assert left(store) == set()
    assert list(store.layout.objects.iterdir()) == []


def test_a_manifest_that_is_gone_needs_nothing(store: Store, tmp_path: Path) -> None:
    name = publish(store, "a", days=3)
    path = manifest(store, tmp_path / "m.toml", name, days=3)
    gc(store, days=2)
    assert left(store) == {name}
    path.unlink()
    gc(store, days=2)
    assert left(store) == set()
    assert list(store.layout.entries.iterdir()) == []


def test_a_run_of_a_manifest_is_a_use_of_all_that_it_named(store: Store, tmp_path: Path) -> None:
    code, other = publish(store, "code", kind="code", days=9), publish(store, "other", kind="code", days=9)
    manifest(store, tmp_path / "m.toml", code, days=1)
    gc(store, days=2)
    assert left(store) == {code}
    assert other not in left(store)


def test_the_limit_of_a_manifest_holds_unless_another_is_given(store: Store, tmp_path: Path) -> None:
    for word in ("a", "b", "c"):
        publish(store, word)
    manifest(store, tmp_path / "small.toml", limit=10)
    manifest(store, tmp_path / "large.toml", limit=10**6)
    assert gc(store, dry_run=True).max_size == 10**6
    assert gc(store, max_size=5, dry_run=True).max_size == 5
    assert gc(store).removed == {}


def test_that_a_model_builds_at_random_is_never_forgotten(store: Store) -> None:
    name = publish(store, "random", kind="distrust", days=900)
    gc(store, max_size=0, days=1)
    assert left(store) == {name}


def test_while_a_run_is_at_work_what_was_used_in_the_last_day_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    recent, old = publish(store, "recent", days=0.5), publish(store, "old", days=2)
    monkeypatch.setattr(Store, "others_at_work", lambda self: True)
    assert any("at work" in note for note in gc(store, max_size=0).notes)
    assert left(store) == {recent}
    assert old not in left(store)


def test_the_attempt_of_a_living_process_stays_and_a_dead_ones_goes(store: Store) -> None:
    living, dead = store.layout.staging / "12-ab-0-job", store.layout.staging / "13-cd-0-job"
    for folder in (living, dead):
        folder.mkdir()
        (folder / "file").write_bytes(b"x" * 10)
    (store.layout.locks / "key-abandoned.lock").touch()
    lock = KeyLock(store.layout.locks).try_lock("owner-12-ab")
    assert lock is not None
    with lock:
        (swept,) = gc(store).swept
    assert (swept.what, swept.count, swept.bytes) == ("attempts of dead processes", 1, 10)
    assert list(store.layout.staging.iterdir()) == [living]
    assert list(store.layout.locks.iterdir()) == []


def test_logs_stay_with_the_jobs_of_manifests_that_are_there(store: Store, tmp_path: Path) -> None:
    for folder in ("job", "gone"):
        (store.layout.logs / folder).mkdir()
        (store.layout.logs / folder / "export.log").write_text("x")
    manifest(store, tmp_path / "m.toml")
    gc(store)
    assert [path.name for path in store.layout.logs.iterdir()] == ["job"]


def test_compiler_caches_go_as_a_whole_when_they_are_too_large(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("cache/one", "tmp/two"):
        (store.layout.inductor / part).mkdir(parents=True)
        (store.layout.inductor / part / "file").write_bytes(b"x" * 100)
    assert gc(store).swept == ()
    monkeypatch.setattr(gc_module, "_COMPILER_BYTES", 199)
    assert [(one.what, one.bytes) for one in gc(store).swept] == [("compiler caches", 200)]
    assert sorted(path.name for path in store.layout.inductor.rglob("*")) == ["cache", "tmp"]


def test_a_record_of_a_later_version_keeps_all_files(store: Store) -> None:
    publish(store, "a", days=5)
    later = store.layout.record_path("export", key("later"))
    later.parent.mkdir(exist_ok=True)
    later.write_text('{"schema": 2}')
    found = gc(store, max_size=0)
    assert any("later version" in note for note in found.notes)
    assert later.exists()
    assert len(list(store.blobs)) == 1


def test_rows_of_the_index_about_what_is_gone_go_with_it(store: Store, tmp_path: Path) -> None:
    kept, gone = publish(store, "kept"), publish(store, "gone", days=5)
    index = store.index
    for name in (kept, gone):
        index.put("result-export", name[1], {"files": {}, "facts": {}})
        index.put("trace", f"ask-{name[1]}", [[f"set-{name[1]}", name[1]]])
        index.put("set", f"set-{name[1]}", [])
        index.put("conclusion", name[1], {"sets": [f"set-{name[1]}"]})
    index.put("file", str(tmp_path / "nowhere"), [])
    index.put("file", str(tmp_path), [])
    index.put("timing", "job|export", [1, 2])
    index.close()
    gc(store, days=2)
    assert index.keys("result-export") == [kept[1]]
    assert index.keys("trace") == [f"ask-{kept[1]}"]
    assert index.keys("set") == [f"set-{kept[1]}"]
    assert index.keys("conclusion") == [kept[1]]
    assert index.keys("file") == [str(tmp_path)]
    assert index.keys("timing") == ["job|export"]


def test_traces_of_evicted_exports_go_even_while_a_run_is_at_work(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gone = publish(store, "kept"), publish(store, "gone", days=5)
    index = store.index
    for name in (kept, gone):
        index.put("set", f"set-{name[1]}", [])
    index.put("trace", "ask", [[f"set-{name[1]}", name[1]] for name in (gone, kept)])
    monkeypatch.setattr(Store, "others_at_work", lambda self: True)
    gc(store, days=2)
    assert index.get("trace", "ask") == [[f"set-{kept[1]}", kept[1]]]
    assert len(index.keys("set")) == 2, "the run may be about to name any set"
    monkeypatch.setattr(Store, "others_at_work", lambda self: False)
    gc(store, days=2)
    assert index.keys("set") == [f"set-{kept[1]}"]
