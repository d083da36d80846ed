"""The tally counts models by verdict and refusals by kind, and keeps every violation with what reproduces it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fuzz.model import Model
from fuzz.verdict import SORTS, Violation


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts and findings of one run."""

    seed: int
    folder: str
    verdicts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    features: dict[str, Counter[str]] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    def add(
        self, model: Model, job: Mapping[str, Any], plain: Mapping[str, str | None] | None, found: list[Violation]
    ) -> None:
        """Count a model; `plain` is how far torch alone gets with it."""
        error = job["error"]
        verdict = "ok" if job["ok"] else "refused"
        self.verdicts[verdict] += 1
        if error is not None:
            self.kinds[f"{error['stage']}: {error['kind']}"] += 1
            alone = next((f"{step}: {said}" for step, said in (plain or {}).items() if said), "is right")
            told = f"{error['stage']}: {error['kind']}: {error['message']}"
            self.refusals.append(f"{model.number} {told} | torch alone: {alone} [{', '.join(model.features)}]")
        for name in model.features:
            self.features.setdefault(name, Counter())[verdict] += 1
        for one in found:
            self.findings.append(
                {"sort": one.sort, "number": model.number, "text": one.text, "features": list(model.features)}
            )

    def lines(self) -> Iterator[str]:
        """What there is to say, the most serious findings first."""
        yield "models: " + _counts(self.verdicts)
        yield "refused at: " + _counts(self.kinds)
        if self.notes:
            yield "notes: " + _counts(self.notes)
        never = sorted(name for name, counts in self.features.items() if not counts["ok"])
        if never:
            yield "never ok: " + ", ".join(f"{name} ({self.features[name]['refused']})" for name in never)
        for sort, meaning in SORTS.items():
            found = [one for one in self.findings if one["sort"] == sort]
            yield f"{sort}: {len(found)} ({meaning})"
            for one in found:
                where = f"--seed {self.seed} --only {one['number']}"
                yield f"  {where} {self.folder}/n{one['number']:05}.py: {one['text']} [{', '.join(one['features'])}]"

    def to_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "seed": self.seed,
            "verdicts": dict(self.verdicts),
            "kinds": dict(self.kinds),
            "notes": dict(self.notes),
            "features": {name: dict(counts) for name, counts in self.features.items()},
            "findings": self.findings,
            "refusals": self.refusals,
        }


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "none"
