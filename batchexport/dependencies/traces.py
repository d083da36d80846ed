"""A trace tells what one export was seen to depend on; if all of it is as it was, the export stands.

Traces are kept in the index under the request key (spec + toolchain), newest first. Their dependencies are
sets shared between jobs, so that thousands of jobs over the same files are checked by looking once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchexport.core.keys import digest
from batchexport.dependencies.checker import DependencyChecker
from batchexport.store.store import Store

KEPT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceHit:
    """An export whose every dependency is unchanged."""

    export_key: str
    set_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceMiss:
    """No export stands, and why, in words; `known` tells whether there was a trace at all.

    `weights_only_base`: the key of an export of which nothing changed but weight files.
    """

    reason: str
    known: bool
    weights_only_base: str | None = None


class Traces:
    """The traces of a store, held against the present checker."""

    def __init__(self, store: Store, checker: DependencyChecker) -> None:
        self._index = store.index
        self._checker = checker
        self._rows: dict[str, list[Any]] = {}
        self._sets: dict[str, list[Any] | None] = {}
        self._changes: dict[str, list[str]] = {}
        if self._index.get("meta", "traces") is None:
            self._rebuild(store)

    def prefetch(self, request_keys: Iterable[str]) -> None:
        """Read the traces of many request keys at once."""
        rows = self._index.get_many("trace", request_keys)
        self._rows.update((request_key, _list(row)) for request_key, row in rows.items())
        wanted = {trace[0] for row in self._rows.values() for trace in row}
        self._sets.update(self._index.get_many("set", wanted - set(self._sets)))
        known = [dependencies for dependencies in self._sets.values() if dependencies is not None]
        self._checker.prehash({row[1] for dependencies in known for row in dependencies if row[0] == "weights"})

    def find(self, request_key: str) -> TraceHit | TraceMiss:
        """Whether an earlier export of `request_key` stands."""
        row = self._rows[request_key] if request_key in self._rows else _list(self._index.get("trace", request_key))
        reason = weights_only_base = None
        for set_key, export_key in row:
            changes = self._changed(set_key)
            if not changes:
                return TraceHit(export_key=export_key, set_key=set_key)
            if reason is None:
                reason = _words(changes, len(self._sets.get(set_key) or ()))
            if weights_only_base is None and self._is_weights_alone(set_key):
                weights_only_base = str(export_key)
        return TraceMiss(reason=reason or "never built", known=reason is not None, weights_only_base=weights_only_base)

    def refresh(self, request_key: str) -> None:
        """Another process may have added to the traces of `request_key`."""
        self._rows.pop(request_key, None)

    def add(self, request_key: str, dependencies: Sequence[Any], export_key: str) -> None:
        """Keep a new trace, in front of the older ones."""
        set_key = digest("set", 1, dependencies)
        row = [trace for trace in _list(self._index.get("trace", request_key)) if trace[0] != set_key]
        row = [[set_key, export_key], *row][:KEPT]
        self._index.put("set", set_key, dependencies)
        self._index.put("trace", request_key, row)
        self._rows[request_key] = row
        self._sets[set_key] = list(dependencies)

    def drop(self, request_key: str) -> None:
        """No export of `request_key` stands any more."""
        self._index.delete("trace", request_key)
        self._rows[request_key] = []

    def _is_weights_alone(self, set_key: str) -> bool:
        """Whether all that changed of a set, which is there, are weight files."""
        dependencies = self._sets.get(set_key)
        if dependencies is None:
            return False
        return all(each[0] == "weights" for each in dependencies if self._checker.change_reason(each))

    def _changed(self, set_key: str) -> list[str]:
        if set_key not in self._changes:
            dependencies = self._sets.get(set_key)
            if dependencies is None:
                dependencies = self._sets[set_key] = self._index.get("set", set_key)
            if dependencies is None:
                return ["its trace was lost"]
            self._changes[set_key] = self._checker.change_reasons(dependencies)
        return self._changes[set_key]

    def _rebuild(self, store: Store) -> None:
        """The index is new, or was lost: the records know all of it."""
        found: list[tuple[str, Mapping[str, Any]]] = []
        distrusted = set()
        for kind, key, stored in store.records.iterate():
            if kind == "distrust":
                distrusted.add(key)
            elif kind == "export":
                found.append((key, stored.get("data", {})))
        for key, data in found:
            if "dependencies" in data and data.get("ask", "") not in {"", *distrusted}:
                self.add(data["ask"], data["dependencies"], key)
        self._index.put("meta", "traces", 1)


def _list(row: Any) -> list[Any]:
    return row if isinstance(row, list) else []


def _words(changes: list[str], total: int) -> str:
    shown = ", ".join(changes[:3]) + (f" and {len(changes) - 3} more" if len(changes) > 3 else "")
    same = total - len(changes)
    return f"{shown}; {same} other inputs same" if same > 0 else shown
