"""A world is a project as it should be on disk; `sync` makes it so, writing only what differs.

BASE/project/       the manifest's folder: models, data, weights, the manifests `kept.toml` and `clean.toml`
BASE/side, first    folders on the import path
BASE/third/site-packages
BASE/kept, clean    each with a cache and outputs, of the two builds that must agree
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from differential.package import BY_FILE, USES, M
from differential.source import Source

MANIFESTS = ("kept", "clean")
_NOT_CAPTURED = ("name", "tags", "compile", "verify", "weights", "checkpoints")


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    target: str


Item = Source | Link | bytes


@dataclass(slots=True)
class State:
    """All that edits change: files by path below the base, entries of the manifest, environment, import path."""

    files: dict[str, Item] = field(default_factory=dict)
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    head: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    path: list[str] = field(default_factory=list)


class World:
    """A state and its folder."""

    def __init__(self, base: Path, state: State) -> None:
        self.base = base
        self.state = state
        self._count = 0
        self._written: dict[str, Item | bytes] = {}
        self._visited: set[tuple[str, str]] = set()

    # ── what edits ask ───────────────────────────────────────────────────────────────────────

    def fresh(self) -> int:
        """A number that was not given before."""
        self._count += 1
        return self._count

    def number(self) -> str:
        """A fresh number between 1 and 2 as text of always the same length; no binary rounding is in it."""
        return f"{1 + self.fresh() / 4096:.12f}"

    def source(self, path: str) -> Source:
        """The Python file at `path`."""
        found = self.state.files[path]
        assert isinstance(found, Source)
        return found

    def content(self, path: str) -> bytes:
        """The bytes of the data file at `path`."""
        found = self.state.files[path]
        assert isinstance(found, bytes)
        return found

    def is_revisited(self, *what: object) -> bool:
        """Whether this was asked of the same thing before."""
        key = (str(what[0]), repr(what[1:]))
        known = key in self._visited
        self._visited.add(key)
        return known

    @property
    def jobs(self) -> dict[str, str]:
        """Job name → entry id."""
        return {name: entry for entry, table in self.state.entries.items() for name in _names(table)}

    def jobs_of(self, *entries: str) -> list[str]:
        """The jobs of some entries."""
        return [job for job, entry in self.jobs.items() if entry in entries]

    def users(self, path: str) -> list[str]:
        """The jobs that may depend on the file at `path`; none where another module is loaded in its place."""
        by_file = self.source(M + "senses.py").values["LATE"] in BY_FILE
        if by_file and path == M + "late/__init__.py":
            return []
        late = path == M + "late.py" and by_file
        if path.removesuffix(".py") + "/__init__.py" in self.state.files and not late:
            return []
        return self.jobs_of(*(entry for entry, uses in USES.items() if path.startswith(uses)))

    def identity(self, job: str) -> str:
        """What a job stays when its entry gets another name."""
        return f"{self.jobs[job]}[{_checkpoint(job)}]"

    def meaning(self, job: str) -> str:
        """A digest of all that the export of a job may depend on."""
        entry = self.jobs[job]
        uses = USES[entry]
        table = self.state.entries[entry]
        files = [
            [path, item.meaning() if isinstance(item, Source) else repr(item)]
            for path, item in sorted(self.state.files.items())
            if path.startswith(uses)
        ]
        weights = table.get("weights") or table.get("checkpoints", {}).get(_checkpoint(job))
        parts = [
            files,
            {key: value for key, value in table.items() if key not in _NOT_CAPTURED},
            [weights, repr(self.state.files["project/" + weights])] if weights else None,
            {name: value for name, value in self.state.env.items() if name.startswith((*uses, "OMP_NUM_THREADS"))},
            self.state.path if "side/" in USES[entry] else None,
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def snapshot(self) -> State:
        """A copy of the state."""
        return deepcopy(self.state)

    # ── the folder ───────────────────────────────────────────────────────────────────────────

    def sync(self) -> None:
        """Make the folder as the state says."""
        wanted: dict[str, Item] = {**self.state.files}
        for name in MANIFESTS:
            wanted[f"project/{name}.toml"] = self.manifest(name).encode()
        for path in set(self._written) - set(wanted):
            (self.base / path).unlink()
            self._prune((self.base / path).parent)
        for path, item in wanted.items():
            form = item.text() if isinstance(item, Source) else item
            if self._written.get(path) != form:
                self._write(self.base / path, form)
        self._written = {path: item.text() if isinstance(item, Source) else item for path, item in wanted.items()}

    @staticmethod
    def _prune(folder: Path) -> None:
        """A package that is gone leaves no folder behind: it would be a package still."""
        if all(item.name == "__pycache__" for item in folder.iterdir()):
            shutil.rmtree(folder)

    @staticmethod
    def _write(path: Path, form: Item) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(form, Link):
            path.unlink(missing_ok=True)
            path.symlink_to(form.target)
        elif isinstance(form, bytes):
            path.write_bytes(form)

    def manifest(self, name: str) -> str:
        """The text of a manifest; the two differ in the folder of their outputs."""
        lines = [*self.state.head, "schema = 1", "", "[output]", f'dir = "../{name}/outputs"']
        for entry, table in self.state.entries.items():
            lines += ["", "[[entry]]", *(f"{key} = {_toml(value)}" for key, value in {"name": entry, **table}.items())]
        return "\n".join(lines) + "\n"


def _names(table: dict[str, Any]) -> Iterator[str]:
    name = table["name"]
    if "checkpoints" not in table:
        yield f"{name}@cpu"
    for checkpoint in table.get("checkpoints", {}):
        yield f"{name}[{checkpoint}]@cpu"


def _checkpoint(job: str) -> str:
    return job.partition("[")[2].partition("]")[0]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
