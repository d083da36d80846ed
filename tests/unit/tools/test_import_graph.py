"""The import counter: what counts as an import, what as a border, and the limits that the package keeps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from import_graph import borders, imports, modules, room

TOOL = Path(__file__).parents[3] / "tools" / "import_graph.py"
KNOWN = ["p", "p.a", "p.a.x", "p.b.y"]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import p.a.x", {"p.a.x"}),
        ("from p.a import x", {"p.a.x"}),
        ("from p.a.x import name", {"p.a.x"}),
        ("from p.a import name", {"p.a"}),
        ("def f():\n    from p.b import y", {"p.b.y"}),
        ("if TYPE_CHECKING:\n    from p.b.y import T", {"p.b.y"}),
        ("import os, json\nfrom other import p", set()),
    ],
)
def test_imports_are_found_wherever_they_stand(source: str, found: set[str]) -> None:
    assert imports(source, KNOWN) == found


def test_a_room_is_a_folder_or_a_module_of_the_top_folder() -> None:
    assert [room(name) for name in ("p.store.blobs", "p.store", "p.api", "p")] == ["store", "store", "api", "p"]


def test_only_imports_between_rooms_count() -> None:
    graph = {"p.a.x": ["p.a.z", "p.b.y"], "p.a.z": ["p.b.y"], "p.b.y": []}
    assert borders(graph) == {("a", "b"): 2}


def test_modules_are_named_by_their_path(tmp_path: Path) -> None:
    for name in ("p/__init__.py", "p/a/__init__.py", "p/a/x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(modules(tmp_path / "p")) == ["p", "p.a", "p.a.x"]


@pytest.mark.parametrize(("limit", "code"), [("400", 0), ("1", 1)])
def test_the_package_keeps_its_limits(limit: str, code: int) -> None:
    command = [sys.executable, str(TOOL), "--max-imports", limit, "--max-arrows", "46"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout
