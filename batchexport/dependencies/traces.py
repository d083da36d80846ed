"""Find an earlier export whose dependencies are all unchanged.

A trace names an export and the set of dependencies that was recorded when it was built. Traces are kept in the index
under the request key (spec and toolchain), last used first, until gc removes their exports. Jobs share sets, so that
thousands of jobs that use the same files are checked by checking one set. Sets stay rows, as they are stored: parsing
each row of each set would take longer than checking the few that differ.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from batchexport.core.keys import digest
from batchexport.dependencies.checker import DependencyChecker
from batchexport.dependencies.dependency import Dependency, Row, weight_files, without_weights
from batchexport.store.store import Store

KEPT = 256  # bounds the traces of a request where gc never runs; each state of the sources that was built takes one
_READ_AHEAD = 8  # for how many traces of each request sets are read together; those of rarer ones would fill memory


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceHit:
    """An export whose dependencies are all unchanged, and the set they are in."""

    export_key: str
    set_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceMiss:
    """No export can be reused, for the reason given. `known` is False where there was no trace at all.

    `weights_only_base` is the key of an export of which only weight files changed.
    """

    reason: str
    known: bool
    weights_only_base: str | None = None


class _SetState(Enum):
    """How a set of dependencies compares with the present."""

    UNCHANGED = auto()
    NEW_WEIGHTS = auto()  # nothing but weight files changed
    CHANGED = auto()


class Traces:
    """The traces of a store, compared with the present state by a checker."""

    def __init__(self, store: Store, checker: DependencyChecker) -> None:
        self._index = store.index
        self._checker = checker
        self._traces: dict[str, list[Any]] = {}
        self._sets: dict[str, Sequence[Row] | None] = {}
        self._states: dict[str, _SetState] = {}
        if self._index.get("meta", "traces") is None:
            self._rebuild(store)

    def prefetch(self, request_keys: Iterable[str]) -> None:
        """Read the traces of many request keys at once, and as many of their sets as it takes to find their exports.

        Weight files are hashed in parallel. Nearly all hits are on first traces, so the sets of others are only read
        for requests without a hit so far.
        """
        keys = list(request_keys)
        found = self._index.get_many("trace", keys)
        self._traces.update((request_key, _list(traces)) for request_key, traces in found.items())
        pending = [self._traces[request_key] for request_key in keys if request_key in self._traces]
        start, stop = 0, 1
        while pending and start < _READ_AHEAD:
            self._read_sets({set_key for traces in pending for set_key, _ in traces[start:stop]})
            pending = [
                traces
                for traces in pending
                if len(traces) > stop and not any(self._is_unchanged(set_key) for set_key, _ in traces[start:stop])
            ]
            start, stop = stop, _READ_AHEAD

    def find(self, request_key: str) -> TraceHit | TraceMiss:
        """Return the last used export of `request_key` whose dependencies are unchanged, or why there is none."""
        traces = self._of(request_key)
        for position, (set_key, export_key) in enumerate(traces):
            if self._is_unchanged(set_key):
                if position:
                    self._move_to_front(request_key, set_key, traces)
                return TraceHit(export_key=export_key, set_key=set_key)
        if not traces:
            return TraceMiss(reason="never built", known=False)
        bases = [export_key for set_key, export_key in traces if self._state(set_key) is _SetState.NEW_WEIGHTS]
        return TraceMiss(
            reason=self._reason(traces[0][0]), known=True, weights_only_base=str(bases[0]) if bases else None
        )

    def last_used(self, request_key: str) -> Sequence[Row]:
        """Return the dependencies of the last used export of `request_key`; none where there is no trace."""
        traces = self._of(request_key)
        return (self._rows(traces[0][0]) if traces else None) or ()

    def _of(self, request_key: str) -> list[Any]:
        traces = self._traces.get(request_key)
        return _list(self._index.get("trace", request_key)) if traces is None else traces

    def refresh(self, request_key: str) -> None:
        """Read the traces of `request_key` from the index again, as another process may have added some."""
        self._traces.pop(request_key, None)

    def add(self, request_key: str, dependencies: Iterable[Dependency], export_key: str) -> None:
        """Store a new trace before the older ones. The dependencies are in canonical order."""
        self._add(request_key, [dependency.to_row() for dependency in dependencies], export_key)

    def _add(self, request_key: str, rows: Sequence[Row], export_key: str) -> None:
        set_key = digest("set", 1, rows)

        def insert(row: Any) -> list[Any]:
            return [[set_key, export_key], *(trace for trace in _list(row) if trace[0] != set_key)][:KEPT]

        self._index.put("set", set_key, rows)
        stored = self._index.update("trace", request_key, insert)
        # Without an index, memory alone has the older traces.
        self._traces[request_key] = insert(self._traces.get(request_key)) if stored is None else stored
        self._sets[set_key] = rows

    def _move_to_front(self, request_key: str, set_key: str, traces: list[Any]) -> None:
        """Let the trace of a set be tried first from now on."""

        def move(row: Any) -> Any:  # another process may have added or dropped traces since they were read
            return sorted(row, key=lambda trace: trace[0] != set_key) if row else row

        self._index.update("trace", request_key, move)
        self._traces[request_key] = move(traces)

    def drop(self, request_key: str) -> None:
        """Delete the traces of `request_key`, so that none of its exports is reused."""
        self._index.delete("trace", request_key)
        self._traces[request_key] = []

    def _read_sets(self, set_keys: set[str]) -> None:
        """Read the sets that are not read yet, and hash their weight files in parallel."""
        found = self._index.get_many("set", set_keys - self._sets.keys())
        self._sets.update(found)
        known = [rows for set_key in set_keys if (rows := self._sets.get(set_key)) is not None]
        self._checker.prehash({path for rows in known for path in weight_files(rows)})

    def _rows(self, set_key: str) -> Sequence[Row] | None:
        rows = self._sets.get(set_key)
        return self._index.get("set", set_key) if rows is None else rows

    def _is_unchanged(self, set_key: str) -> bool:
        return self._state(set_key) is _SetState.UNCHANGED

    def _state(self, set_key: str) -> _SetState:
        if set_key not in self._states:
            rows = self._rows(set_key)
            if rows is None:
                return _SetState.CHANGED
            self._states[set_key] = self._compare(rows)
        return self._states[set_key]

    def _compare(self, rows: Sequence[Row]) -> _SetState:
        if not self._checker.change_reasons(rows):
            return _SetState.UNCHANGED
        changed = any(map(self._checker.change_reason, without_weights(rows)))
        return _SetState.CHANGED if changed else _SetState.NEW_WEIGHTS

    def _reason(self, set_key: str) -> str:
        """Return what changed of a set, in words."""
        rows = self._rows(set_key)
        return "its trace was lost" if rows is None else _summary(self._checker.change_reasons(rows), len(rows))

    def _rebuild(self, store: Store) -> None:
        """Add the traces of all records to an index that is new or was lost, last used first."""
        found: list[tuple[str, Mapping[str, Any]]] = []
        distrusted = set()
        for kind, key, stored in store.records.iterate():
            if kind == "distrust":
                distrusted.add(key)
            elif kind == "export":
                found.append((key, stored.get("data", {})))
        found.sort(key=lambda row: _used(store.layout.record_name("export", row[0])))
        for key, data in found:
            if "dependencies" in data and data.get("ask", "") not in {"", *distrusted}:
                self._add(data["ask"], data["dependencies"], key)
        self._index.put("meta", "traces", 1)


def _used(path: str) -> float:
    """Return when a record was last used (Unix time), 0 if it is gone."""
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0.0


def _list(row: Any) -> list[Any]:
    return row if isinstance(row, list) else []


def _summary(changes: list[str], total: int) -> str:
    shown = ", ".join(changes[:3]) + (f" and {len(changes) - 3} more" if len(changes) > 3 else "")
    same = total - len(changes)
    return f"{shown}; {same} other inputs same" if same > 0 else shown
