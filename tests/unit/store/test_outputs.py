"""Delivery: outputs are current exactly while every byte of them is what was delivered for these results."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from batchexport.core.digests import bytes_digest
from batchexport.store import outputs as module
from batchexport.store import statcache
from batchexport.store.errors import BlobDamaged
from batchexport.store.gc_roots import GcRoot, save_root
from batchexport.store.outputs import FILES, JOB_FILE, Delivery
from batchexport.store.store import Record, Store
from support.builders import key
from support.hashing import watched

EXPORTED, PACKAGE, LIBRARY = FILES["exported"], FILES["package"], FILES["so"]
NAME = "bert@cpu"
BYTES = {EXPORTED: b"exported program", PACKAGE: b"compiled package"}
WANTED = {name: bytes_digest(data) for name, data in BYTES.items()}
STAMP = key("verified")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "dist" / NAME


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let a minute pass."""

    def pass_by() -> None:
        now = time.time()
        clock = SimpleNamespace(time=lambda: now + 60)
        monkeypatch.setattr(module, "time", clock)
        monkeypatch.setattr(statcache, "time", clock)

    return pass_by


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read to be hashed."""
    return watched(monkeypatch, module)


def record(store: Store, word: str, data: bytes) -> Record:
    path = store.attempt("job") / "artifact"
    path.write_bytes(data)
    return store.publish("export", key(word), files={word: path}, data={})


def deliver(store: Store, tmp_path: Path, *names: str, stamp: str = STAMP) -> None:
    """What a run does that had something to deliver."""
    sources = {name: (record(store, name, BYTES[name]), name) for name in names or BYTES}
    delivery = Delivery(store, tmp_path / "dist")
    delivery.deliver(NAME, sources, {"name": NAME, "stamp": stamp}, stamp)
    delivery.remember()


@pytest.fixture
def is_current(store: Store, tmp_path: Path) -> Callable[..., bool]:
    """What a new command finds; it remembers what it saw, as a run does."""

    def ask(wanted: dict[str, str] | None = None, stamp: str = STAMP) -> bool:
        delivery = Delivery(store, tmp_path / "dist")
        delivery.prefetch([NAME])
        found = delivery.is_current(NAME, WANTED if wanted is None else wanted, stamp)
        delivery.remember()
        return found

    return ask


def test_what_was_delivered_is_there_byte_for_byte(store: Store, tmp_path: Path, folder: Path) -> None:
    deliver(store, tmp_path)
    assert {path.name for path in folder.iterdir()} == {*BYTES, JOB_FILE}
    assert {name: (folder / name).read_bytes() for name in BYTES} == BYTES
    assert json.loads((folder / JOB_FILE).read_text()) == {"name": NAME, "stamp": STAMP}


def test_nothing_is_current_before_it_was_delivered(is_current: Callable[..., bool]) -> None:
    assert not is_current()


def test_untouched_outputs_are_current(store: Store, tmp_path: Path, is_current: Callable[..., bool]) -> None:
    deliver(store, tmp_path)
    assert is_current()


def test_young_files_are_hashed_and_old_ones_known_by_their_stat(
    store: Store, tmp_path: Path, is_current: Callable[..., bool], later: Callable[[], None], hashed: list[str]
) -> None:
    deliver(store, tmp_path)
    assert is_current() and is_current()
    assert sorted(hashed) == sorted([*BYTES, JOB_FILE] * 2), "they are younger than two seconds"
    later()
    assert is_current()
    assert len(hashed) == 9, "once more, to remember them"
    assert is_current() and is_current()
    assert len(hashed) == 9


def edit(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"!")


def edit_in_place(path: Path) -> None:
    """Same inode, same size, same modification time."""
    then = path.stat()
    with path.open("r+b") as file:
        file.write(b"#")
    os.utime(path, ns=(then.st_atime_ns, then.st_mtime_ns))
    now = path.stat()
    assert (now.st_ino, now.st_size, now.st_mtime_ns) == (then.st_ino, then.st_size, then.st_mtime_ns)


def truncate(path: Path) -> None:
    os.truncate(path, 3)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(bytes(path.stat().st_size))
    other.replace(path)


def remove(path: Path) -> None:
    path.unlink()


def make_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = [edit, edit_in_place, truncate, empty, replace, remove, make_a_folder]


@pytest.mark.parametrize("age", ["young", "remembered"])
@pytest.mark.parametrize("name", [EXPORTED, PACKAGE, JOB_FILE])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_no_damage_goes_unnoticed(
    store: Store,
    tmp_path: Path,
    folder: Path,
    is_current: Callable[..., bool],
    later: Callable[[], None],
    damage: Callable[[Path], None],
    name: str,
    age: str,
) -> None:
    deliver(store, tmp_path)
    if age == "remembered":
        later()
        assert is_current()
    damage(folder / name)
    assert not is_current()


def test_the_same_bytes_put_back_are_current_again(
    store: Store, tmp_path: Path, folder: Path, is_current: Callable[..., bool]
) -> None:
    deliver(store, tmp_path)
    (folder / EXPORTED).write_bytes(b"other")
    assert not is_current()
    (folder / EXPORTED).write_bytes(BYTES[EXPORTED])
    assert is_current()


def test_a_missing_folder_is_not_current(
    store: Store, tmp_path: Path, folder: Path, is_current: Callable[..., bool]
) -> None:
    deliver(store, tmp_path)
    folder.rename(folder.with_name("moved"))
    assert not is_current()


def test_other_results_are_not_current(store: Store, tmp_path: Path, is_current: Callable[..., bool]) -> None:
    deliver(store, tmp_path)
    assert not is_current({**WANTED, EXPORTED: key("other")})


def test_a_folder_holds_a_part_of_what_was_delivered_until_any_file_of_it_changes(
    store: Store, tmp_path: Path, folder: Path
) -> None:
    def holds(content: str) -> bool:
        delivery = Delivery(store, tmp_path / "dist")
        delivery.prefetch([NAME])
        return delivery.holds(NAME, {EXPORTED: content})

    assert not holds(WANTED[EXPORTED])
    deliver(store, tmp_path)
    assert holds(WANTED[EXPORTED])
    assert not holds(key("other"))
    (folder / PACKAGE).unlink()
    assert not holds(WANTED[EXPORTED])


def test_other_evidence_is_not_current_even_for_the_same_files(
    store: Store, tmp_path: Path, is_current: Callable[..., bool]
) -> None:
    deliver(store, tmp_path)
    assert not is_current(stamp=key("verified again"))


@pytest.mark.parametrize(
    "wanted",
    [{EXPORTED: WANTED[EXPORTED]}, {EXPORTED: WANTED[EXPORTED], LIBRARY: WANTED[PACKAGE]}, {**WANTED, LIBRARY: "x"}],
    ids=["fewer", "another format", "more"],
)
def test_other_formats_are_not_current(
    store: Store, tmp_path: Path, is_current: Callable[..., bool], wanted: dict[str, str]
) -> None:
    deliver(store, tmp_path)
    assert not is_current(wanted)


def test_a_format_that_is_not_wanted_any_more_is_removed(store: Store, tmp_path: Path, folder: Path) -> None:
    deliver(store, tmp_path)
    (folder / "notes.txt").write_text("mine")
    deliver(store, tmp_path, EXPORTED)
    assert {path.name for path in folder.iterdir()} == {EXPORTED, JOB_FILE, "notes.txt"}


def test_the_delivery_of_a_run_that_was_killed_is_not_trusted(
    store: Store, tmp_path: Path, is_current: Callable[..., bool]
) -> None:
    deliver(store, tmp_path, stamp=key("earlier"))
    sources = {name: (record(store, name, BYTES[name]), name) for name in BYTES}
    Delivery(store, tmp_path / "dist").deliver(NAME, sources, {}, STAMP)  # and no settle
    assert not is_current()


def test_a_damaged_blob_is_not_delivered(store: Store, tmp_path: Path, folder: Path) -> None:
    made = record(store, EXPORTED, BYTES[EXPORTED])
    blob = store.layout.blob_path(made.files[EXPORTED].digest)
    blob.chmod(0o644)
    blob.write_bytes(b"X" * len(BYTES[EXPORTED]))
    with pytest.raises(BlobDamaged):
        Delivery(store, tmp_path / "dist").deliver(NAME, {EXPORTED: (made, EXPORTED)}, {}, STAMP)
    assert not (folder / EXPORTED).exists()
    assert not (folder / JOB_FILE).exists()


def test_an_edit_of_an_output_does_not_reach_the_store(store: Store, tmp_path: Path, folder: Path) -> None:
    deliver(store, tmp_path)
    (folder / EXPORTED).write_bytes(b"damaged")
    assert store.blobs.checked(WANTED[EXPORTED]).read_bytes() == BYTES[EXPORTED]


@pytest.mark.parametrize(
    "row", [[], {}, {"stamp": STAMP}, {"files": {}}, {"stamp": STAMP, "files": []}, "text"], ids=str
)
def test_a_row_of_another_form_is_not_current(
    store: Store, tmp_path: Path, folder: Path, is_current: Callable[..., bool], row: object
) -> None:
    deliver(store, tmp_path)
    store.index.put("delivered", str(folder), row)
    assert not is_current()


def test_job_json_is_the_same_bytes_for_the_same_results(store: Store, tmp_path: Path, folder: Path) -> None:
    deliver(store, tmp_path)
    first = (folder / JOB_FILE).read_bytes()
    deliver(store, tmp_path)
    assert (folder / JOB_FILE).read_bytes() == first
    assert first.endswith(b"}\n")


def test_a_folder_that_another_manifest_delivers_is_known_as_its(tmp_path: Path) -> None:
    manifest = tmp_path / "one.toml"
    manifest.touch()
    with Store.open(tmp_path / "cache") as store:
        made = store.publish("export", "a" * 64, files={}, data={})
        assert made is not None
        one = Delivery(store, tmp_path / "dist", manifest)
        one.deliver(NAME, {}, {}, STAMP)
        one.remember()
        other = Delivery(store, tmp_path / "dist", tmp_path / "two.toml")
        other.prefetch([NAME])
        assert other.other_manifest(NAME) is None  # as it did not finish its run
        save_root(store, GcRoot(manifest=manifest, size_limit=None, jobs={}, folders=(NAME,)), ())
        assert other.other_manifest(NAME) == manifest
        assert one.other_manifest(NAME) is None
        manifest.unlink()
        assert other.other_manifest(NAME) is None
