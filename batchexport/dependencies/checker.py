"""Check whether dependencies are unchanged: whether each still has the digest that was recorded of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence

from batchexport.dependencies.answers import (
    NO,
    OwnFiles,
    current_stat,
    exists,
    is_system,
    link_text,
    listed_kinds,
    listing,
    names_answer,
    read_error,
    text_answer,
    variables_digest,
)
from batchexport.dependencies.dependency import Dependency, DependencyKind, Row, canonical_order
from batchexport.dependencies.file_digests import CheckedFiles, FileDigests
from batchexport.dependencies.installed import Installed
from batchexport.store.index import Index

__all__ = ["CheckedFiles", "DependencyChecker", "location_digest", "relative_to"]

# Kinds whose subject is a path that another manifest, import path or user would have found elsewhere.
_FOUND_BY_LOCATION = (
    DependencyKind.SOURCE,
    DependencyKind.FILE,
    DependencyKind.UNREADABLE,
    DependencyKind.LISTING,
    DependencyKind.KINDS,
    DependencyKind.PRESENT,
    DependencyKind.ABSENT,
    DependencyKind.STAT,
    DependencyKind.ACCESS,
    DependencyKind.LINK,
)
_FILE_LABELS = {DependencyKind.SOURCE: "source", DependencyKind.FILE: "data", DependencyKind.WEIGHTS: "weights"}


class DependencyChecker:
    """Compares stored dependencies with the present state. Each distinct row is checked once.

    Several traces may have recorded one file with different contents; the file is hashed once all the same.
    """

    def __init__(
        self,
        *,
        root: str,
        path: Sequence[str],
        index: Index,
        checked: CheckedFiles | None = None,
        output_dir: str = "",
        cache: str = "",
    ) -> None:
        """Check against the manifest's folder `root` and the rest of the import path, `path`.

        The index remembers digests between commands, `checked` those that this command has already computed. What
        batchexport writes into `output_dir` and `cache`, both absolute, is left out of listings.
        """
        self._root = root
        self._path = path
        self._own = OwnFiles.of(output_dir, cache)
        self._files = FileDigests(index, CheckedFiles() if checked is None else checked)
        self._installed = Installed(root, path)
        self._reasons: dict[tuple[object, ...], str | None] = {}
        self._checks: dict[DependencyKind, Callable[[Dependency], str | None]] = {
            DependencyKind.SOURCE: self._check_file,
            DependencyKind.FILE: self._check_file,
            DependencyKind.WEIGHTS: self._check_file,
            DependencyKind.UNREADABLE: self._check_unreadable,
            DependencyKind.LISTING: self._check_listing,
            DependencyKind.KINDS: self._check_kinds,
            DependencyKind.PRESENT: self._check_present,
            DependencyKind.ABSENT: self._check_absent,
            DependencyKind.STAT: self._check_stat,
            DependencyKind.ACCESS: self._check_access,
            DependencyKind.LINK: self._check_link,
            DependencyKind.NO_MODULE: self._check_missing_module,
            DependencyKind.NAMESPACE: self._check_namespace,
            DependencyKind.DISTRIBUTION: self._check_distribution,
            DependencyKind.METADATA: self._check_metadata,
            DependencyKind.ENTRY_POINTS: self._check_entry_points,
            DependencyKind.INSTALLED: self._check_installed,
            DependencyKind.MODULES: self._installed.moved_module,
            DependencyKind.ENVIRONMENT: self._check_environment,
            DependencyKind.VARIABLES: self._check_variables,
            DependencyKind.MACHINE: self._check_machine,
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
        return None if exists(self._absolute(subject)) else f"{subject} is gone"

    def _check_absent(self, dependency: Dependency) -> str | None:
        subject = dependency.subject
        return f"{subject} appeared" if os.path.lexists(self._absolute(subject)) else None

    def _check_unreadable(self, dependency: Dependency) -> str | None:
        _, subject, (error,) = dependency
        now = read_error(self._absolute(subject))
        return None if now == error else f"{subject}: opening it gave {error}, now {now or 'it can be read'}"

    def _check_stat(self, dependency: Dependency) -> str | None:
        _, subject, (question, answer) = dependency
        same = current_stat(question or "", self._absolute(subject)) == answer
        if same:
            return None
        if question == "exists":
            return f"{subject} appeared" if answer == NO else f"{subject} is gone"
        return f"{(question or '').lstrip('@')} of {subject} changed"

    def _check_access(self, dependency: Dependency) -> str | None:
        _, subject, (mode, answer) = dependency
        now = "yes" if os.access(self._absolute(subject), int(mode or 0)) else NO
        return None if now == answer else f"the permissions of {subject} changed"

    def _check_link(self, dependency: Dependency) -> str | None:
        _, subject, (text,) = dependency
        return None if link_text(self._absolute(subject)) == text else f"link {subject} leads elsewhere"

    def _check_missing_module(self, dependency: Dependency) -> str | None:
        name = dependency.subject
        found = self._installed.provides(name) or _is_editable(name)
        return f"module {name} can be imported now" if found else None

    def _check_namespace(self, dependency: Dependency) -> str | None:
        name = dependency.subject
        found = self._installed.provides(name, root=False) or _is_editable(name)
        return f"package {name} is in more than one place now" if found else None

    def _check_listing(self, dependency: Dependency) -> str | None:
        _, subject, (names,) = dependency
        try:
            same = listing(self._absolute(subject), self._own) == names
        except OSError:
            return f"folder {subject} is gone"
        return None if same else f"the files in folder {subject} changed"

    def _check_kinds(self, dependency: Dependency) -> str | None:
        _, subject, (kinds,) = dependency
        same = listed_kinds(self._absolute(subject), self._own) == kinds
        return None if same else f"the files in folder {subject} changed, or what they are"

    def _check_metadata(self, dependency: Dependency) -> str | None:
        _, name, (version,) = dependency
        now = self._installed.distributions.version(name)
        return (
            None if now == version else f"distribution {name} {version or 'not installed'} → {now or 'not installed'}"
        )

    def _check_entry_points(self, dependency: Dependency) -> str | None:
        _, group, (recorded,) = dependency
        same = names_answer(self._installed.entry_points(group)) == recorded
        return None if same else f"the entry points of {group} changed"

    def _check_installed(self, dependency: Dependency) -> str | None:
        _, what, (recorded,) = dependency
        same = names_answer(self._installed.named(what)) == recorded
        return None if same else "other distributions are installed"

    def _check_variables(self, dependency: Dependency) -> str | None:
        _, own, (names,) = dependency
        same = variables_digest(os.environ, own.split()) == names
        return None if same else "other environment variables are set"

    def _check_machine(self, dependency: Dependency) -> str | None:
        _, question, (recorded,) = dependency
        from batchexport.dependencies import machine  # few models need it, and a no-op run pays for every import

        now = machine.answer(question)
        return None if now is not None and text_answer(now) == recorded else f"{question} of the machine changed"

    def _check_environment(self, dependency: Dependency) -> str | None:
        _, name, (recorded,) = dependency
        value = os.environ.get(name)
        same = recorded == (None if value is None else text_answer(value))
        return None if same else f"environment variable {name} changed"

    def _check_location(self, dependency: Dependency) -> str | None:
        same = dependency.subject == location_digest(self._root, self._path)
        return None if same else "the manifest's folder, the import path or the user changed"

    def _check_file(self, dependency: Dependency) -> str | None:
        kind, subject, (recorded, *tree) = dependency
        path = self._absolute(subject)
        label = _FILE_LABELS[kind]
        try:
            content = self._files.digest(path)
            if content == recorded or (kind is DependencyKind.SOURCE and [self._files.tree(path, content)] == tree):
                return None
        except FileNotFoundError:
            return f"{label}: {subject} is gone"
        except OSError as error:
            return f"{label}: {subject} can't be read ({error.strerror})"
        return f"{label}: {subject} changed"

    def _check_distribution(self, dependency: Dependency) -> str | None:
        _, name, (version, record) = dependency
        found = self._installed.distributions.get(name)
        if found is None:
            return f"distribution {name} is not installed any more"
        if found.version != version:
            return f"distribution {name} {version} → {found.version}"
        same = self._files.record_digest(found.record) == record
        return None if same else f"distribution {name} {version} was reinstalled with other content"

    def prefetch(self, rows: Iterable[Row]) -> None:
        """Read what is remembered of the files of many rows at once, before these are checked."""
        self._files.prefetch({self._absolute(row[1]) for row in rows if row[0] in _FILE_LABELS})

    def prehash(self, subjects: Iterable[str]) -> None:
        """Hash the files among these subjects whose digests are unknown."""
        self._files.prehash(map(self._absolute, subjects))

    def _absolute(self, subject: str) -> str:
        if subject == ".":
            return self._root
        return subject if subject.startswith("/") else os.path.join(self._root, subject)


def relative_to(root: str, dependencies: Iterable[Dependency], path: Sequence[str]) -> list[Dependency]:
    """Return the dependencies as they are stored: paths below `root` relative to it, in canonical order.

    Files elsewhere may have been found through `root`, the import path or the user's home, and other ones would lead
    to other files. If there are any such paths, a dependency on the location is added.
    """
    folders = (os.path.normpath(root), os.path.realpath(root))
    found = [dependency._replace(subject=_relative(dependency.subject, folders)) for dependency in dependencies]
    outside = (subject for kind, subject, _ in found if kind in _FOUND_BY_LOCATION and os.path.isabs(subject))
    if not all(map(is_system, outside)):
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
    return text_answer("\0".join(map(repr, [os.path.normpath(root), list(path), user])))


def _is_editable(name: str) -> bool:
    """Return True if an editable install, which no folder on the path shows, provides a module of this name."""
    finders = [finder for finder in sys.meta_path if "__editable__" in getattr(finder, "__module__", "")]
    return any(finder.find_spec(name, None) is not None for finder in finders)
