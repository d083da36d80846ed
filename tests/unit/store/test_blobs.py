from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from batchexport.store import blobs as blobs_module
from batchexport.store.errors import BlobDamaged, BlobMissing, DiskFull, StoreError
from batchexport.store.store import Store
from support.blobs import put_bytes

Artifact = Callable[[bytes], Path]


class Remembering:
    """A stat cache that is not afraid of young files, and counts."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, int, int], str] = {}
        self.hits = 0

    def get(self, path: Path, stat: os.stat_result) -> str | None:
        digest = self.known.get((str(path), stat.st_ino, stat.st_mtime_ns))
        self.hits += digest is not None
        return digest

    def put(self, path: Path, stat: os.stat_result, digest: str) -> None:
        self.known[(str(path), stat.st_ino, stat.st_mtime_ns)] = digest


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def leftovers(store: Store) -> list[str]:
    return [path.name for path in store.layout.staging.iterdir() if path.is_file()]


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_blob_is_named_by_its_bytes_and_read_only(store: Store, artifact: Artifact) -> None:
    source = artifact(b"weights")
    blob = store.blobs.put(source)
    assert blob.digest == hashlib.sha256(b"weights").hexdigest()
    assert blob.size == 7
    path = store.blobs.checked(blob.digest)
    assert path.read_bytes() == b"weights"
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert not source.exists()


def test_the_same_bytes_twice_are_one_blob(store: Store, artifact: Artifact) -> None:
    first, second = store.blobs.put(artifact(b"x")), put_bytes(store.blobs, b"x")
    assert first == second
    assert list(store.blobs) == [first]
    assert leftovers(store) == []


def test_a_known_good_blob_is_not_replaced_by_its_like(store: Store, artifact: Artifact) -> None:
    remembering = Remembering()
    blobs = blobs_module.Blobs(store.layout, store._staging, remembering)
    path = blobs.checked(put_bytes(blobs, b"x").digest)
    before = path.stat().st_ino
    again = artifact(b"x")
    blobs.put(again)
    assert path.stat().st_ino == before
    assert not again.exists()


def test_a_blob_is_hashed_once_and_then_remembered_until_it_changes(store: Store) -> None:
    remembering = Remembering()
    blobs = blobs_module.Blobs(store.layout, store._staging, remembering)
    digest = put_bytes(blobs, b"x").digest
    blobs.checked(digest)
    assert remembering.hits == 0
    path = blobs.checked(digest)
    assert remembering.hits == 1
    overwrite(path, b"y")
    os.utime(path, ns=(1, 1))
    with pytest.raises(BlobDamaged):
        blobs.checked(digest)


def test_threads_that_put_the_same_blob_all_get_it(store: Store) -> None:
    sources = [store.attempt("job") / "artifact" for _ in range(16)]
    for source in sources:
        source.write_bytes(b"same" * 1000)
    with ThreadPoolExecutor(8) as pool:
        blobs = list(pool.map(store.blobs.put, sources))
    assert len(set(blobs)) == 1
    assert store.blobs.checked(blobs[0].digest).read_bytes() == b"same" * 1000


def test_flipped_bit_in_a_blob_is_a_miss_and_heals(store: Store) -> None:
    blob = put_bytes(store.blobs, b"good")
    path = store.blobs.checked(blob.digest)
    overwrite(path, b"gooe")
    with pytest.raises(BlobDamaged) as caught:
        store.blobs.checked(blob.digest)
    assert caught.value.digest == blob.digest
    with pytest.raises(BlobMissing):
        store.blobs.checked(blob.digest)
    put_bytes(store.blobs, b"good")
    assert store.blobs.checked(blob.digest).read_bytes() == b"good"


def test_a_damaged_blob_heals_when_it_is_put_again(store: Store) -> None:
    blob = put_bytes(store.blobs, b"good")
    overwrite(store.layout.blob_path(blob.digest), b"")
    put_bytes(store.blobs, b"good")
    assert store.blobs.checked(blob.digest).read_bytes() == b"good"


@pytest.mark.parametrize("squatter", ["folder", "link"])
def test_what_is_no_file_in_a_blobs_place_is_damage_and_heals(store: Store, tmp_path: Path, squatter: str) -> None:
    blob = put_bytes(store.blobs, b"good")
    path = store.layout.blob_path(blob.digest)
    path.unlink()
    if squatter == "folder":
        path.mkdir()
    else:
        (tmp_path / "elsewhere").write_bytes(b"good")
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BlobDamaged):
        store.blobs.checked(blob.digest)
    put_bytes(store.blobs, b"good")
    assert store.blobs.checked(blob.digest).read_bytes() == b"good"


def test_a_disk_that_no_longer_reads_a_blob_is_damage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = put_bytes(store.blobs, b"good")

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(hashlib, "file_digest", broken)
    with pytest.raises(BlobDamaged):
        store.blobs.checked(blob.digest)


def test_what_is_no_regular_file_is_not_stored(store: Store, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for path in (tmp_path / "link", tmp_path):
        with pytest.raises(StoreError, match="not a regular file"):
            store.blobs.put(path)
    with pytest.raises(StoreError, match="missing"):
        store.blobs.put(tmp_path / "missing")


def test_a_file_with_another_link_is_copied_so_that_nothing_outside_can_change_it(
    store: Store, artifact: Artifact, tmp_path: Path
) -> None:
    source = artifact(b"x")
    (tmp_path / "other").hardlink_to(source)
    blob = store.blobs.put(source)
    (tmp_path / "other").write_bytes(b"y")
    assert not source.exists()
    assert store.blobs.checked(blob.digest).read_bytes() == b"x"
    assert leftovers(store) == []


def test_a_file_on_another_file_system_is_copied(
    store: Store, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = artifact(b"x")
    rename = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if self == source:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    blob = store.blobs.put(source)
    assert not source.exists()
    assert store.blobs.checked(blob.digest).read_bytes() == b"x"
    assert leftovers(store) == []


def test_a_full_disk_says_so_and_leaves_nothing_behind(
    store: Store, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = artifact(b"x")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(DiskFull, match=r"No space left.*free some space"):
        store.blobs.put(source)
    with pytest.raises(DiskFull):
        put_bytes(store.blobs, b"y")
    assert source.exists()
    assert list(store.blobs) == []
    assert leftovers(store) == []


def test_an_output_is_an_independent_copy(store: Store, tmp_path: Path) -> None:
    blob = put_bytes(store.blobs, b"x")
    destination = tmp_path / "dist/job/exported.pt2"
    store.blobs.copy_out(blob.digest, destination)
    assert stat.S_IMODE(destination.stat().st_mode) == 0o644
    destination.write_bytes(b"edited")
    assert store.blobs.checked(blob.digest).read_bytes() == b"x"
    store.blobs.copy_out(blob.digest, destination)
    assert destination.read_bytes() == b"x"
    assert [path.name for path in destination.parent.iterdir()] == ["exported.pt2"]


def test_a_damaged_blob_is_never_copied_out(store: Store, tmp_path: Path) -> None:
    blob = put_bytes(store.blobs, b"good")
    overwrite(store.layout.blob_path(blob.digest), b"evil")
    (tmp_path / "out").write_bytes(b"old")
    with pytest.raises(BlobDamaged):
        store.blobs.copy_out(blob.digest, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"old"


def test_a_full_disk_under_the_outputs_keeps_the_old_output(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = put_bytes(store.blobs, b"x")
    destination = tmp_path / "dist/out"
    destination.parent.mkdir()
    destination.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(DiskFull, match=r"dist/out.*output folder"):
        store.blobs.copy_out(blob.digest, destination)
    assert [path.name for path in destination.parent.iterdir()] == ["out"]
    assert destination.read_bytes() == b"old"


def test_a_digest_from_outside_is_validated(store: Store, tmp_path: Path) -> None:
    for action in (store.blobs.checked, store.blobs.remove):
        with pytest.raises(ValueError, match="SHA-256"):
            action("../../../etc/passwd")
    with pytest.raises(ValueError, match="SHA-256"):
        store.blobs.copy_out("../x", tmp_path / "out")
