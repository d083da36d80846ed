"""A trace's dependency is unchanged exactly when looking at it again gives the digest it was recorded with.

A dependency is a JSON list `[kind, subject, …digests]`, paths relative to the manifest's folder where
they lie in it:

- `["source", path, bytes, tree]`  a first-party Python file; the same syntax tree is the same file
- `["file", path, bytes]`          any other file that was read
- `["weights", path, bytes]`       a weight file; state ids stand for it in keys
- `["listing", path, names]`       a folder that was listed
- `["present", path]`              what was looked for and there, and not read
- `["absent", path]`               what was looked for and not there
- `["no-module", name]`            a top-level module that could not be imported
- `["namespace", name]`            a package without `__init__.py` in the manifest's folder, and nowhere else
- `["distribution", name, version, record]`
- `["environment", name, value digest or null]`
- `["place", digest]`              where all this was observed, where any path is not relative
"""

from __future__ import annotations

import importlib.machinery
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from batchexport.core.digests import (
    bytes_digest,
    file_digest,
    listing_digest,
    stat_identity,
    text_digest,
    tree_digest,
)
from batchexport.core.keys import SOURCE_VERSION, digest
from batchexport.toolchain.distributions import Distributions

Dependency = Sequence[Any]
Hashed = dict[str, tuple[list[int], str]]  # by path: stat, and SHA-256
_MODULE_SUFFIXES = tuple(importlib.machinery.all_suffixes())
_PLACED = ("source", "file", "listing", "present", "absent")


class Trees(Protocol):
    """A memory of syntax-tree digests by the digest of the bytes they were parsed from."""

    def get(self, space: str, key: str) -> Any | None: ...
    def put(self, space: str, key: str, value: Any) -> None: ...


class FileDigests(Protocol):
    """A memory of file digests that is only right while the file's stat is unchanged."""

    def get(self, path: Path, stat: os.stat_result) -> str | None: ...
    def put(self, path: Path, stat: os.stat_result, digest: str) -> None: ...


class DependencyChecker:
    """The present state of everything that dependencies speak of; each thing is looked at once.

    A file is hashed once, too, as long as its stat stays: several traces may remember it with other content.
    """

    def __init__(
        self, *, root: str, path: Sequence[str], files: FileDigests, trees: Trees, hashed: Hashed | None = None
    ) -> None:
        """`root` is the manifest's folder, `path` the rest of the import path, `hashed` what this command knows."""
        self._root = root
        self._path = path
        self._files = files
        self._trees = trees
        self._distributions = Distributions(path)
        self._reasons: dict[tuple[Any, ...], str | None] = {}
        self._names: dict[str, frozenset[str]] = {}
        self._hashed: Hashed = {} if hashed is None else hashed
        self._looks: dict[str, Callable[..., str | None]] = {
            "source": self._look_at_file,
            "file": self._look_at_file,
            "weights": self._look_at_file,
            "listing": self._look_at_listing,
            "present": self._look_for,
            "absent": self._look_for,
            "no-module": self._look_for_module,
            "namespace": self._look_for_module,
            "distribution": self._look_at_distribution,
            "environment": self._look_at_environment,
            "place": self._look_at_place,
        }

    def change_reason(self, dependency: Dependency) -> str | None:
        """None where the dependency is as it was recorded, else what changed, in words."""
        key = tuple(dependency)
        if key not in self._reasons:
            self._reasons[key] = self._look(dependency)
        return self._reasons[key]

    def change_reasons(self, dependencies: Iterable[Dependency]) -> list[str]:
        """What changed, in the order given."""
        return [reason for reason in map(self.change_reason, dependencies) if reason]

    def _look(self, dependency: Dependency) -> str | None:
        kind, subject, *digests = dependency
        look = self._looks.get(kind)
        return look(kind, subject, *digests) if look else f"unknown kind of dependency {kind!r}"

    def _look_for(self, kind: str, subject: str) -> str | None:
        there = os.path.lexists(self._absolute(subject))
        return None if there == (kind == "present") else f"{subject} {'appeared' if there else 'is gone'}"

    def _look_for_module(self, kind: str, name: str) -> str | None:
        root = os.path.normpath(self._root)
        elsewhere = [entry for entry in self._path if os.path.normpath(entry) != root]
        if kind == "namespace":
            found = self._is_found(name, elsewhere) or _is_editable(name)
            return f"package {name} is in more than one place now" if found else None
        found = self._is_found(name, [self._root, *elsewhere]) or _is_editable(name)
        return f"module {name} can be imported now" if found else None

    def _look_at_listing(self, kind: str, subject: str, names: str) -> str | None:
        try:
            same = listing_digest(self._absolute(subject)) == names
        except OSError:
            return f"folder {subject} is gone"
        return None if same else f"the files in folder {subject} changed"

    def _look_at_environment(self, kind: str, name: str, recorded: str | None) -> str | None:
        value = os.environ.get(name)
        same = recorded == (None if value is None else text_digest(value))
        return None if same else f"environment variable {name} changed"

    def _look_at_place(self, kind: str, recorded: str) -> str | None:
        same = recorded == location_digest(self._root, self._path)
        return None if same else "the manifest's folder, the import path or the user changed"

    def _look_at_file(self, kind: str, subject: str, *digests: str) -> str | None:
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
        source = Path(path).read_bytes()
        tree = tree_digest(source)
        if bytes_digest(source) == content:  # or it was edited a moment ago
            self._trees.put("tree", content, tree)
        return tree

    def file_digest(self, path: str) -> str:
        """SHA-256 of a file, from the stat cache where its stat is unchanged. Raises OSError."""
        stat = os.stat(path)
        return self._known(path, stat) or self._learn(path, stat, file_digest(path))

    def prehash(self, subjects: Iterable[str]) -> None:
        """Hash those of these files that have to be read, several at a time: hashlib gives up the GIL."""
        stats = {path: os.stat(path) for path in map(self._absolute, subjects) if os.path.isfile(path)}
        unknown = {path: stat for path, stat in stats.items() if self._known(path, stat) is None}
        if len(unknown) < 2:
            return
        from concurrent.futures import ThreadPoolExecutor

        with suppress(OSError), ThreadPoolExecutor() as threads:  # who asks for a file meets what is wrong with it
            for (path, stat), content in zip(unknown.items(), threads.map(file_digest, unknown), strict=True):
                self._learn(path, stat, content)

    def _known(self, path: str, stat: os.stat_result) -> str | None:
        then, content = self._hashed.get(path, ([], ""))
        return content if then == stat_identity(stat) else self._files.get(Path(path), stat)

    def _learn(self, path: str, stat: os.stat_result, content: str) -> str:
        """Remember the content of a file that had this stat before it was hashed."""
        if os.stat(path).st_mtime_ns == stat.st_mtime_ns:
            self._hashed[path] = (stat_identity(stat), content)
            self._files.put(Path(path), stat, content)
        return content

    def _look_at_distribution(self, kind: str, name: str, version: str, record: str) -> str | None:
        found = self._distributions.get(name)
        if found is None:
            return f"distribution {name} is not installed any more"
        if found.version != version:
            return f"distribution {name} {version} → {found.version}"
        try:
            content = self.file_digest(found.record)
        except OSError:
            content = ""  # as `Distribution.digest` says it
        return None if content == record else f"distribution {name} {version} was installed anew with other content"

    def _is_found(self, name: str, entries: Iterable[str]) -> bool:
        """Whether one of the folders has a module, or a folder, of this name."""
        for entry in entries:
            if entry not in self._names:
                try:
                    self._names[entry] = frozenset(os.listdir(entry))
                except OSError:
                    self._names[entry] = frozenset()
            names = self._names[entry]
            if name in names or any(name + suffix in names for suffix in _MODULE_SUFFIXES):
                return True
        return False

    def _absolute(self, subject: str) -> str:
        return subject if subject.startswith("/") else os.path.join(self._root, subject)


