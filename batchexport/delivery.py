"""The output folder holds copies of results, each put in place in one step, `job.json` last."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from batchexport.digests import bytes_digest, file_digest
from batchexport.store.statcache import identity, is_settled
from batchexport.store.store import Record, Store

JOB_FILE = "job.json"
FILES = {"exported": "exported.pt2", "package": "compiled.pt2", "so": "compiled.so"}

Row = dict[str, list[Any]]


class Delivery:
    """The outputs of one manifest. A row of the index says of each file its stat and its digest."""

    def __init__(self, store: Store, output_dir: Path) -> None:
        self._store = store
        self._root = str(output_dir)
        self._rows: dict[str, Row] = {}
        self._fresh: dict[str, Row] = {}

    def folder(self, name: str) -> str:
        """The folder of a job's outputs; `name` is the job's folder name."""
        return f"{self._root}/{name}"

    def prefetch(self, names: Iterable[str]) -> None:
        """Read what was delivered into many folders at once."""
        rows = self._store.index.get_many("delivered", [self.folder(name) for name in names])
        self._rows.update((folder, row) for folder, row in rows.items() if isinstance(row, dict))

    def is_current(self, name: str, wanted: Mapping[str, str]) -> bool:
        """True when the folder holds the files wanted (name → SHA-256) and the `job.json` that came with them.

        A file whose stat is as remembered is known; any other is hashed.
        """
        folder = self.folder(name)
        row = self._rows.get(folder)
        if row is None or JOB_FILE not in row or row.keys() != {*wanted, JOB_FILE}:
            return False
        return all(
            row[file][-1] == content and self._holds(folder, file, row[file], content)
            for file, content in {**wanted, JOB_FILE: row[JOB_FILE][-1]}.items()
        )

    def _holds(self, folder: str, file: str, known: list[Any], content: str) -> bool:
        path = f"{folder}/{file}"
        try:
            stat = os.stat(path)
            if known[:-1] == identity(stat):
                return True
            if file_digest(path) != content:
                return False
        except OSError:
            return False
        self._fresh.setdefault(folder, dict(self._rows[folder]))[file] = [*identity(stat), content]
        return True

    def deliver(self, name: str, sources: Mapping[str, tuple[Record, str]], job: Mapping[str, Any]) -> None:
        """Copy each file (name → record, name in the record) and write `job.json`.

        Raises BlobMissing, BlobDamaged, DiskFull, StoreError.
        """
        folder = Path(self.folder(name))
        folder.mkdir(parents=True, exist_ok=True)
        row: Row = {}
        for file, (record, inner) in sources.items():
            self._store.deliver(record, inner, folder / file)
            row[file] = [*identity((folder / file).stat()), record.files[inner].digest]
        for stale in set(FILES.values()) - set(sources):
            (folder / stale).unlink(missing_ok=True)
        text = (json.dumps(job, indent=1, sort_keys=True) + "\n").encode()
        partial = folder / f".{JOB_FILE}.{os.getpid()}"
        partial.write_bytes(text)
        partial.replace(folder / JOB_FILE)
        row[JOB_FILE] = [*identity((folder / JOB_FILE).stat()), bytes_digest(text)]
        self._fresh[self.folder(name)] = row

    def settle(self) -> None:
        """Remember what was delivered. At the end of a run, when most files are no longer young.

        A young file is remembered by its digest alone, so that the next run hashes it.
        """
        rows = {}
        for folder, row in self._fresh.items():
            now = time.time()
            rows[folder] = {file: self._settled(f"{folder}/{file}", known, now) for file, known in row.items()}
        self._store.index.put_many("delivered", rows)

    def _settled(self, path: str, known: list[Any], now: float) -> list[Any]:
        try:
            stat = os.stat(path)
        except OSError:
            return [known[-1]]
        return known if is_settled(stat, now) and known[:-1] == identity(stat) else [known[-1]]
