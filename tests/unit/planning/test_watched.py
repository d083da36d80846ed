"""What `watch` looks at, from the dependencies that are recorded."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from batchexport.core.options import RunOptions
from batchexport.dependencies.dependency import Dependency, DependencyKind
from batchexport.planning.session import open_session
from batchexport.planning.watched import Watched, of_manifest, of_session
from support.builders import key

MANIFEST = """
schema = 1
cache = { dir = "cache" }
defaults.inputs.x = { shape = [2] }
entry = [{ name = "a", model = "models:A" }, { name = "b", model = "models:B" }]
"""


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunOptions:
    monkeypatch.delenv("BATCHEXPORT_CACHE_DIR", raising=False)
    (tmp_path / "manifest.toml").write_text(MANIFEST)
    for name in ("models.py", "tables/one.txt", "parts/more.py", ".hidden/x.py", "env/pyvenv.cfg", "env/lib.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("1")
    return RunOptions(manifest=tmp_path / "manifest.toml")


def look(options: RunOptions, *built: str) -> Watched:
    """What is watched once the entries `built` have been exported, with the files of the project as dependencies."""
    with open_session(options) as session:
        kinds = [
            (DependencyKind.SOURCE, "models.py", "1", "1"),
            (DependencyKind.LISTING, "tables", "1"),
            (DependencyKind.ABSENT, "parts/none/gone.txt"),
            (DependencyKind.FILE, "/proc/cpuinfo", "1"),
            (DependencyKind.DISTRIBUTION, "numpy", "1", "1"),
        ]
        rows = [Dependency(kind=kind, subject=subject, digests=digests) for kind, subject, *digests in kinds]
        for job in session.jobs:
            if job.entry in built:
                session.traces.add(session.lookup.request_key(job), rows, key(job.entry))
        return of_session(session)


def test_files_that_were_read_and_entries_of_folders_that_were_listed_concern_a_run(options: RunOptions) -> None:
    found, root = look(options, "a", "b"), options.manifest.parent
    for name in ("manifest.toml", "models.py", "tables/new.txt", "parts/none/gone.txt"):
        assert found.concerns(str(root / name)), name
    for name in ("other.txt", "parts/new.txt", "dist/tables/x", "/proc/cpuinfo"):
        assert not found.concerns(str(root / name)), name
    assert {str(root), str(root / "tables"), str(root / "parts")} <= found.folders
    assert not any(folder.startswith("/proc") for folder in found.folders)


def test_every_source_file_concerns_a_job_that_was_not_built_as_it_stands(options: RunOptions) -> None:
    found, root = look(options, "a"), options.manifest.parent
    assert found.concerns(str(root / "parts" / "new.py"))
    assert not found.concerns(str(root / "parts" / "new.txt"))
    below = {os.path.relpath(folder, root) for folder in found.folders}
    assert "parts" in below
    assert not below & {".hidden", "env"}


def test_nothing_that_the_run_itself_writes_concerns_it(options: RunOptions) -> None:
    found, root = look(options), options.manifest.parent
    for folder in ("dist", "cache"):
        assert not found.concerns(str(root / folder / "x.py"))
        assert not any(watched.startswith(str(root / folder)) for watched in found.folders)


def test_an_edit_since_a_moment_is_found_without_an_event(tmp_path: Path) -> None:
    path = tmp_path / "manifest.toml"
    path.write_text("1")
    found = of_manifest(path)
    assert found.changed_since(time.time() - 60) == [str(path)]
    assert found.changed_since(time.time() + 60) == []
