"""The sweep phase of gc.

Records are deleted before their blobs, and blobs only under the exclusive lock, so that no unfinished publish loses
one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchexport.core.files import disk_usage, remove
from batchexport.store.eviction import Name, RecordUse
from batchexport.store.layout import is_digest, parse_record_name
from batchexport.store.store import Store, parse

_AT_A_TIME = 200  # records for each time the lock is held, so that runs wait for moments only


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """All records. `damaged` were set aside just now; `later` counts those of a later version of batchexport."""

    uses: Mapping[Name, RecordUse]
    times: Mapping[Name, int]
    damaged: tuple[Name, ...]
    later: int


def survey(store: Store, *, on_record: Callable[[Name, Mapping[str, Any]], None] = lambda name, data: None) -> Survey:
    """Read every record, call `on_record` with its data, and set damaged ones aside."""
    held: dict[Name, RecordUse] = {}
    times: dict[Name, int] = {}
    damaged = []
    later = 0
    for name, stat in _records(store):
        stored = store.records.get(*name)
        if stored is None:
            if store.records.is_later(*name):
                later += 1
            elif not store.layout.record_path(*name).exists():
                damaged.append(name)
            continue
        record = parse(*name, stored)
        if record is None:
            store.records.set_aside(*name)
            damaged.append(name)
            continue
        files = {blob.digest: blob.size for blob in record.files.values()}
        held[name] = RecordUse(name=name, used=stat.st_mtime, size=stat.st_size, files=files)
        times[name] = stat.st_mtime_ns
        on_record(name, record.data)
    return Survey(uses=held, times=times, damaged=tuple(damaged), later=later)


def remove_records(store: Store, seen: Survey, names: Iterable[Name]) -> set[Name]:
    """Remove these records, except those used since the survey; return which were removed."""
    gone: set[Name] = set()
    waiting = list(names)
    for start in range(0, len(waiting), _AT_A_TIME):
        with store.gate.exclusive():
            for name in waiting[start : start + _AT_A_TIME]:
                path = store.layout.record_path(*name)
                with suppress(OSError):
                    if path.lstat().st_mtime_ns == seen.times[name]:
                        path.unlink()
                        gone.add(name)
    return gone


def orphans(store: Store, seen: Survey, gone: Iterable[Name] = ()) -> list[Path]:
    """Return the files in `objects` and `entries` that belong to no record, if those in `gone` were removed."""
    named: set[str] = set()
    left_out = set(gone)
    for name, stat in _records(store):
        if name in left_out:
            continue
        if seen.times.get(name) == stat.st_mtime_ns:
            named.update(seen.uses[name].files)
        elif (record := parse(*name, store.records.get(*name) or {})) is not None:
            named.update(blob.digest for blob in record.files.values())
    layout = store.layout
    return [
        *(path for shard, path in _inside(layout.objects) if shard + path.name not in named or path.is_symlink()),
        *(path for shard, path in _inside(layout.entries) if _record_name(shard, path) is None),
    ]


def sweep(store: Store, seen: Survey) -> list[tuple[Path, int]]:
    """Remove the orphans and empty folders under the exclusive lock; return each orphan with its bytes."""
    swept = []
    with store.gate.exclusive():
        for path in orphans(store, seen):
            swept.append((path, disk_usage(path)))
            remove(path)
        for folder in (store.layout.objects, store.layout.entries):
            for shard in list(folder.iterdir()):
                with suppress(OSError):
                    shard.rmdir()
    return swept


def _records(store: Store) -> Iterator[tuple[Name, os.stat_result]]:
    for shard, path in _inside(store.layout.entries):
        name = _record_name(shard, path)
        if name is not None:
            with suppress(OSError):
                yield name, path.lstat()


def _record_name(shard: str, path: Path) -> Name | None:
    name = parse_record_name(path.name)
    return name if name is not None and name[1].startswith(shard) and is_digest(name[1]) else None


def _inside(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield (name of the shard, path) of everything in the shards; anything else is yielded as it is."""
    for shard in sorted(folder.iterdir()):
        if len(shard.name) != 2 or shard.is_symlink() or not shard.is_dir():
            yield "?", shard
            continue
        with suppress(OSError):
            for path in sorted(shard.iterdir()):
                yield shard.name, path
