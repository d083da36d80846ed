"""Explain a rebuild by what differs from the last build.

History never decides whether to build: losing it costs the explanation, not a result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from batchexport.store.index import Index

_SHOWN = 3
_SHORT = 32


class History:
    """The labelled components from which each job's stages were last built."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def remember(self, stage: str, job: str, components: Mapping[str, Any]) -> None:
        """Store the components (JSON-like) from which a stage of `job` was built."""
        self._index.put(f"last-{stage}", job, dict(components))

    def difference(self, stage: str, job: str, components: Mapping[str, Any]) -> str | None:
        """Return what differs from the last build, in words, or None if there was none."""
        last = self._index.get(f"last-{stage}", job)
        if not isinstance(last, dict):
            return None
        found = list(differences(last, components))
        if not found:
            return "the last result was not kept"
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return ", ".join(found[:_SHOWN]) + more


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Yield where two JSON-like values differ: `seed 0 → 1`, `dims.batch.max 8 → 16`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            inner = f"{path}.{key}" if path else str(key)
            if key not in old:
                yield f"{inner} is new"
            elif key not in new:
                yield f"{inner} is gone"
            else:
                yield from differences(old[key], new[key], inner)
    elif old != new:
        short = all(not isinstance(value, Mapping | list) and len(str(value)) <= _SHORT for value in (old, new))
        yield f"{path} {_word(old)} → {_word(new)}" if short else f"{path} changed"


def _word(value: Any) -> str:
    return "none" if value is None else str(value)
