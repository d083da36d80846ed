"""What a manifest's outputs were made from stands in a record of the store, so that gc can leave it alone.

It is written at the end of a run that decided anything. A run that is concluded from its memo only marks it
as used, which stands for the use of all that it names: one timestamp, however many jobs there are.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchexport.core import keys
from batchexport.core.report import STAGES, JobReport
from batchexport.store.eviction import Name
from batchexport.store.layout import Layout, valid_digest, valid_kind
from batchexport.store.store import Store

KIND = "manifest"
_PATIENCE = 2.0  # seconds
_TOUCH_AFTER = 3600.0  # seconds: a no-op run writes next to nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class GcRoot:
    """What one manifest asked of a cache when it last ran: records by job, and the folders of all its jobs."""

    manifest: Path
    size_limit: int | None
    jobs: Mapping[str, Sequence[Name]]
    folders: Sequence[str]

    @property
    def is_current(self) -> bool:
        """Whether the manifest is still there."""
        return self.manifest.is_file()

    @property
    def used(self) -> set[Name]:
        """Every record that its last run used."""
        return {name for names in self.jobs.values() for name in names}

    @property
    def needed(self) -> set[Name]:
        """What its outputs are copies of, with the evidence that they are right."""
        return {name for name in self.used if name[0] in STAGES}


def root_key(manifest: Path) -> str:
    """The key of a manifest's record."""
    return keys.digest("manifest", 1, str(manifest.absolute()))


def merge_roots(old: GcRoot | None, new: GcRoot, names: Iterable[str]) -> GcRoot:
    """`new`, and what `old` knows of jobs that did not run or were not delivered now; `names` are all there are."""
    jobs = {name: new.jobs.get(name) or (old.jobs.get(name) if old else None) or () for name in names}
    return GcRoot(manifest=new.manifest, size_limit=new.size_limit, jobs=jobs, folders=new.folders)


def record_names(report: JobReport, code: str | None) -> tuple[Name, ...]:
    """The records behind a delivered job; none for any other. `code`: the key of the code it was packed from."""
    if not report.ok or not report.outputs:
        return ()
    found = [(stage, row.key) for stage, row in report.stages.items() if row.key]
    return (*found, *([("code", code)] if code and "compile" in dict(found) else []))


def save_root(store: Store, new: GcRoot, names: Iterable[str]) -> None:
    """Write what a run needed. Raises DiskFull, StoreError."""
    key = root_key(new.manifest)
    lock, deadline = store.try_lock(f"manifest-{key}"), time.monotonic() + _PATIENCE
    while lock is None and time.monotonic() < deadline:
        time.sleep(0.01)
        lock = store.try_lock(f"manifest-{key}")
    try:
        old = load_root(store, key)
        found = merge_roots(old, new, names)
        if old == found:
            store.records.touch(KIND, key)
            return
        store.publish(KIND, key, files={}, data=_data(found))
        # What it names no more was used until now, and what it names anew is about to depend on its time alone.
        for name in (old.used if old else set()) ^ found.used:
            store.records.touch(*name)
    finally:
        if lock is not None:
            lock.release()


def mark_used(layout: Layout, manifest: Path) -> bool:
    """A run was concluded from its memo: mark the manifest's record, to the hour. False where there is none."""
    path = layout.record_name(KIND, root_key(manifest))
    try:
        if os.lstat(path).st_mtime < time.time() - _TOUCH_AFTER:
            os.utime(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError:  # a cache that can only be read
        pass
    return True


def load_root(store: Store, key: str) -> GcRoot | None:
    """What is remembered under a manifest's key."""
    return parse_root((store.records.get(KIND, key) or {}).get("data"))


def parse_root(data: Any) -> GcRoot | None:
    """The data of a manifest's record; None where it is none."""
    try:
        return GcRoot(
            manifest=Path(data["manifest"]),
            size_limit=data["size_limit"],
            jobs={
                job: tuple((valid_kind(kind), valid_digest(key)) for kind, key in names)
                for job, names in data["jobs"].items()
            },
            folders=tuple(data["folders"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _data(needs: GcRoot) -> dict[str, Any]:
    return {
        "manifest": str(needs.manifest),
        "size_limit": needs.size_limit,
        "jobs": {job: [list(name) for name in names] for job, names in needs.jobs.items()},
        "folders": list(needs.folders),
    }
