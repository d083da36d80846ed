"""Digests of files for checks: each file is hashed once, and not at all while its stat is as remembered."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from batchexport.core.digests import bytes_digest, file_digest, stat_identity, tree_digest
from batchexport.store.index import Index
from batchexport.store.statcache import IndexedStats
from batchexport.toolchain import distributions


class CheckedFiles:
    """Digests of the files that this command has hashed, each valid while the file's stat is unchanged.

    The index can't serve for this, as it doesn't store the digests of files younger than two seconds.
    """

    def __init__(self) -> None:
        self._digests: dict[str, tuple[list[int], str]] = {}

    def get(self, path: str, stat: os.stat_result) -> str | None:
        """Return the digest that `path` had when its stat was `stat`, or None if this command did not hash it."""
        known = self._digests.get(path)
        return known[1] if known is not None and known[0] == stat_identity(stat) else None

    def put(self, path: str, stat: os.stat_result, digest: str) -> None:
        """Add the digest of `path`, computed after `stat` was taken."""
        self._digests[path] = (stat_identity(stat), digest)


class FileDigests:
    """Digests that the index remembers between commands, and `checked` within this one."""

    def __init__(self, index: Index, checked: CheckedFiles) -> None:
        self._index = index
        self._remembered = IndexedStats(index, "file")
        self._checked = checked

    def prefetch(self, paths: Iterable[str]) -> None:
        """Read what the index remembers of many files at once."""
        self._remembered.prefetch(paths)

    def tree(self, path: str, content: str) -> str:
        """Return the digest of the syntax tree of the file whose bytes have the digest `content`."""
        known = self._index.get("tree", content)
        if isinstance(known, str):
            return known
        source = Path(path).read_bytes()
        tree = tree_digest(source)
        if bytes_digest(source) == content:  # else the file was edited after it was hashed
            self._index.put("tree", content, tree)
        return tree

    def digest(self, path: str) -> str:
        """Return the SHA-256 of a file, without reading it if its stat is unchanged. Raises OSError."""
        stat = os.stat(path)
        return self._known(path, stat) or self._remember(path, stat, file_digest(path))

    def prehash(self, paths: Iterable[str]) -> None:
        """Hash those of these files whose digests are unknown, several at a time, as hashlib releases the GIL."""
        stats = {path: os.stat(path) for path in paths if os.path.isfile(path)}
        unknown = {path: stat for path, stat in stats.items() if self._known(path, stat) is None}
        if len(unknown) < 2:
            return
        from concurrent.futures import ThreadPoolExecutor

        with suppress(OSError), ThreadPoolExecutor() as threads:  # the check of an unreadable file reports the error
            for (path, stat), content in zip(unknown.items(), threads.map(file_digest, unknown), strict=True):
                self._remember(path, stat, content)

    def _known(self, path: str, stat: os.stat_result) -> str | None:
        return self._checked.get(path, stat) or self._remembered.get(Path(path), stat)

    def _remember(self, path: str, stat: os.stat_result, content: str) -> str:
        """Remember the digest of a file that was hashed after `stat` was taken, unless it changed meanwhile."""
        if os.stat(path).st_mtime_ns == stat.st_mtime_ns:
            self._checked.put(path, stat, content)
            self._remembered.put(Path(path), stat, content)
        return content

    def record_digest(self, path: str) -> str:
        """Return `distributions.record_digest` of a file, without reading it if its stat is unchanged."""
        try:
            content = self.digest(path)
        except OSError:
            return distributions.record_digest(path)
        known = self._index.get("record", content)
        if not isinstance(known, str):
            known = distributions.record_digest(path)
            self._index.put("record", content, known)
        return known
