"""Results of stages: records of the store, with a copy of their small part in the index.

The index row holds the digests of a result's files and its facts, so that a no-op run opens no record at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchexport.store.store import Record, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFacts:
    """The facts of an export. All digests are SHA-256, as 64 hex digits.

    `program` and `concrete_program` digest the graph without and with the sizes of the example; `state` the tensors by
    content, `layout` the same without content, `constants` those that compilation may fold. `modules` are to be
    imported before the archive is loaded. `structure` digests what capture could see of the model besides its weights,
    None where it can't be told. `weights_swapped`: the graph is that of an earlier export. `warnings` are lines for the
    report. `call` is how the program is called, see `job_json`. `auto` tells at which sizes it was called of dims whose
    range is left to torch, see `pipeline.auto_dims`.
    """

    program: str
    concrete_program: str
    state: str
    layout: str
    constants: str
    modules: Sequence[str]
    structure: str | None = None
    weights_swapped: bool = False
    stats: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    call: Mapping[str, Any] = field(default_factory=dict)
    auto: Mapping[str, Any] | None = None

    @property
    def parameter_bytes(self) -> int:
        """Return the bytes of all parameters, 0 where that is not known."""
        return int(self.stats.get("parameter_bytes", 0))

    def to_json(self) -> dict[str, Any]:
        return {
            "program": self.program,
            "skeleton": self.concrete_program,
            "state": self.state,
            "layout": self.layout,
            "folded": self.constants,
            "modules": list(self.modules),
            "likeness": self.structure,
            "reweighed": self.weights_swapped,
            "stats": dict(self.stats),
            "warnings": list(self.warnings),
            "call": dict(self.call),
            "auto": self.auto,
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> ExportFacts:
        """Read the facts of an export's record. Raises KeyError where one is missing."""
        return cls(
            program=facts["program"],
            concrete_program=facts["skeleton"],
            state=facts["state"],
            layout=facts["layout"],
            constants=facts["folded"],
            modules=facts["modules"],
            structure=facts.get("likeness"),
            weights_swapped=bool(facts.get("reweighed")),
            stats=facts.get("stats", {}),
            warnings=facts.get("warnings", ()),
            call=facts.get("call", {}),
            auto=facts.get("auto"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileFacts:
    """The facts of compiled code: how weights are packed beside it, or why they can't be exchanged.

    `packing` is what `pipeline.pack` reads: files, wrapper, blob, baked constants and the digest of the graph.
    """

    packing: Mapping[str, Any] | None
    why_fixed: str | None = None

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> CompileFacts:
        """Read the facts of a record of compiled code."""
        return cls(packing=None, why_fixed=facts["why"]) if "why" in facts else cls(packing=facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of one stage under one key: digests of its files by name, and its facts."""

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
        """Return the result of a key, or None."""
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
        """Return the whole record of a result if all its blobs exist; otherwise forget the result and return None."""
        record = self._store.lookup(kind, key)
        if record is None:
            self.forget(kind, key)
        return record

    def forget(self, kind: str, key: str) -> None:
        """Drop a result from memory and index."""
        self._known.pop((kind, key), None)
        self._store.index.delete(f"result-{kind}", key)

    def remove(self, kind: str, key: str) -> None:
        """Remove a result and its record; its blobs are left to gc. Raises StoreError."""
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
        """Store a result; `more` goes into the record only. Raises DiskFull, StoreError."""
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
