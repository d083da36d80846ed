"""Check whether dependencies are unchanged: whether each still has the digest that was recorded of it."""

from __future__ import annotations

import importlib.machinery
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from batchexport.core.digests import (
    bytes_digest,
    file_digest,
    listing_digest,
    stat_identity,
    text_digest,
    tree_digest,
)
from batchexport.dependencies.dependency import Dependency, DependencyKind, Row, canonical_order
from batchexport.store.index import Index
from batchexport.store.statcache import IndexedStats
from batchexport.toolchain.distributions import Distributions

_MODULE_SUFFIXES = tuple(importlib.machinery.all_suffixes())
# Kinds whose subject is a path that another manifest, import path or user would have found elsewhere.
_FOUND_BY_LOCATION = (
    DependencyKind.SOURCE,
    DependencyKind.FILE,
    DependencyKind.LISTING,
    DependencyKind.PRESENT,
    DependencyKind.ABSENT,
)
_FILE_LABELS = {DependencyKind.SOURCE: "source", DependencyKind.FILE: "data", DependencyKind.WEIGHTS: "weights"}


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


class DependencyChecker:
    """Compares stored dependencies with the present state. Each distinct row is checked once.

    Several traces may have recorded one file with different contents; the file is hashed once all the same.
    """

    def __init__(self, *, root: str, path: Sequence[str], index: Index, checked: CheckedFiles | None = None) -> None:
        """Check against the manifest's folder `root` and the rest of the import path, `path`.

        The index remembers digests between commands, `checked` those that this command has already computed.
        """
        self._root = root
        self._path = path
        self._trees = index
        self._remembered = IndexedStats(index, "file")
        self._checked = CheckedFiles() if checked is None else checked
        self._distributions = Distributions(path)
        self._reasons: dict[tuple[object, ...], str | None] = {}
        self._names: dict[str, frozenset[str]] = {}
        self._checks: dict[DependencyKind, Callable[[Dependency], str | None]] = {
            DependencyKind.SOURCE: self._check_file,
            DependencyKind.FILE: self._check_file,
            DependencyKind.WEIGHTS: self._check_file,
            DependencyKind.LISTING: self._check_listing,
            DependencyKind.PRESENT: self._check_present,
            DependencyKind.ABSENT: self._check_absent,
            DependencyKind.NO_MODULE: self._check_missing_module,
            DependencyKind.NAMESPACE: self._check_namespace,
            DependencyKind.DISTRIBUTION: self._check_distribution,
            DependencyKind.ENVIRONMENT: self._check_environment,
            DependencyKind.LOCATION: self._check_location,
        }

    def change_reason(self, row: Row) -> str | None:
        """Return None if the dependency of a stored row is unchanged, else what changed, in words.

        A no-op run asks for thousands of rows, nearly all of them repeated, so a row is only parsed the first time.
        """
        key = tuple(row)
        if key not in self._reasons:
            self._reasons[key] = self._check(key)
        return self._reasons[key]

    def change_reasons(self, rows: Iterable[Row]) -> list[str]:
        """Return what changed, in the order of the rows."""
        return [reason for reason in map(self.change_reason, rows) if reason]

    def _check(self, row: Row) -> str | None:
        try:
            dependency = Dependency.from_row(row)
        except ValueError as error:
            return str(error)
        return self._checks[dependency.kind](dependency)

    def _check_present(self, dependency: Dependency) -> str | None:
        subject = dependency.subject
        return None if os.path.lexists(self._absolute(subject)) else f"{subject} is gone"

    def _check_absent(self, dependency: Dependency) -> str | None:
        subject = dependency.subject
        return f"{subject} appeared" if os.path.lexists(self._absolute(subject)) else None

    def _check_missing_module(self, dependency: Dependency) -> str | None:
        name = dependency.subject
        found = self._is_found(name, [self._root, *self._other_entries()]) or _is_editable(name)
        return f"module {name} can be imported now" if found else None

    def _check_namespace(self, dependency: Dependency) -> str | None:
        name = dependency.subject
        found = self._is_found(name, self._other_entries()) or _is_editable(name)
        return f"package {name} is in more than one place now" if found else None

    def _other_entries(self) -> list[str]:
        """Return the entries of the import path besides the manifest's folder."""
        root = os.path.normpath(self._root)
        return [entry for entry in self._path if os.path.normpath(entry) != root]

    def _check_listing(self, dependency: Dependency) -> str | None:
        _, subject, (names,) = dependency
        try:
            same = listing_digest(self._absolute(subject)) == names
        except OSError:
            return f"folder {subject} is gone"
        return None if same else f"the files in folder {subject} changed"

    def _check_environment(self, dependency: Dependency) -> str | None:
        _, name, (recorded,) = dependency
        value = os.environ.get(name)
        same = recorded == (None if value is None else text_digest(value))
        return None if same else f"environment variable {name} changed"

    def _check_location(self, dependency: Dependency) -> str | None:
        same = dependency.subject == location_digest(self._root, self._path)
        return None if same else "the manifest's folder, the import path or the user changed"

    def _check_file(self, dependency: Dependency) -> str | None:
        kind, subject, (recorded, *tree) = dependency
        path = self._absolute(subject)
        label = _FILE_LABELS[kind]
        try:
            content = self.file_digest(path)
            if content == recorded or (kind is DependencyKind.SOURCE and [self._tree(path, content)] == tree):
                return None
        except FileNotFoundError:
            return f"{label}: {subject} is gone"
        except OSError as error:
            return f"{label}: {subject} can't be read ({error.strerror})"
        return f"{label}: {subject} changed"

    def _tree(self, path: str, content: str) -> str:
        """Return the digest of the syntax tree of the file whose bytes have the digest `content`."""
        known = self._trees.get("tree", content)
        if isinstance(known, str):
            return known
        source = Path(path).read_bytes()
        tree = tree_digest(source)
        if bytes_digest(source) == content:  # else the file was edited after it was hashed
            self._trees.put("tree", content, tree)
        return tree

    def file_digest(self, path: str) -> str:
        """Return the SHA-256 of a file, without reading it if its stat is unchanged. Raises OSError."""
        stat = os.stat(path)
        return self._known(path, stat) or self._remember(path, stat, file_digest(path))

    def prehash(self, subjects: Iterable[str]) -> None:
        """Hash those of these files whose digests are unknown, several at a time, as hashlib releases the GIL."""
        stats = {path: os.stat(path) for path in map(self._absolute, subjects) if os.path.isfile(path)}
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

    def _check_distribution(self, dependency: Dependency) -> str | None:
        _, name, (version, record) = dependency
        found = self._distributions.get(name)
        if found is None:
            return f"distribution {name} is not installed any more"
        if found.version != version:
            return f"distribution {name} {version} → {found.version}"
        try:
            content = self.file_digest(found.record)
        except OSError:
            content = ""  # as `Distribution.digest` returns it
        return None if content == record else f"distribution {name} {version} was reinstalled with other content"

    def _is_found(self, name: str, entries: Iterable[str]) -> bool:
        """Return True if one of the folders contains a module or a folder of this name."""
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


