"""Check a cache and remove from it what is not needed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from batchexport.core.files import disk_usage, remove
from batchexport.store import gc_roots
from batchexport.store.eviction import EvictionPlan, EvictionPolicy, Name, RecordUse, plan_eviction, total
from batchexport.store.fsck import CheckReport
from batchexport.store.fsck import check as check_store
from batchexport.store.gc_roots import GcRoot
from batchexport.store.layout import Layout
from batchexport.store.prune import prune
from batchexport.store.store import Store
from batchexport.store.sweep import Survey, orphans, remove_records, survey, sweep
from batchexport.store.toolchains import spent_toolchains

_DAY = 86400.0
_FOR_GOOD = ("distrust",)  # few and tiny; without them a nondeterministic model would be cached again
_COMPILER_BYTES = 1 << 30  # Inductor's own caches; they take half a minute to make again
_LOG_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """One sort of leftovers: how many there are, and their bytes."""

    what: str
    count: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a gc did, or with `dry_run` would do. `before` and `after` are the bytes of records and their files."""

    dry_run: bool
    before: int
    after: int
    max_size: int | None
    removed: Mapping[str, int]
    needed_bytes: int
    manifests: tuple[str, ...]
    swept: tuple[Swept, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "dry_run": self.dry_run,
            "bytes_before": self.before,
            "bytes_after": self.after,
            "max_size": self.max_size,
            "removed": dict(self.removed),
            "needed_bytes": self.needed_bytes,
            "manifests": list(self.manifests),
            "swept": {one.what: {"count": one.count, "bytes": one.bytes} for one in self.swept},
            "notes": list(self.notes),
        }


def check(root: Path) -> CheckReport:
    """Hash every file and parse every record again. Raises StoreError."""
    with Store.open(root) as store:
        return check_store(store)


def collect(root: Path, *, max_size: int | None, max_age: float | None, dry_run: bool) -> Collected:
    """Remove records unused for `max_age` seconds or beyond `max_size` bytes, and what killed runs left.

    Without `max_size`, the largest limit that a manifest of this cache has set is used. Raises StoreError.
    """
    with Store.open(root) as store:
        remembered: dict[Name, GcRoot] = {}

        def on_record(name: Name, data: Mapping[str, Any]) -> None:
            if name[0] == gc_roots.KIND and (found := gc_roots.parse_root(data)) is not None:
                remembered[name] = found

        seen = survey(store, on_record=on_record)
        current = {name: one for name, one in remembered.items() if one.is_current}
        limits = [one.size_limit for one in current.values() if one.size_limit is not None]
        limit = max_size if max_size is not None else max(limits, default=None)
        busy = store.others_at_work()
        now = time.time()
        bounds = EvictionPolicy(
            max_size=limit,
            before=None if max_age is None else now - max_age,
            spare_after=now - _DAY if busy else None,
        )
        needed = needed_names(seen, current)
        choice = plan_eviction(used_through(seen, remembered), needed=needed, bounds=bounds)
        gone = {one.name for one in choice.go}
        if not dry_run:
            gone = remove_records(store, seen, gone)
        swept = _swept(store, seen, gone, current.values(), dry_run=dry_run, busy=busy, before=bounds.before)
        left = [held for name, held in seen.uses.items() if name not in gone]
        return Collected(
            dry_run=dry_run,
            before=choice.before,
            after=total(left),
            max_size=limit,
            removed=dict(sorted(Counter(kind for kind, _ in gone).items())),
            needed_bytes=total([seen.uses[name] for name in needed & seen.uses.keys()]),
            manifests=tuple(sorted(str(one.manifest) for one in current.values())),
            swept=tuple(one for one in swept if one.count),
            notes=tuple(_notes(seen, choice, limit, busy=busy)),
        )


def needed_names(seen: Survey, current: Mapping[Name, GcRoot]) -> set[Name]:
    """Return the records that gc never removes."""
    named = {name for one in current.values() for name in one.needed}
    return named | set(current) | {name for name in seen.uses if name[0] in _FOR_GOOD}


def used_through(seen: Survey, remembered: Mapping[Name, GcRoot]) -> list[RecordUse]:
    """Return all records, each used no earlier than the manifests that name it."""
    used = {name: held.used for name, held in seen.uses.items()}
    for manifest, one in remembered.items():
        for name in one.used & used.keys():
            used[name] = max(used[name], seen.uses[manifest].used)
    return [replace(held, used=used[name]) for name, held in seen.uses.items()]


def _swept(
    store: Store,
    seen: Survey,
    gone: set[Name],
    current: Iterable[GcRoot],
    *,
    dry_run: bool,
    busy: bool,
    before: float | None,
) -> list[Swept]:
    """Return the leftovers of every sort, and remove them unless `dry_run`."""
    layout = store.layout
    dead = [(path, disk_usage(path)) for path in store.abandoned()]
    logs = [(path, disk_usage(path)) for path in _spent_logs(layout, current, busy=busy)]
    aside = [(path, disk_usage(path)) for path in layout.home.glob("index.damaged")]
    compiler = [] if busy else _spent_compiler_files(layout, before)
    toolchains = spent_toolchains(time.time())
    if seen.later:
        unnamed = []
    elif dry_run:
        unnamed = [(path, disk_usage(path)) for path in orphans(store, seen, gone)]
    else:
        unnamed = sweep(store, seen)
    freed = {digest for name in gone for digest in seen.uses[name].files}
    lost = [(path, size) for path, size in unnamed if path.parent.name + path.name not in freed]
    if not dry_run:
        store.sweep()
        store.unlock_abandoned()
        for path, _ in (*logs, *aside, *compiler, *toolchains):
            remove(path)
        prune(store, busy=busy)
    sorts = {
        "files of no record": lost,
        "attempts of dead processes": dead,
        "old logs": logs,
        "damaged indexes": aside,
        "compiler caches": compiler,
        "unused toolchains": toolchains,
    }
    return [Swept(what=what, count=len(rows), bytes=sum(size for _, size in rows)) for what, rows in sorts.items()]


def _spent_logs(layout: Layout, current: Iterable[GcRoot], *, busy: bool) -> list[Path]:
    """Return the logs of jobs that no manifest has any more, and the fork server's if it grew large.

    That of events limits itself.
    """
    if busy:
        return []
    wanted = {folder for one in current for folder in one.folders}
    server = layout.logs / "forkserver.log"
    kept = {*wanted, "bug.log", "events.jsonl", *([server.name] if disk_usage(server) <= _LOG_BYTES and wanted else [])}
    return sorted(path for path in layout.logs.iterdir() if path.name not in kept)


def _spent_compiler_files(layout: Layout, before: float | None) -> list[tuple[Path, int]]:
    """Return the contents of Inductor's caches if together they are too large or too old."""
    parts = [part for folder in layout.inductor.iterdir() if folder.is_dir() for part in folder.iterdir()]
    weights = [(part, disk_usage(part)) for part in parts]
    large = sum(size for _, size in weights) > _COMPILER_BYTES
    old = before is not None and max((part.lstat().st_mtime for part in parts), default=before) < before
    return weights if large or old else []


def _notes(seen: Survey, choice: EvictionPlan, limit: int | None, *, busy: bool) -> Iterable[str]:
    if seen.later:
        yield f"{seen.later} records are of a later version of batchexport: they and all files were left alone"
    if busy:
        yield "a run is at work: what was used in the last day was left alone"
    if limit is not None and choice.after > limit:
        yield "what is left is needed by manifests that are there, or in use"
