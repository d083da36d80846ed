"""gc leaves no byte that no record names, and nothing that a record names goes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from batchexport.store.store import Store
from batchexport.store.sweep import orphans, remove_records, survey, sweep
from support.blobs import put_bytes

Key = Callable[[str], str]
Artifact = Callable[[bytes], Path]


def files(store: Store) -> set[Path]:
    return {path for path in store.layout.home.rglob("*") if not path.is_dir() and path.parent != store.layout.home}


def test_a_survey_tells_sizes_and_times_and_sets_damage_aside(store: Store, key: Key, artifact: Artifact) -> None:
    store.publish("export", key("a"), files={"x": artifact(b"12345")}, data={"job": "a"})
    store.publish("export", key("b"), files={}, data={})
    store.layout.record_path("export", key("b")).write_text("{}")
    heard = []
    seen = survey(store, on_record=lambda name, data: heard.append((name, dict(data))))
    assert heard == [(("export", key("a")), {"job": "a"})]
    assert seen.damaged == (("export", key("b")),)
    assert list(seen.uses[("export", key("a"))].files.values()) == [5]


def test_what_no_record_names_is_swept_with_the_folders_it_lay_in(
    store: Store, key: Key, artifact: Artifact, tmp_path: Path
) -> None:
    store.publish("export", key("a"), files={"x": artifact(b"kept")}, data={})
    kept = {path for path in files(store) if path.parent.parent in (store.layout.objects, store.layout.entries)}
    put_bytes(store.blobs, b"orphan")
    (store.layout.objects / "zz").mkdir()
    (store.layout.objects / "zz" / "strange").mkdir()
    (store.layout.objects / "zz" / "strange" / "file").write_text("x")
    (store.layout.entries / "stray").write_text("x")
    store.layout.record_path("export", key("a")).with_suffix(".damaged").write_text("x")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (store.layout.objects / "aa").symlink_to(outside)
    (store.layout.entries / "bb").symlink_to(outside)
    seen = survey(store)
    assert len(orphans(store, seen)) == len(sweep(store, seen)) == 6
    assert (outside / "precious").exists()
    assert {path for path in files(store) if path.is_relative_to(store.layout.objects)} <= kept
    assert {path for path in files(store) if path.is_relative_to(store.layout.entries)} <= kept
    assert kept <= files(store)
    assert len(list(store.layout.objects.iterdir())) == 1


def test_a_record_that_was_used_since_it_was_seen_stays(store: Store, key: Key, artifact: Artifact) -> None:
    for word in ("used", "unused"):
        store.publish("export", key(word), files={"x": artifact(word.encode())}, data={})
        os.utime(store.layout.record_path("export", key(word)), (1, 1))
    seen = survey(store)
    assert store.lookup("export", key("used")) is not None
    assert remove_records(store, seen, [("export", key("used")), ("export", key("unused"))]) == {
        ("export", key("unused"))
    }
    sweep(store, seen)
    found = store.lookup("export", key("used"))
    assert found is not None
    assert store.path(found, "x").read_bytes() == b"used"


def test_files_of_a_record_published_after_the_survey_stay(store: Store, key: Key, artifact: Artifact) -> None:
    seen = survey(store)
    record = store.publish("export", key("new"), files={"x": artifact(b"new")}, data={})
    assert sweep(store, seen) == []
    assert store.path(record, "x").read_bytes() == b"new"


def test_a_file_between_the_store_and_its_record_is_never_taken(
    store: Store, key: Key, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[object] = []
    real = store.records.put

    def slow(*args: object, **more: object) -> dict[str, object]:
        # Here the file is in place and no record names it yet.
        gc = threading.Thread(target=lambda: swept.extend(sweep(store, survey(store))))
        gc.start()
        gc.join(0.3)
        assert gc.is_alive()
        threads.append(gc)
        return real(*args, **more)  # type: ignore[arg-type]

    threads: list[threading.Thread] = []
    monkeypatch.setattr(store.records, "put", slow)
    record = store.publish("export", key("a"), files={"x": artifact(b"data")}, data={})
    threads[0].join(10)
    assert swept == []
    assert store.path(record, "x").read_bytes() == b"data"
