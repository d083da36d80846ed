"""Define one dependency of a stage, the row it is stored as, and the canonical order of rows.

A row is a JSON list `[kind, subject, digest…]`. The child writes rows to its result file, the coordinator keeps them
in records and in the index. In a stored row, a path below the manifest's folder is relative to that folder.

- `["source", path, bytes, tree]`  a first-party Python file; only a change of its syntax tree counts
- `["file", path, bytes]`          any other file that was read
- `["weights", path, bytes]`       a weight file; keys contain its tensors' digests instead
- `["unreadable", path, error]`    a file that could not be opened, and the name of the error
- `["listing", path, names]`       a folder that was listed
- `["kinds", path, kinds]`         a folder of which it was asked what its entries are: files, folders, links
- `["present", path]`              a path that was probed and existed, but was not read
- `["absent", path]`               a path that was probed and did not exist
- `["stat", path, question, answer]`  what a stat was asked: see `batchexport.dependencies.answers`
- `["access", path, mode, answer]` what `os.access` was asked
- `["link", path, text]`           a link whose text was read
- `["no-module", name]`            a top-level module that could not be imported
- `["namespace", name]`            a package without `__init__.py`, in the manifest's folder only
- `["distribution", name, version, record]`  an installed distribution and the digest of its RECORD
- `["metadata", name, version]`    a distribution whose metadata was asked for, or null if it was not installed
- `["entry-points", group, digest]`  the entry points of a group, of all distributions
- `["installed", what, digest]`    the names of all distributions, or of all that lies in `site-packages`
- `["modules", distribution, names]`  installed modules that were imported; of the standard library if it is empty
- `["environment", name, value]`   a variable and the digest of its value, or null where it was unset
- `["variables", except, names]`   the names of all variables but those that batchexport sets
- `["machine", question, answer]`  a fact about the machine or the user: see `batchexport.dependencies.machine`
- `["place", digest]`              the location that absolute paths depend on: folder, import path and user
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from batchexport.core.keys import SOURCE_VERSION, digest

Row = Sequence[Any]


class DependencyKind(StrEnum):
    """The kinds of dependencies, as rows name them."""

    SOURCE = "source"
    FILE = "file"
    WEIGHTS = "weights"
    UNREADABLE = "unreadable"
    LISTING = "listing"
    KINDS = "kinds"
    PRESENT = "present"
    ABSENT = "absent"
    STAT = "stat"
    ACCESS = "access"
    LINK = "link"
    NO_MODULE = "no-module"
    NAMESPACE = "namespace"
    DISTRIBUTION = "distribution"
    METADATA = "metadata"
    ENTRY_POINTS = "entry-points"
    INSTALLED = "installed"
    MODULES = "modules"
    ENVIRONMENT = "environment"
    VARIABLES = "variables"
    MACHINE = "machine"
    LOCATION = "place"


_KINDS = {str(kind): kind for kind in DependencyKind}  # a call of the enum takes several times as long


class Dependency(NamedTuple):
    """A path, module, distribution or variable that a stage depends on, and the digests that were recorded of it.

    `digests` are the rest of the row, in its order: of a distribution, the version and the digest of its RECORD.
    """

    kind: DependencyKind
    subject: str
    digests: tuple[str | None, ...] = ()

    @classmethod
    def from_row(cls, row: Row) -> Dependency:
        """Parse a stored row. Raises ValueError if its kind is unknown, as one of a newer version may be."""
        try:
            return tuple.__new__(cls, (_KINDS[row[0]], row[1], tuple(row[2:])))  # twice as fast as a call of the class
        except KeyError:
            raise ValueError(f"unknown kind of dependency {row[0]!r}") from None

    @property
    def identity(self) -> tuple[str | None, ...]:
        """Return what tells this dependency from the others of a set; a path may have been asked several questions."""
        asks = self.kind in (DependencyKind.STAT, DependencyKind.ACCESS)
        return (self.kind, self.subject, self.digests[0] if asks else None)

    def to_row(self) -> list[str | None]:
        """Return the row to store: a list of JSON values."""
        return [str(self.kind), self.subject, *self.digests]


def canonical_order(dependencies: Iterable[Dependency]) -> list[Dependency]:
    """Sort dependencies in the order in which they are stored and hashed."""
    return sorted(dependencies, key=lambda dependency: [str(part) for part in dependency.to_row()])


def source_digest(dependencies: Iterable[Dependency]) -> str:
    """Return the source part of an export key: syntax trees of Python files, bytes of the rest, no weight files."""
    parts = []
    for dependency in dependencies:
        kind, subject, digests = dependency
        if kind is DependencyKind.SOURCE:
            _, tree = digests
            parts.append([str(kind), subject, tree])
        elif kind is not DependencyKind.WEIGHTS:
            parts.append(dependency.to_row())
    return digest("source", SOURCE_VERSION, parts)


def weight_files(rows: Iterable[Row]) -> set[str]:
    """Return the paths of the weight files among stored rows, without the cost of parsing the other rows."""
    return {row[1] for row in rows if row[0] == "weights"}


def without_weights(rows: Iterable[Row]) -> list[Row]:
    """Return the stored rows that are not about weight files."""
    return [row for row in rows if row[0] != "weights"]
