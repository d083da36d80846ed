"""Report the mistakes of an entry where the user wrote them: in the entry, its matrix or the defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchexport.manifest.document import Diagnostics
from batchexport.manifest.locations import KeyPath as Place
from batchexport.manifest.matrix import Axis


class EntryDiagnostics:
    """Collects the mistakes of one entry. `picks` are the values of its matrix in the current variant."""

    def __init__(self, mistakes: Diagnostics, index: int, raw: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self._mistakes = mistakes
        self.index = index
        self._base: Place = ("entry", index)
        self._raw = raw
        self._defaults = defaults
        self.picks: tuple[tuple[Axis, int], ...] = ()

    def __len__(self) -> int:
        return len(self._mistakes)

    def say(self, path: Place, message: str, hint: str | None = None, *, key: bool = False) -> None:
        self._mistakes.error_at(self._written(path, key), message, hint)

    def _written(self, path: Place, key: bool) -> Place:
        for axis, index in self.picks:
            length = len(axis.keys)
            if path[:length] == axis.keys:
                value = () if key and len(path) == length else (index,)
                return (*self._origin(axis.where), *axis.where, *value, *path[length:])
            if key and axis.keys[: len(path)] == path and not _holds(self._raw, path):
                return (*self._origin(axis.where), *axis.where)  # only the matrix sets this key
        return (*self._origin(path), *path)

    def _origin(self, path: Place) -> Place:
        return ("defaults",) if not _holds(self._raw, path) and _holds(self._defaults, path) else self._base


def _holds(tree: Any, path: Place) -> bool:
    for key in path:
        if isinstance(tree, dict):
            if key not in tree:
                return False
            tree = tree[key]
        elif isinstance(tree, list) and isinstance(key, int) and key < len(tree):
            tree = tree[key]
        else:
            return False
    return True
