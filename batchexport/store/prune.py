"""Drop rows of the index about records, files and folders that are gone."""

from __future__ import annotations

import os
import time

from batchexport.core.report import STAGES
from batchexport.store.index import Index
from batchexport.store.layout import is_digest
from batchexport.store.store import Store

_RESULTS = (*STAGES, "code", "distrust")
_MEMO_SECONDS = 30 * 86400.0  # for the memos of no-op runs; the next run makes a new one


def prune(store: Store, *, busy: bool) -> int:
    """Drop the rows about what is gone; return how many.

    `busy`: a run is active and may be about to use a set of dependencies that no trace names yet.
    """
    index = store.index
    count = 0
    for kind in _RESULTS:
        keys = index.keys(f"result-{kind}")
        count += _drop(index, f"result-{kind}", [key for key in keys if not _is_there(store, kind, key)])
    if not busy:
        count += _prune_traces(store)
    for space in ("blob", "file", "delivered"):
        count += _drop(index, space, [path for path in index.keys(space) if not os.path.lexists(path)])
    old = time.time() - _MEMO_SECONDS
    for space in ("conclusion", "tree"):
        count += _drop(index, space, index.keys(space, before=old))
    if count:
        index.shrink()
    return count


def _prune_traces(store: Store) -> int:
    index = store.index
    count = 0
    used: set[str] = set()
    for ask, row in index.items("trace").items():
        traces = row if isinstance(row, list) else []
        kept = [trace for trace in traces if _is_there(store, "export", trace[1])]
        used.update(trace[0] for trace in kept)
        if not kept:
            count += _drop(index, "trace", [ask])
        elif len(kept) < len(traces):
            index.put("trace", ask, kept)
    count += _drop(index, "set", [key for key in index.keys("set") if key not in used])
    there = set(index.keys("set"))
    dead = [key for key, row in index.items("conclusion").items() if not there.issuperset(row.get("sets", ["?"]))]
    return count + _drop(index, "conclusion", dead)


def _is_there(store: Store, kind: str, key: str) -> bool:
    return is_digest(key) and os.path.lexists(store.layout.record_name(kind, key))


def _drop(index: Index, space: str, keys: list[str]) -> int:
    index.delete_many(space, keys)
    return len(keys)
