"""Drop rows of the index about records, files and folders that are gone."""

from __future__ import annotations

import os
import time
from typing import Any

from batchexport.core.report import STAGES
from batchexport.store.index import Index
from batchexport.store.layout import is_digest
from batchexport.store.store import Store

_RESULTS = (*STAGES, "code", "distrust")
_MEMO_SECONDS = 30 * 86400.0  # for the memos of no-op runs; the next run makes a new one


def prune(store: Store, *, busy: bool) -> int:
    """Drop the rows about what is gone; return how many went, traces apart.

    `busy`: a run is active and may be about to use a set of dependencies that no trace names yet.
    """
    index = store.index
    count = 0
    for kind in _RESULTS:
        keys = index.keys(f"result-{kind}")
        count += _drop(index, f"result-{kind}", [key for key in keys if not _is_there(store, kind, key)])
    used = _prune_traces(store)
    if not busy:
        count += _prune_sets(index, used)
    for space in ("blob", "file", "delivered"):
        count += _drop(index, space, [path for path in index.keys(space) if not os.path.lexists(path)])
    old = time.time() - _MEMO_SECONDS
    for space in ("conclusion", "tree"):
        count += _drop(index, space, index.keys(space, before=old))
    if count:
        index.shrink()
    return count


def _prune_traces(store: Store) -> set[str]:
    """Drop the traces of exports that are gone; return the sets that are still named."""

    def kept(traces: Any) -> list[Any] | None:  # a run may add a trace at any moment, after the record of its export
        rows = traces if isinstance(traces, list) else []
        return [trace for trace in rows if _is_there(store, "export", trace[1])] or None

    index = store.index
    used: set[str] = set()
    for request_key, traces in index.items("trace").items():
        found = kept(traces)
        if found != traces:
            found = index.update("trace", request_key, kept)
        used.update(trace[0] for trace in found or ())
    return used


def _prune_sets(index: Index, used: set[str]) -> int:
    """Drop the sets that no trace names, and the memos of no-op runs that name such sets; return how many."""
    count = _drop(index, "set", [key for key in index.keys("set") if key not in used])
    there = set(index.keys("set"))
    dead = [key for key, row in index.items("conclusion").items() if not there.issuperset(row.get("sets", ["?"]))]
    return count + _drop(index, "conclusion", dead)


def _is_there(store: Store, kind: str, key: str) -> bool:
    return is_digest(key) and os.path.lexists(store.layout.record_name(kind, key))


def _drop(index: Index, space: str, keys: list[str]) -> int:
    index.delete_many(space, keys)
    return len(keys)
