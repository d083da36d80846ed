"""A trace's dependency is unchanged exactly when looking at it again gives the digest it was recorded with.

A dependency is a JSON list `[kind, subject, …digests]`, paths relative to the manifest's folder where
they lie in it:

- `["source", path, bytes, tree]`  a first-party Python file; the same syntax tree is the same file
- `["file", path, bytes]`          any other file that was read
- `["weights", path, bytes]`       a weight file; state ids stand for it in keys
- `["listing", path, names]`       a folder that was listed
- `["absent", path]`               what was looked for and not there
- `["no-module", name]`            a top-level module that could not be imported
- `["distribution", name, version, record]`
- `["environment", name, value digest or null]`
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from batchexport.digests import file_digest, listing_digest, text_digest, tree_digest
from batchexport.distributions import Distributions
from batchexport.keys import SOURCE_VERSION, digest

Dependency = Sequence[Any]
_MODULE_SUFFIXES = (".py", ".so", ".abi3.so", ".pyd")


class Trees(Protocol):
    """A memory of syntax-tree digests by the digest of the bytes they were parsed from."""

    def get(self, space: str, key: str) -> Any | None: ...
    def put(self, space: str, key: str, value: Any) -> None: ...


class FileDigests(Protocol):
    """A memory of file digests that is only right while the file's stat is unchanged."""

    def get(self, path: Path, stat: os.stat_result) -> str | None: ...
    def put(self, path: Path, stat: os.stat_result, digest: str) -> None: ...


class Surroundings:
    """The present state of everything that dependencies speak of; each thing is looked at once."""

    def __init__(self, *, root: str, path: list[str], files: FileDigests, trees: Trees) -> None:
        """`root` is the manifest's folder, `path` the rest of the import path."""
        self._root = root
        self._path = path
        self._files = files
        self._trees = trees
        self._distributions = Distributions(path)
        self._reasons: dict[tuple[Any, ...], str | None] = {}
        self._top_levels: set[str] | None = None

    def change(self, dependency: Dependency) -> str | None:
        """None where the dependency is as it was recorded, else what changed, in words."""
        key = tuple(dependency)
        if key not in self._reasons:
            self._reasons[key] = self._look(dependency)
        return self._reasons[key]

    def changes(self, dependencies: Iterable[Dependency]) -> list[str]:
        """What changed, in the order given."""
        return [reason for reason in map(self.change, dependencies) if reason]

    def _look(self, dependency: Dependency) -> str | None:
        kind, subject = dependency[0], dependency[1]
        if kind in ("source", "file", "weights"):
            return self._look_at_file(kind, subject, dependency[2:])
        if kind == "absent":
            return f"{subject} appeared" if os.path.lexists(self._absolute(subject)) else None
        if kind == "no-module":
            return f"module {subject} can be imported now" if self._importable(subject) else None
        if kind == "listing":
            try:
                same = listing_digest(self._absolute(subject)) == dependency[2]
            except OSError:
                return f"folder {subject} is gone"
            return None if same else f"the files in folder {subject} changed"
        if kind == "distribution":
            return self._look_at_distribution(subject, dependency[2], dependency[3])
        if kind == "environment":
            value = os.environ.get(subject)
            same = dependency[2] == (None if value is None else text_digest(value))
            return None if same else f"environment variable {subject} changed"
        return f"unknown kind of dependency {kind!r}"

    def _look_at_file(self, kind: str, subject: str, digests: Sequence[str]) -> str | None:
        path = self._absolute(subject)
        label = {"source": "source", "file": "data", "weights": "weights"}[kind]
        try:
            content = self.file_digest(path)
            if content == digests[0] or (kind == "source" and self._tree(path, content) == digests[1]):
                return None
        except FileNotFoundError:
            return f"{label}: {subject} is gone"
        except OSError as error:
            return f"{label}: {subject} can't be read ({error.strerror})"
        return f"{label}: {subject} changed"

    def _tree(self, path: str, content: str) -> str:
        known = self._trees.get("tree", content)
        if isinstance(known, str):
            return known
        tree = tree_digest(Path(path).read_bytes())
        self._trees.put("tree", content, tree)
        return tree

    def file_digest(self, path: str) -> str:
        """SHA-256 of a file, from the stat cache where its stat is unchanged. Raises OSError."""
        stat = os.stat(path)
        name = Path(path)
        known = self._files.get(name, stat)
        if known is not None:
            return known
        content = file_digest(path)
        if os.stat(path).st_mtime_ns == stat.st_mtime_ns:
            self._files.put(name, stat, content)
        return content

    def _look_at_distribution(self, name: str, version: str, record: str) -> str | None:
        found = self._distributions.get(name)
        if found is None:
            return f"distribution {name} is not installed any more"
        if found.version != version:
            return f"distribution {name} {version} → {found.version}"
        try:
            same = self.file_digest(found.record) == record
        except OSError:
            same = False
        return None if same else f"distribution {name} {version} was installed anew with other content"

    def _importable(self, name: str) -> bool:
        if self._top_levels is None:
            self._top_levels = set()
            for entry in (self._root, *self._path):
                try:
                    self._top_levels.update(os.listdir(entry))
                except OSError:
                    continue
        names = self._top_levels
        return name in names or any(name + suffix in names for suffix in _MODULE_SUFFIXES)

    def _absolute(self, subject: str) -> str:
        return subject if subject.startswith("/") else os.path.join(self._root, subject)


def relative_to(root: str, dependencies: Iterable[Dependency]) -> list[list[Any]]:
    """The dependencies with paths below `root` made relative to it, in canonical order."""
    prefix = root.rstrip("/") + "/"
    return sorted(
        [
            [kind, subject.removeprefix(prefix) if isinstance(subject, str) else subject, *rest]
            for kind, subject, *rest in dependencies
        ],
        key=lambda dependency: [str(part) for part in dependency],
    )


def source_digest(dependencies: Iterable[Dependency]) -> str:
    """The source part of an export key: syntax trees for Python files, bytes for the rest, no weight files."""
    parts = []
    for kind, subject, *rest in dependencies:
        if kind == "source":
            parts.append([kind, subject, rest[1]])
        elif kind != "weights":
            parts.append([kind, subject, *rest])
    return digest("source", SOURCE_VERSION, parts)
