"""The store: returns what was published under a key, byte for byte, or nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from batchexport.core.files import disk_usage, remove
from batchexport.store.blobs import Blob, Blobs
from batchexport.store.errors import BlobDamaged, BlobMissing, StoreReadOnly
from batchexport.store.index import Index
from batchexport.store.layout import Layout, is_digest
from batchexport.store.locks import KeyLock, Lock, SharedLock
from batchexport.store.records import Records
from batchexport.store.staging import Staging
from batchexport.store.statcache import IndexedStats
from batchexport.store.toolchains import toolchain_folder, toolchains_root


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The content of one key: data, and blobs by name."""

    kind: str
    key: str
    data: Mapping[str, Any]
    files: Mapping[str, Blob]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStats:
    """How much the store holds; `bytes` counts the blobs, `more` the folders beside them."""

    records: int
    blobs: int
    bytes: int
    by_kind: Mapping[str, int]
    more: Mapping[str, int]


class Store:
    """Records, blobs, locks and staging under one folder. Use `Store.open`."""

    def __init__(self, layout: Layout, *, umask: int | None = None) -> None:
        """`umask` is that of the process before the store was opened, if opening it changed it."""
        self._umask = umask
        self.layout = layout
        self.read_only = layout.private is not None
        self.index = Index(layout.index)
        self.gate = SharedLock(layout.gate)
        self._locks = KeyLock(layout.locks)
        self._staging = Staging(layout.staging, self._locks)
        self.records = Records(layout, self._staging)
        self.blobs = Blobs(layout, self._staging, IndexedStats(self.index, "blob"))

    @classmethod
    def open(cls, root: Path) -> Self:
        """Open the store in the folder `root`, which is created if it is missing.

        A store that can't be written is opened read-only: it serves what it holds. Its index is copied to a temporary
        folder, where what is neither a record nor a blob is kept until the store is closed.

        Raises:
            DiskFull, StoreError: if the folder can't be made, or is of a newer format.
        """
        layout = Layout(root.absolute())
        if layout.is_read_only:
            return cls(_with_private_folders(layout))
        sharing = _let_group_write(layout.root)
        layout.create()
        return cls(layout, umask=sharing)

    def lookup(self, kind: str, key: str) -> Record | None:
        """Return the record of a key if all its blobs exist with their sizes, else None.

        An invalid record is set aside. The bytes of blobs are checked when they are used.

        Raises:
            ValueError: if `kind` or `key` is malformed.
        """
        with self.gate.shared():
            stored = self.records.get(kind, key)
            if stored is None:
                return None
            record = parse(kind, key, stored)
            if record is None or not all(self.blobs.holds(blob) for blob in record.files.values()):
                self.records.set_aside(kind, key)
                return None
            self.records.touch(kind, key)
            return record

    def publish(self, kind: str, key: str, *, files: Mapping[str, Path], data: Mapping[str, Any]) -> Record:
        """Move `files` into the store, then write the record that names them.

        A read-only store keeps nothing: it returns a record without files as it would have been.

        Raises:
            ValueError, TypeError: if `kind` or `key` is malformed or `data` is not JSON-like.
            DiskFull, StoreError: if it can't be written; the key has the record it had before.
        """
        self.layout.record_path(kind, key)
        if self.read_only:
            if files:
                raise StoreReadOnly(self.layout.root)
            return Record(kind=kind, key=key, data=dict(data), files={})
        with self.gate.shared():  # without the lock, gc could take blobs without a record for orphans
            blobs = {name: self.blobs.put(path) for name, path in files.items()}
            rows = {name: {"digest": blob.digest, "size": blob.size} for name, blob in blobs.items()}
            stored = self.records.put(kind, key, {"files": rows, "data": dict(data)})
        return Record(kind=kind, key=key, data=stored["data"], files=blobs)

    def path(self, record: Record, name: str) -> Path:
        """Return the checked path of one of a record's files, for reading only.

        Raises:
            KeyError: if the record has no file of that name.
            BlobMissing, BlobDamaged: the record is set aside, so that it is built again.
            StoreError: if it can't be read.
        """
        try:
            return self.blobs.checked(record.files[name].digest)
        except (BlobMissing, BlobDamaged):
            self.records.set_aside(record.kind, record.key)
            raise

    def deliver(self, record: Record, name: str, destination: Path) -> None:
        """Copy one of a record's files to `destination` after checking it, atomically.

        Raises:
            KeyError, BlobMissing, BlobDamaged: as from `path`.
            DiskFull, StoreError: if `destination` can't be written.
        """
        try:
            self.blobs.copy_out(record.files[name].digest, destination)
        except (BlobMissing, BlobDamaged):
            self.records.set_aside(record.kind, record.key)
            raise

    def try_lock(self, key: str, *, stores_files: bool = True) -> Lock | None:
        """Return the lock of a key (a-z, 0-9, "-"), or None if it is held; see `KeyLock.try_lock`.

        Raises StoreReadOnly where files are to be stored in the end and can't be.
        """
        if self.read_only and stores_files:
            raise StoreReadOnly(self.layout.root)
        return self._locks.try_lock(f"key-{key}")

    def attempt(self, name: str) -> Path:
        """Create an empty folder for one attempt; see `Staging.attempt`."""
        return self._staging.attempt(name)

    def temporary(self, attempt: Path) -> Path:
        """Create the temporary folder of an attempt; see `Staging.temporary`."""
        return self._staging.temporary(attempt)

    def discard(self, path: Path) -> None:
        """Remove an attempt's folder; see `Staging.discard`."""
        self._staging.discard(path)

    def others_at_work(self) -> bool:
        """Return True if another process uses this store now; see `Staging.others_at_work`."""
        return self._staging.others_at_work()

    def compilers(self, key: str) -> Path:
        """Return the folder for what compilers make once for the toolchain of this key."""
        return toolchain_folder(key, self.layout.inductor)

    def abandoned(self) -> list[Path]:
        """Return what dead processes left in staging, which `sweep` removes."""
        return self._staging.abandoned()

    def unlock_abandoned(self) -> int:
        """Remove the lock files of dead processes; return how many there were."""
        return self._locks.abandoned()

    def sweep(self) -> int:
        """Remove what dead processes left in staging; return how many attempts there were."""
        return self._staging.sweep()

    def stats(self) -> StoreStats:
        """Count everything; reads every record.

        Raises:
            OSError: if the folders can't be read.
        """
        by_kind: dict[str, int] = {}
        for kind, _, _ in self.records.iterate():
            by_kind[kind] = by_kind.get(kind, 0) + 1
        sizes = [blob.size for blob in self.blobs]
        layout = self.layout
        beside = {
            "index": layout.index,
            "compiler caches": layout.inductor,
            "toolchains": toolchains_root(),
            "logs": layout.logs,
            "staging": layout.staging,
        }
        return StoreStats(
            records=sum(by_kind.values()),
            blobs=len(sizes),
            bytes=sum(sizes),
            by_kind=by_kind,
            more={name: disk_usage(folder) for name, folder in beside.items()},
        )

    def close(self) -> None:
        """Close the index and release what this process owns in staging."""
        self._staging.close()
        self.index.close()
        if self._umask is not None:
            os.umask(self._umask)
            self._umask = None
        if self.layout.private is not None:
            remove(self.layout.private)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def parse(kind: str, key: str, stored: Mapping[str, Any]) -> Record | None:
    """Parse a record's data; return None if it has another form."""
    try:
        files = {name: Blob(digest=row["digest"], size=row["size"]) for name, row in stored["files"].items()}
        data = stored["data"]
    except (KeyError, TypeError, AttributeError):
        return None
    if not isinstance(data, dict) or not all(is_digest(blob.digest) for blob in files.values()):
        return None
    return Record(kind=kind, key=key, data=data, files=files)


def _let_group_write(root: Path) -> int | None:
    """Let whoever may write a shared cache folder write what this process and its children make in it.

    Return the umask to restore, or None if the folder is this user's alone. Git does so with core.sharedRepository.
    """
    try:
        shared = root.stat().st_mode & 0o022
    except OSError:
        return None
    if not shared:
        return None
    before = os.umask(0o077)
    os.umask(before & ~(0o070 if shared & 0o020 else 0) & ~(0o007 if shared & 0o002 else 0))
    return before


def _with_private_folders(layout: Layout) -> Layout:
    """Return the layout of a read-only store with new temporary folders for its work and a copy of its index.

    SQLite can't read a database that it may not write. What can't be copied is left out: without an index, all is found
    through the records.
    """
    import shutil
    import tempfile

    private = replace(layout, private=Path(tempfile.mkdtemp(prefix="batchexport-")))
    private.create_private()
    with suppress(OSError):
        for path in layout.index.iterdir():
            if path.is_file() and not path.is_symlink():
                shutil.copyfile(path, private.index / path.name)
    return private