def relative_to(root: str, dependencies: Iterable[Dependency], path: Sequence[str]) -> list[list[Any]]:
    """The dependencies with paths below `root` made relative to it, in canonical order.

    What lies elsewhere may have been found from `root`, from the import path or from the user's home, and
    would be found elsewhere from others: such dependencies only hold for the same `place`.
    """
    folders = (os.path.normpath(root), os.path.realpath(root))
    rows = [[kind, _relative(subject, folders), *rest] for kind, subject, *rest in dependencies]
    if any(kind in _PLACED and os.path.isabs(subject) for kind, subject, *_ in rows):
        rows.append(["place", location_digest(root, path)])
    return in_order(rows)


def in_order(rows: Iterable[list[Any]]) -> list[list[Any]]:
    """The canonical order of dependencies."""
    return sorted(rows, key=lambda row: [str(part) for part in row])


def _relative(subject: str, folders: Iterable[str]) -> str:
    for folder in folders:
        if subject == folder:
            return "."
        if subject.startswith(folder.rstrip("/") + "/"):
            return subject[len(folder.rstrip("/")) + 1 :]
    return subject


def location_digest(root: str, path: Sequence[str]) -> str:
    """Digest of what absolute paths are made from: the manifest's folder, the import path and whose they are."""
    whose = [os.environ.get(name) for name in ("HOME", "USER", "LOGNAME")]
    return text_digest("\0".join(map(repr, [os.path.normpath(root), list(path), whose])))


def _is_editable(name: str) -> bool:
    """Whether an editable install, which no folder on the path shows, provides a module of this name."""
    finders = [finder for finder in sys.meta_path if "__editable__" in getattr(finder, "__module__", "")]
    return any(finder.find_spec(name, None) is not None for finder in finders)


def source_digest(dependencies: Iterable[Dependency]) -> str:
    """The source part of an export key: syntax trees for Python files, bytes for the rest, no weight files."""
    parts = []
    for kind, subject, *rest in dependencies:
        if kind == "source":
            parts.append([kind, subject, rest[1]])
        elif kind != "weights":
            parts.append([kind, subject, *rest])
    return digest("source", SOURCE_VERSION, parts)
