"""Remember digests of files, each valid while the file's stat is unchanged."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from batchexport.core.digests import stat_identity
from batchexport.store.layout import is_digest

if TYPE_CHECKING:
    from batchexport.store.index import Index

# A file changed again within one tick of its timestamps looks unchanged, so young files are not remembered.
RACY_SECONDS = 2.0


class StatCache(Protocol):
    """A memory of the digests of files."""

    def get(self, path: Path, stat: os.stat_result) -> str | None:
        """Return the digest that `path` had when its stat was `stat`, or None."""
        ...

    def put(self, path: Path, stat: os.stat_result, digest: str) -> None:
        """Remember `digest`, computed from `path` after `stat` was taken."""
        ...


class IndexedStats:
    """A stat cache in one space of the index."""

    def __init__(self, index: Index, space: str) -> None:
        self._index = index
        self._space = space
        self._rows: dict[str, Any] = {}

    def prefetch(self, paths: Iterable[str]) -> None:
        """Read the rows of many files at once, for later gets."""
        self._rows.update(self._index.get_many(self._space, paths))

    def get(self, path: Path, stat: os.stat_result) -> str | None:
        """Return the remembered digest, or None if the file is unknown or has changed."""
        name = str(path)
        row = self._rows[name] if name in self._rows else self._index.get(self._space, name)
        if not isinstance(row, list) or row[:-1] != stat_identity(stat) or not is_digest(row[-1]):
            return None
        digest: str = row[-1]
        return digest

    def put(self, path: Path, stat: os.stat_result, digest: str) -> None:
        """Remember `digest`, unless the file is so young that a later change might not show in its stat."""
        self._rows.pop(str(path), None)
        if is_settled(stat, time.time()):
            self._index.put(self._space, str(path), [*stat_identity(stat), digest])


def is_settled(stat: os.stat_result, now: float) -> bool:
    """Return True if the file's last change is more than two seconds before `now` (Unix time, in seconds)."""
    return max(stat.st_mtime, stat.st_ctime) + RACY_SECONDS < now
