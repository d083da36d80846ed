"""Installed distributions with version and RECORD digest, read from the folders on the import path.

`importlib.metadata` gives the same answers, but importing it costs a third of what a no-op run may take.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from batchexport.core.digests import file_digest, text_digest

_SUFFIXES = (".dist-info", ".egg-info")


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One installed distribution; `record` is the file whose digest stands for its content."""

    name: str
    version: str
    root: str
    record: str

    @property
    def digest(self) -> str:
        """Return the digest of RECORD; see `record_digest`."""
        return record_digest(self.record)


# Rows of RECORD for files that tell how and from where a distribution was installed, not what.
_HOW = (".dist-info/RECORD", ".dist-info/INSTALLER", ".dist-info/REQUESTED", ".dist-info/direct_url.json")


def record_digest(path: str) -> str:
    """Return the digest of RECORD, or of the file that stands for it; "" if it can't be read.

    RECORD lists the SHA-256 of every installed file (PEP 376).
    Files outside the folder that packages are imported from don't count: scripts in bin/ name their environment in the
    first line. Neither does compiled bytecode.
    """
    try:
        if not path.endswith("RECORD"):
            return file_digest(path)
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    names = ((line, line.partition(",")[0]) for line in lines)
    return text_digest(
        "\n".join(
            sorted(line for line, name in names if not name.startswith("../") and not name.endswith((".pyc", *_HOW)))
        )
    )


def normalized(name: str) -> str:
    """Return the canonical form of a distribution's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


class Distributions:
    """The distributions installed in some folders; as in an import, the first of a name wins."""

    def __init__(self, roots: Iterable[str]) -> None:
        self._roots = tuple(dict.fromkeys(roots))

    @cached_property
    def by_name(self) -> dict[str, Distribution]:
        """Return the distributions by normalized name."""
        found: dict[str, Distribution] = {}
        for root in self._roots:
            try:
                names = sorted(os.listdir(root))
            except OSError:
                continue
            for entry in names:
                stem, suffix = os.path.splitext(entry)
                name, _, version = stem.partition("-")
                if suffix not in _SUFFIXES or not version:
                    continue
                folder = os.path.join(root, entry)
                found.setdefault(
                    normalized(name),
                    Distribution(
                        name=normalized(name),
                        version=version.partition("-py")[0],
                        root=root,
                        record=folder if suffix == ".egg-info" and os.path.isfile(folder) else _record(folder),
                    ),
                )
        return found

    def get(self, name: str) -> Distribution | None:
        """Return the distribution of that name, or None if it is not installed."""
        return self.by_name.get(normalized(name))

    def version(self, name: str) -> str | None:
        """Return the version of the distribution of that name, or None if it is not installed."""
        found = self.get(name)
        return None if found is None else found.version

    def stamp(self) -> str:
        """Return a digest that changes when anything is installed, replaced or removed; reads no file."""
        paths = [*self._roots, *(distribution.record for distribution in self.by_name.values())]
        return text_digest(repr([(path, _modified(path)) for path in paths]))

    @cached_property
    def owners(self) -> dict[tuple[str, str], list[Distribution]]:
        """Return the distributions by root and top-level package or module. This reads every RECORD."""
        owners: dict[tuple[str, str], list[Distribution]] = {}
        for distribution in self.by_name.values():
            for top in _top_levels(distribution.record):
                owners.setdefault((distribution.root, top), []).append(distribution)
        return owners

    def of_file(self, path: str) -> list[Distribution]:
        """Return the distributions that own the top-level package or module of `path`."""
        for root in self._roots:
            if path.startswith(root + "/"):
                top = path[len(root) + 1 :].partition("/")[0]
                return self.owners.get((root, top), [])
        return []


def _modified(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def _record(folder: str) -> str:
    record = os.path.join(folder, "RECORD")
    return record if os.path.exists(record) else os.path.join(folder, "METADATA")


def _top_levels(record: str) -> set[str]:
    if not record.endswith("RECORD"):
        return set()
    try:
        lines = Path(record).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    tops = {line.partition(",")[0].partition("/")[0].strip('"') for line in lines}
    return {top for top in tops if top and top != ".." and not top.endswith(_SUFFIXES)}
