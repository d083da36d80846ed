"""The facts that a result keeps beside its files, typed; the names in their JSON form are those that records use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFacts:
    """What an export found out about its model. All digests are SHA-256, as 64 hex digits.

    `program` and `concrete_program` digest the graph without and with the sizes of the example; `state` the tensors by
    content, `layout` the same without content, `constants` those that compilation may fold. `modules` are to be
    imported before the archive is loaded. `structure` digests what capture could see of the model besides its weights,
    None where it can't be told. `weights_swapped`: the graph is that of an earlier export.
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
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileFacts:
    """How weights are packed beside compiled code, or why they can't be exchanged.

    `packing` is what `pipeline.pack` reads: files, wrapper, blob, baked constants and the digest of the graph.
    """

    packing: Mapping[str, Any] | None
    why_fixed: str | None = None

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> CompileFacts:
        """Read the facts of a record of compiled code."""
        return cls(packing=None, why_fixed=facts["why"]) if "why" in facts else cls(packing=facts)
