"""Record what a manifest's outputs were made from, so that gc keeps it.

The record is written at the end of a run. A no-op run only marks it as used, which counts as a use of everything
that it names: one timestamp, however many jobs there are.
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
_TOUCH_AFTER = 3600.0  # seconds, so that no-op runs hardly write


@dataclass(frozen=True, slots=True, kw_only=True)
class GcRoot:
    """What the last run of a manifest used: records by job, and the folder names of all its jobs."""

    manifest: Path
    size_limit: int | None
    jobs: Mapping[str, Sequence[Name]]
    folders: Sequence[str]

    @property
    def is_current(self) -> bool:
        """Return True if the manifest still exists."""
        return self.manifest.is_file()

    @property
    def used(self) -> set[Name]:
        """Return every record that the last run used."""
        return {name for names in self.jobs.values() for name in names}

    @property
    def needed(self) -> set[Name]:
        """Return the records that the outputs are copies of, and those of their verification."""
        return {name for name in self.used if name[0] in STAGES}


def root_key(manifest: Path) -> str:
    """Return the key of a manifest's record."""
    return keys.digest("manifest", 1, str(manifest.absolute()))


def merge_roots(old: GcRoot | None, new: GcRoot, names: Iterable[str]) -> GcRoot:
    """Return `new`, completed from `old` for jobs that were not delivered now; `names` are all jobs."""
    jobs = {name: new.jobs.get(name) or (old.jobs.get(name) if old else None) or () for name in names}
    return GcRoot(manifest=new.manifest, size_limit=new.size_limit, jobs=jobs, folders=new.folders)


def record_names(report: JobReport, code: str | None) -> tuple[Name, ...]:
    """Return the records behind a job, none if it was not delivered. `code`: the key of its compiled code."""
    if not report.outputs:  # a job that passes against its `expect` has some without being ok
        return ()
    found = [(stage, row.key) for stage, row in report.stages.items() if row.key]
    return (*found, *([("code", code)] if code and "compile" in dict(found) else []))


def save_root(store: Store, new: GcRoot, names: Iterable[str]) -> None:
    """Write the record of a run. Raises DiskFull, StoreError."""
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
        # Records named no more were in use until now; those newly named will be dated by this record alone.
        for name in (old.used if old else set()) ^ found.used:
            store.records.touch(*name)
    finally:
        if lock is not None:
            lock.release()


def mark_used(layout: Layout, manifest: Path) -> bool:
    """Mark the record of a manifest as used, to the hour. Return False if there is none."""
    path = layout.record_name(KIND, root_key(manifest))
    try:
        if os.lstat(path).st_mtime < time.time() - _TOUCH_AFTER:
            os.utime(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError:  # a read-only cache
        pass
    return True


def load_root(store: Store, key: str) -> GcRoot | None:
    """Return the root that is recorded under a manifest's key."""
    return parse_root((store.records.get(KIND, key) or {}).get("data"))


def parse_root(data: Any) -> GcRoot | None:
    """Parse the data of a manifest's record; return None if it has another form."""
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
