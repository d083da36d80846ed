"""A cache that may not be written: it serves what it holds, nothing in it changes, and nothing is left beside it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.projects import GUARD, Project

pytestmark = pytest.mark.process

# Root may write everything, so the command is told what another user would find.
READ_ONLY = """
from pathlib import Path
from batchexport.store.layout import Layout
Layout.is_read_only = property(lambda self: self.root == Path.cwd() / "cache")
from batchexport.cli.main import main
main()
"""
MODELS = """
from torch import nn


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        return self.linear(x)
"""
ENTRY = 'name = "layer"\nmodel = "layers:Layer"'


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A temporary folder with a short path, in which nothing is left."""
    with tempfile.TemporaryDirectory(prefix="t-") as folder:
        yield Path(folder)
        assert list(Path(folder).iterdir()) == []


def _contents(folder: Path) -> dict[Path, str]:
    """What the files of a cache hold, but for the index, in which SQLite changes counters where it can."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "index"]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_read_only_cache_serves_all_that_stores_no_file(tmp_path: Path, temporary: Path) -> None:
    project = Project(tmp_path)
    project.write("layers.py", MODELS)
    project.manifest(ENTRY)
    assert project.run().code == 0
    before = _contents(tmp_path / "cache")

    def served(verb: str, *options: str) -> tuple[int, str]:
        ended = subprocess.run(
            [sys.executable, "-c", READ_ONLY, verb, "manifest.toml", *options],
            cwd=tmp_path,
            env=project.environment(TMPDIR=str(temporary)),
            capture_output=True,
            text=True,
            timeout=GUARD,
            check=False,
        )
        return ended.returncode, ended.stdout + ended.stderr

    for verb, options, code, said in (
        ("plan", (), 0, "1 up to date"),
        ("ls", (), 0, "layer@cpu"),
        ("explain", ("layer@cpu",), 0, "cached: inputs unchanged"),
        ("logs", ("layer@cpu", "--stage", "export"), 0, "logs/layer@cpu/export.log (export, "),
        ("show", ("layer@cpu",), 0, "exported.pt2"),
        ("run", (), 0, "everything cached"),
        ("verify", (), 0, "export cached  verify 0."),
        ("verify", ("--rebuild-sample", "1.0"), 0, "1 job rebuilt: 1 the same"),
        ("run", ("--force",), 1, "cache is read-only, and this stage has to run; make it writable or choose another"),
    ):
        ended, text = served(verb, *options)
        assert ended == code, text
        assert said in text
        assert "Traceback" not in text
    assert _contents(tmp_path / "cache") == before
