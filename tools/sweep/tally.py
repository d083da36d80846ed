"""Judge each type from what the product reports and what plain torch does with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DELIVERED, LOST = "delivered", "LOST: plain torch exports it"
TOLD, UNTOLD = "neither, with a remedy", "NEITHER, AND NO REMEDY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The product's report on each type, what plain torch said of those that were refused, and what was not built."""

    reports: Mapping[str, Mapping[str, Any]]
    plain: Mapping[str, Any]
    unbuilt: Mapping[str, str]

    def verdicts(self) -> dict[str, str]:
        """Return the verdict on each type that builds."""
        return {name: _verdict(report, self.plain.get(name)) for name, report in self.reports.items()}

    def faults(self) -> list[str]:
        """Return the types that are lost or refused without a remedy."""
        return [name for name, verdict in self.verdicts().items() if verdict in (LOST, UNTOLD)]

    def lines(self) -> list[str]:
        """Return a line for each type that is not delivered, and the counts."""
        found = self.verdicts()
        lines = []
        for name, report in self.reports.items():
            if (error := report["error"]) is not None:
                lines.append(f"{name}: {found[name]}; {error['kind']}: {error['message']}; {error['remedy']}")
        held = [
            name
            for name, report in self.reports.items()
            if any("and the artifacts hold for" in one for one in report.get("warnings", ()))
        ]
        counts = [f"{count:4} {verdict}" for verdict, count in Counter(found.values()).most_common()]
        kinds = Counter(report["error"]["kind"] for report in self.reports.values() if report["error"])
        lines += ["", f"{len(found):4} types build with a tiny configuration, {len(self.unbuilt)} do not", *counts]
        lines.append(f"{len(held):4} of those delivered hold for one size only: {', '.join(held) or 'none'}")
        lines.append(
            f"     not delivered, by kind: {', '.join(f'{kind} {count}' for kind, count in kinds.items()) or 'none'}"
        )
        return lines


def _verdict(report: Mapping[str, Any], plain: Any) -> str:
    if report["ok"]:
        return DELIVERED
    if plain is True:
        return LOST
    return TOLD if (report["error"] or {}).get("remedy") else UNTOLD
