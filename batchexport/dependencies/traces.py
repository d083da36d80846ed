"""Find an earlier export whose dependencies are all unchanged.

A trace names an export and the set of dependencies that was recorded when it was built. Traces are kept in the index
under the request key (spec and toolchain), newest first. Jobs share sets, so that thousands of jobs that use the same
files are checked by checking one set. Sets stay rows, as they are stored: parsing each row of each set would take
longer than checking the few that differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchexport.core.keys import digest
from batchexport.dependencies.checker import DependencyChecker
from batchexport.dependencies.dependency import Dependency, Row, weight_files, without_weights
from batchexport.store.store import Store

KEPT = 8


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


class Traces:
    """The traces of a store, compared with the present state by a checker."""

    def __init__(self, store: Store, checker: DependencyChecker) -> None:
        self._index = store.index
        self._checker = checker
        self._traces: dict[str, list[Any]] = {}
        self._sets: dict[str, Sequence[Row] | None] = {}
        self._changes: dict[str, list[str]] = {}
        if self._index.get("meta", "traces") is None:
            self._rebuild(store)

    def prefetch(self, request_keys: Iterable[str]) -> None:
        """Read the traces and sets of many request keys at once, and hash their weight files in parallel."""
        found = self._index.get_many("trace", request_keys)
        self._traces.update((request_key, _list(traces)) for request_key, traces in found.items())
        wanted = {set_key for traces in self._traces.values() for set_key, _ in traces}
        self._sets.update(self._index.get_many("set", wanted - set(self._sets)))
        known = [rows for rows in self._sets.values() if rows is not None]
        self._checker.prehash({path for rows in known for path in weight_files(rows)})

    def find(self, request_key: str) -> TraceHit | TraceMiss:
        """Return the newest export of `request_key` whose dependencies are unchanged, or why there is none."""
        traces = self._traces.get(request_key)
        if traces is None:
            traces = _list(self._index.get("trace", request_key))
        reason = weights_only_base = None
        for set_key, export_key in traces:
            changes = self._changed(set_key)
            if not changes:
                return TraceHit(export_key=export_key, set_key=set_key)
            if reason is None:
                reason = _summary(changes, len(self._sets.get(set_key) or ()))
            if weights_only_base is None and self._is_weights_alone(set_key):
                weights_only_base = str(export_key)
        return TraceMiss(reason=reason or "never built", known=reason is not None, weights_only_base=weights_only_base)

    def refresh(self, request_key: str) -> None:
        """Read the traces of `request_key` from the index again, as another process may have added some."""
        self._traces.pop(request_key, None)

    def add(self, request_key: str, dependencies: Iterable[Dependency], export_key: str) -> None:
        """Store a new trace before the older ones. The dependencies are in canonical order."""
        self._add(request_key, [dependency.to_row() for dependency in dependencies], export_key)

    def _add(self, request_key: str, rows: Sequence[Row], export_key: str) -> None:
        set_key = digest("set", 1, rows)
        older = [trace for trace in _list(self._index.get("trace", request_key)) if trace[0] != set_key]
        traces = [[set_key, export_key], *older][:KEPT]
        self._index.put("set", set_key, rows)
        self._index.put("trace", request_key, traces)
        self._traces[request_key] = traces
        self._sets[set_key] = rows

    def drop(self, request_key: str) -> None:
        """Delete the traces of `request_key`, so that none of its exports is reused."""
        self._index.delete("trace", request_key)
        self._traces[request_key] = []

    def _is_weights_alone(self, set_key: str) -> bool:
        """Return True if nothing but weight files changed of a set that is known to have changed."""
        rows = self._sets.get(set_key)
        return rows is not None and not any(map(self._checker.change_reason, without_weights(rows)))

    def _changed(self, set_key: str) -> list[str]:
        if set_key not in self._changes:
            rows = self._sets.get(set_key)
            if rows is None:
                rows = self._sets[set_key] = self._index.get("set", set_key)
            if rows is None:
                return ["its trace was lost"]
            self._changes[set_key] = self._checker.change_reasons(rows)
        return self._changes[set_key]

    def _rebuild(self, store: Store) -> None:
        """Add the traces of all records to an index that is new or was lost."""
        found: list[tuple[str, Mapping[str, Any]]] = []
        distrusted = set()
        for kind, key, stored in store.records.iterate():
            if kind == "distrust":
                distrusted.add(key)
            elif kind == "export":
                found.append((key, stored.get("data", {})))
        for key, data in found:
            if "dependencies" in data and data.get("ask", "") not in {"", *distrusted}:
                self._add(data["ask"], data["dependencies"], key)
        self._index.put("meta", "traces", 1)


def _list(row: Any) -> list[Any]:
    return row if isinstance(row, list) else []


def _summary(changes: list[str], total: int) -> str:
    shown = ", ".join(changes[:3]) + (f" and {len(changes) - 3} more" if len(changes) > 3 else "")
    same = total - len(changes)
    return f"{shown}; {same} other inputs same" if same > 0 else shown
