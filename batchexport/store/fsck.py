"""Check a whole store: parse every record and hash every file again, trusting no cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchexport.core.digests import file_digest
from batchexport.store.store import Store
from batchexport.store.sweep import survey


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One damaged thing: what it is, what is wrong with it, and the jobs that have to be built again."""

    what: str
    why: str
    jobs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """How much was checked, and the damage that was found and set aside."""

    records: int
    files: int
    bytes: int
    rows: int
    damage: tuple[Damage, ...]
    notes: tuple[str, ...] = ()


def check(store: Store) -> CheckReport:
    """Check everything and set damage aside, so that the next run builds it again.

    Raises:
        StoreError: if the folders can't be read.
    """
    jobs: dict[tuple[str, str], str] = {}

    def on_record(name: tuple[str, str], data: Mapping[str, Any]) -> None:
        jobs[name] = str(data.get("job", ""))

    seen = survey(store, on_record=on_record)
    damage = [Damage(what=f"record {kind}-{key}", why="damaged") for kind, key in sorted(seen.damaged)]
    count, size, bad = 0, 0, {}
    for blob in store.blobs:
        count, size = count + 1, size + blob.size
        why = _fault(store.layout.blob_path(blob.digest), blob.digest)
        if why:
            bad[blob.digest] = why
            store.blobs.remove(blob.digest)
    there = {blob.digest: blob.size for blob in store.blobs}
    named: dict[str, list[str]] = {}
    for name, held in seen.uses.items():
        lost = [digest for digest in held.files if there.get(digest) != held.files[digest]]
        if lost and store.records.get(*name) is None:
            continue  # removed by gc meanwhile
        if lost:
            store.records.set_aside(*name)
            store.index.delete(f"result-{name[0]}", name[1])
        for digest in lost:
            named.setdefault(digest, []).append(jobs[name])
    for digest in sorted({*named, *bad}):
        users = tuple(sorted({job for job in named.get(digest, ()) if job}))
        damage.append(Damage(what=f"file {digest}", why=bad.get(digest, "missing"), jobs=users))
    rows = store.index.check()
    if rows:
        damage.append(Damage(what=f"index: {rows} rows", why="damaged and dropped"))
    notes = [f"{seen.later} records are of a later version of batchexport and were left alone"] if seen.later else []
    if store.index.problem and store.index.recreated:
        damage.append(Damage(what="index", why=store.index.problem.removeprefix("index: ")))
    elif store.index.problem:  # a full disk, for instance: the rows that are there are good
        notes.append(store.index.problem)
    return CheckReport(
        records=len(seen.uses), files=count, bytes=size, rows=rows, damage=tuple(damage), notes=tuple(notes)
    )


def _fault(path: Path, digest: str) -> str | None:
    try:
        if path.is_symlink() or not path.is_file():
            return "not a regular file"
        return None if file_digest(path) == digest else "its bytes have changed"
    except FileNotFoundError:
        return None  # removed by gc meanwhile
    except OSError as error:
        return f"can't be read: {error.strerror}"
