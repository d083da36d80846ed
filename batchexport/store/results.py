"""A result is a record of the store, remembered in the index so that a no-op run opens no record at all.

The index row of a result is a copy of the small part of its record: digests of its files, and facts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchexport.store.facts import CompileFacts, ExportFacts
from batchexport.store.store import Record, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one stage gave under one key: digests of its files by name, and its facts."""

    key: str
    files: Mapping[str, str]
    facts: Mapping[str, Any]

    @property
    def export_facts(self) -> ExportFacts:
        """Return the facts of an export. Raises KeyError where this is no export."""
        return ExportFacts.from_json(self.facts)

    @property
    def compile_facts(self) -> CompileFacts:
        """Return the facts of compiled code."""
        return CompileFacts.from_json(self.facts)


class Results:
    """Results by kind (export, compile, verify) and key."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str], Result | None] = {}

    def prefetch(self, kind: str, keys: Iterable[str]) -> None:
        """Read the rows of many keys at once."""
        wanted = [key for key in set(keys) if (kind, key) not in self._known]
        for key, row in self._store.index.get_many(f"result-{kind}", wanted).items():
            self._known[kind, key] = _parsed(key, row)

    def get(self, kind: str, key: str) -> Result | None:
        """The result of a key, or None where there is none."""
        found = self._known.get((kind, key))
        if found is None:
            found = _parsed(key, self._store.index.get(f"result-{kind}", key))
        if found is None:
            record = self._store.lookup(kind, key)
            if record is not None:
                found = self._remember(kind, record)
        self._known[kind, key] = found
        return found

    def record(self, kind: str, key: str) -> Record | None:
        """The whole record, its blobs seen to be there; a result whose record is gone is forgotten."""
        record = self._store.lookup(kind, key)
        if record is None:
            self.forget(kind, key)
        return record

    def forget(self, kind: str, key: str) -> None:
        """A result can't be had any more."""
        self._known.pop((kind, key), None)
        self._store.index.delete(f"result-{kind}", key)

    def remove(self, kind: str, key: str) -> None:
        """Take a result back, record and all; its blobs are left for `gc`. Raises StoreError."""
        self.forget(kind, key)
        self._store.records.remove(kind, key)

    def publish(
        self,
        kind: str,
        key: str,
        *,
        files: Mapping[str, Path],
        facts: Mapping[str, Any],
        more: Mapping[str, Any],
    ) -> Result:
        """Keep a result; `more` is what only the record holds. Raises DiskFull, StoreError."""
        record = self._store.publish(kind, key, files=files, data={"facts": dict(facts), **more})
        return self._remember(kind, record)

    def _remember(self, kind: str, record: Record) -> Result:
        files = {name: blob.digest for name, blob in record.files.items()}
        result = Result(key=record.key, files=files, facts=record.data.get("facts", {}))
        self._store.index.put(f"result-{kind}", record.key, {"files": files, "facts": dict(result.facts)})
        self._known[kind, record.key] = result
        return result


def _parsed(key: str, row: Any) -> Result | None:
    if not isinstance(row, dict) or not isinstance(row.get("files"), dict) or not isinstance(row.get("facts"), dict):
        return None
    return Result(key=key, files=row["files"], facts=row["facts"])
