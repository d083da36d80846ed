"""Tell which files a manifest's jobs depend on, for `watch`: an edit of any other file can change no result."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from batchexport.dependencies.dependency import Row
from batchexport.dependencies.traces import TraceHit
from batchexport.dependencies.zones import within
from batchexport.planning.session import Session

_LISTED = frozenset({"listing", "kinds"})
_PATHS = frozenset({"source", "file", "weights", "unreadable", "present", "absent", "stat", "access", "link"}) | _LISTED
_VIRTUAL = ("/proc", "/sys", "/dev")  # where the kernel reports no change
_MOST_FOLDERS = 2_000  # below the manifest's; inotify allows 8,192 of a user's on small machines


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Absolute paths: `files` whose content or existence counts, `listed` folders whose entries do.

    `sources` is the folder below which every Python file counts, as a job there has never been built as it stands.
    Nothing in `ignored` folders counts. `folders` are those that hold all of it.
    """

    files: frozenset[str]
    listed: frozenset[str] = frozenset()
    sources: str | None = None
    ignored: tuple[str, ...] = ()
    folders: frozenset[str] = frozenset()

    def concerns(self, path: str) -> bool:
        """Return whether a change of `path` may change a result."""
        if any(within(path, folder) for folder in self.ignored):
            return False
        if path in self.files or os.path.dirname(path) in self.listed:
            return True
        return self.sources is not None and path.endswith(".py") and within(path, self.sources)

    def changed_since(self, moment: float) -> list[str]:
        """Return the files that were changed, or put in their place, after `moment` (Unix time)."""
        return sorted(path for path in self.files if self.concerns(path) and _changed(path) > moment)


def of_manifest(path: Path) -> Watched:
    """Return a manifest alone, as what to watch."""
    whole = os.path.abspath(path)
    return Watched(files=frozenset({whole}), folders=frozenset({os.path.dirname(whole)}))


def of_session(session: Session) -> Watched:
    """Return what the selected jobs of a session depend on; installed packages are left out."""
    manifest = session.manifest
    root = str(manifest.root)
    files, listed = {os.path.abspath(manifest.path)}, set()
    unbuilt = False
    for key in {session.lookup.request_key(job) for job in session.jobs}:
        rows = session.traces.last_used(key)
        for kind, path in _paths(rows, root):
            files.add(path)
            if kind in _LISTED:
                listed.add(path)
        unbuilt = unbuilt or not isinstance(session.traces.find(key), TraceHit)
    ignored = (str(manifest.output_dir), str(session.store.layout.root))
    folders = {_existing(os.path.dirname(path)) for path in files} | {_existing(path) for path in listed}
    if unbuilt:
        folders |= set(_source_folders(root, ignored))
    return Watched(
        files=frozenset(files),
        listed=frozenset(listed),
        sources=root if unbuilt else None,
        ignored=ignored,
        folders=frozenset(folder for folder in folders if not any(within(folder, other) for other in ignored)),
    )


def _paths(rows: Iterable[Row], root: str) -> Iterator[tuple[str, str]]:
    """Yield kind and absolute path of the rows that are about files."""
    for row in rows:
        if row[0] in _PATHS:
            path = os.path.normpath(os.path.join(root, row[1]))
            if not path.startswith(_VIRTUAL):
                yield row[0], path


def _source_folders(root: str, ignored: tuple[str, ...]) -> Iterator[str]:
    """Yield the manifest's folder and those below it with Python files, but no hidden ones and no environments."""
    for seen, (folder, names, files) in enumerate(os.walk(root), start=1):
        names[:] = sorted(
            name
            for name in names
            if not name.startswith((".", "__"))
            and os.path.join(folder, name) not in ignored
            and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
        )
        if folder == root or any(name.endswith(".py") for name in files):
            yield folder
        if seen == _MOST_FOLDERS:
            return


def _existing(folder: str) -> str:
    """Return the folder, or the nearest one above it that exists."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def _changed(path: str) -> float:
    try:
        return Path(path).stat().st_ctime
    except OSError:
        return 0.0
