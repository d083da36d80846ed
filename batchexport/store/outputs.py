"""Copy results to the output folder, each file atomically and `job.json` last, and remember what is there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchexport.core.digests import bytes_digest, file_digest, stat_identity
from batchexport.core.files import atomic_write_sibling
from batchexport.core.keys import digest
from batchexport.store.errors import translate_os_errors
from batchexport.store.gc_roots import load_root, root_key
from batchexport.store.statcache import is_settled

if TYPE_CHECKING:
    from batchexport.core.job import Job
    from batchexport.store.results import Result
    from batchexport.store.store import Record, Store

JOB_FILE = "job.json"
SCHEMA = 1  # of `job.json`
FILES = {"exported": "exported.pt2", "package": "compiled.pt2", "so": "compiled.so"}

Files = dict[str, list[Any]]


def current_rows(folder: str, files: Mapping[str, list[Any]]) -> Files | None:
    """Return the rows of a folder's files as they are now, or None if one is not what it should be.

    A row is the stat and the SHA-256 of a file, or the SHA-256 alone. A file is hashed unless its stat is as
    remembered.
    """
    found: Files = {}
    for file, known in files.items():
        path = f"{folder}/{file}"
        try:
            stat = stat_identity(os.stat(path))
            if known[:-1] != stat and file_digest(path) != known[-1]:
                return None
        except OSError:
            return None
        found[file] = [*stat, known[-1]]
    return found


def rows_to_remember(folder: str, files: Mapping[str, list[Any]]) -> Files:
    """Return the rows to remember; a young file is remembered by its digest alone, so that the next run hashes it."""
    now = time.time()
    rows: Files = {}
    for file, known in files.items():
        try:
            stat = os.stat(f"{folder}/{file}")
        except OSError:
            rows[file] = known[-1:]
            continue
        rows[file] = known if is_settled(stat, now) and known[:-1] == stat_identity(stat) else known[-1:]
    return rows


def stamp(job: Job, export: Result, compiled: Result | None, verified: Result | None) -> str:
    """Return the digest of what a `job.json` is made from; equal stamps mean equal files."""
    later = [result.key if result else None for result in (compiled, verified)]
    return digest("job", SCHEMA, job.name, export.key, *later)


class Delivery:
    """The outputs of one manifest, `manifest`. The index remembers what was delivered, by folder, and for which one."""

    def __init__(self, store: Store, output_dir: Path, manifest: Path | None = None) -> None:
        self._manifest = "" if manifest is None else str(manifest.absolute())
        self._store = store
        self._root = str(output_dir)
        self._rows: dict[str, dict[str, Any]] = {}
        self._fresh: dict[str, dict[str, Any]] = {}

    def folder(self, name: str) -> str:
        """Return the folder of a job's outputs; `name` is the job's folder name."""
        return f"{self._root}/{name}"

    def prefetch(self, names: Iterable[str]) -> None:
        """Read the rows of many folders at once."""
        rows = self._store.index.get_many("delivered", [self.folder(name) for name in names])
        self._rows.update((folder, row) for folder, row in rows.items() if _is_row(row))

    def is_current(self, name: str, wanted: Mapping[str, str], stamp: str) -> bool:
        """Return True if the folder holds the files wanted (name → SHA-256) and the `job.json` of this `stamp`."""
        folder = self.folder(name)
        row = self._rows.get(folder)
        if row is None or row["stamp"] != stamp or row["files"].keys() != {*wanted, JOB_FILE}:
            return False
        files = row["files"]
        if any(files[file][-1] != content for file, content in wanted.items()):
            return False
        found = current_rows(folder, files)
        if found is None:
            return False
        if found != files or row.get("manifest") != self._manifest:
            self._fresh[folder] = {"stamp": stamp, "files": found}
        return True

    def holds(self, name: str, wanted: Mapping[str, str]) -> bool:
        """Return True if the folder holds the files wanted (name → SHA-256), whatever else was delivered with them."""
        row = self._rows.get(self.folder(name))
        if row is None or any(row["files"].get(file, [None])[-1] != content for file, content in wanted.items()):
            return False
        return current_rows(self.folder(name), row["files"]) is not None

    def other_manifest(self, name: str) -> Path | None:
        """Return another manifest that delivered this folder, if it still exists and had the job in its last run."""
        owner = (self._rows.get(self.folder(name)) or {}).get("manifest") or self._manifest
        if owner == self._manifest or not os.path.isfile(owner):
            return None
        root = load_root(self._store, root_key(Path(owner)))
        return Path(owner) if root is not None and name in root.folders else None

    def deliver(self, name: str, sources: Mapping[str, tuple[Record, str]], job: Mapping[str, Any], stamp: str) -> None:
        """Copy each file (name → record, name in the record) and write `job.json`.

        `stamp` digests what `job` was made from. Raises BlobMissing, BlobDamaged, DiskFull, StoreError, OSError.
        """
        folder = Path(self.folder(name))
        folder.mkdir(parents=True, exist_ok=True)
        files: Files = {}
        for file, (record, inner) in sources.items():
            self._store.deliver(record, inner, folder / file)
            files[file] = [*stat_identity((folder / file).stat()), record.files[inner].digest]
        for stale in set(FILES.values()) - set(sources):
            (folder / stale).unlink(missing_ok=True)
        text = (json.dumps(job, indent=1, sort_keys=True) + "\n").encode()
        with translate_os_errors(folder / JOB_FILE, remedy="choose another output folder", needed=len(text)):
            atomic_write_sibling(folder / JOB_FILE, text)
        files[JOB_FILE] = [*stat_identity((folder / JOB_FILE).stat()), bytes_digest(text)]
        self._fresh[self.folder(name)] = {"stamp": stamp, "files": files}

    def remember(self) -> None:
        """Store what was delivered in the index; call it at the end of a run, when most files are no longer young."""
        for folder, row in self._fresh.items():
            files = rows_to_remember(folder, row["files"])
            self._rows[folder] = {"stamp": row["stamp"], "files": files, "manifest": self._manifest}
        self._store.index.put_many("delivered", {folder: self._rows[folder] for folder in self._fresh})
        self._fresh.clear()

    def files(self, name: str) -> Files | None:
        """Return the remembered rows of a folder's files, or None."""
        row = self._rows.get(self.folder(name))
        return row["files"] if row else None


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("files"), dict) and "stamp" in row