def relative_to(root: str, dependencies: Iterable[Dependency], path: Sequence[str]) -> list[Dependency]:
    """Return the dependencies as they are stored: paths below `root` relative to it, in canonical order.

    Files elsewhere may have been found through `root`, the import path or the user's home, and other ones would lead
    to other files. If there are any such paths, a dependency on the location is added.
    """
    folders = (os.path.normpath(root), os.path.realpath(root))
    found = [dependency._replace(subject=_relative(dependency.subject, folders)) for dependency in dependencies]
    if any(kind in _FOUND_BY_LOCATION and os.path.isabs(subject) for kind, subject, _ in found):
        found.append(Dependency(DependencyKind.LOCATION, location_digest(root, path)))
    return canonical_order(found)


def _relative(subject: str, folders: Iterable[str]) -> str:
    for folder in folders:
        if subject == folder:
            return "."
        if subject.startswith(folder.rstrip("/") + "/"):
            return subject[len(folder.rstrip("/")) + 1 :]
    return subject


def location_digest(root: str, path: Sequence[str]) -> str:
    """Return a digest of all that absolute paths depend on: the manifest's folder, the import path and the user."""
    user = [os.environ.get(name) for name in ("HOME", "USER", "LOGNAME")]
    return text_digest("\0".join(map(repr, [os.path.normpath(root), list(path), user])))


def _is_editable(name: str) -> bool:
    """Return True if an editable install, which no folder on the path shows, provides a module of this name."""
    finders = [finder for finder in sys.meta_path if "__editable__" in getattr(finder, "__module__", "")]
    return any(finder.find_spec(name, None) is not None for finder in finders)
