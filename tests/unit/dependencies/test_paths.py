"""Paths: how calls of open and imports are translated."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest

from batchexport.dependencies import paths

READS, WRITES, BOTH = (True, False), (False, True), (True, True)
O = os  # noqa: E741 - the table below is about flags


@pytest.mark.parametrize(
    ("mode", "flags", "expected"),
    [
        ("r", O.O_RDONLY | O.O_CLOEXEC, READS),
        ("rb", O.O_RDONLY, READS),
        ("rb", 0, READS),
        ("w", O.O_WRONLY | O.O_CREAT | O.O_TRUNC, WRITES),
        ("wb", 0, WRITES),
        ("w+", O.O_RDWR | O.O_CREAT | O.O_TRUNC, WRITES),
        ("x", O.O_WRONLY | O.O_CREAT | O.O_EXCL, WRITES),
        ("x+", O.O_RDWR | O.O_CREAT | O.O_EXCL, WRITES),
        ("a", O.O_WRONLY | O.O_CREAT | O.O_APPEND, WRITES),
        ("a+", O.O_RDWR | O.O_CREAT | O.O_APPEND, BOTH),
        ("r+", O.O_RDWR, BOTH),
        ("rb+", 0, BOTH),
        (None, O.O_RDONLY, READS),
        (None, O.O_RDONLY | O.O_DIRECTORY, READS),
        (None, O.O_WRONLY | O.O_CREAT, WRITES),
        (None, O.O_RDWR, BOTH),
        (None, O.O_RDWR | O.O_CREAT, BOTH),
        (None, O.O_RDWR | O.O_CREAT | O.O_EXCL, WRITES),
        (None, O.O_RDWR | O.O_TRUNC, WRITES),
        (None, None, READS),
    ],
)
def test_an_open_reads_what_was_there_or_writes_or_both(
    mode: str | None, flags: int | None, expected: tuple[bool, bool]
) -> None:
    assert paths.access(mode, flags) == expected


@pytest.mark.parametrize("given", ["data", b"data", Path("data"), "./data", "sub/../data"])
def test_a_relative_path_is_resolved_in_the_working_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str | bytes | Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert paths.absolute(given) == str(tmp_path / "data")


def test_a_descriptor_is_resolved_to_its_file(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        assert paths.absolute(descriptor) == str(tmp_path)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("given", [None, 10**9, -1, 1.5, object()])
def test_an_argument_that_is_not_a_path_has_none(given: object) -> None:
    assert paths.absolute(given) is None


@pytest.mark.parametrize("change", ["content", "other file", "time", "mode"])
def test_a_signature_changes_with_the_file(tmp_path: Path, change: str) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    os.utime(path, (1, 1))
    then = paths.signature(str(path))
    assert paths.signature(str(path)) == then
    if change == "content":
        path.write_text("two")
        os.utime(path, (1, 1))
    elif change == "other file":
        (tmp_path / "other").write_text("one")
        os.utime(tmp_path / "other", (1, 1))
        (tmp_path / "other").replace(path)
    elif change == "time":
        os.utime(path, (2, 2))
    else:
        path.chmod(0o600)
    assert paths.signature(str(path)) != then


@pytest.mark.parametrize("path", ["/none", "/etc/hosts/none", "/a\0b"])
def test_a_missing_file_has_no_signature(path: str) -> None:
    assert paths.signature(path) is None


def test_the_path_of_a_module_is_its_file_and_no_lazy_module_is_loaded() -> None:
    class Lazy(types.ModuleType):
        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"{name} was accessed")

    plain = types.ModuleType("plain")
    plain.__file__ = "/p/sub/../plain.py"
    relative = types.ModuleType("relative")
    relative.__file__ = "_ops.py"
    assert paths.module_path("plain", plain) == "/p/plain.py"
    assert paths.module_path("__main__", plain) is None
    for name, module in {"relative": relative, "lazy": Lazy("lazy"), "none": None, "thing": object()}.items():
        assert paths.module_path(name, module) is None


def test_the_folder_of_a_package_is_the_one_above_it() -> None:
    assert paths.folder_of_module("/p/models/__init__.py") == "/p"
    assert paths.folder_of_module("/p/models/bert.py") == "/p/models"
    assert paths.folder_of_module("/p/fast.cpython-311.so") == "/p"


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that is first on the import path, with an empty one before it."""
    for name in ("before", "project", "after"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path / name) for name in ("before", "project", "after")])
    return tmp_path / "project"


def shadows(name: str, path: Path, folder: Path) -> set[str]:
    """The missing paths that would be imported instead of a module, relative to `folder`."""
    found = paths.missing_paths(paths.shadowing_paths(name, str(path)))
    return {str(Path(shadow).relative_to(folder)) for shadow in found}


def test_a_module_is_shadowed_by_what_comes_before_it_on_the_path_and_in_its_folder(project: Path) -> None:
    (project / "bert.py").touch()
    found = shadows("bert", project / "bert.py", project.parent)
    extensions = {f"bert{suffix}" for suffix in paths._EXTENSIONS}
    packages = {f"bert/__init__{suffix}" for suffix in (".py", *paths._EXTENSIONS)}
    assert found == {
        "before/bert.py", *(f"before/{name}" for name in extensions | packages),
        *(f"project/{name}" for name in extensions | packages),
    }  # fmt: skip


def test_a_package_is_shadowed_by_what_comes_before_it_on_the_path(project: Path) -> None:
    found = shadows("models", project / "models/__init__.py", project.parent)
    extensions = {f"project/models/__init__{suffix}" for suffix in paths._EXTENSIONS}
    assert extensions <= found
    assert {name.partition("/")[0] for name in found - extensions} == {"before"}


def test_a_submodule_is_shadowed_inside_of_its_package(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.ModuleType("models")
    package.__path__ = [str(project / "models")]
    monkeypatch.setitem(sys.modules, "models", package)
    found = shadows("models.bert", project / "models/bert.py", project.parent)
    assert {name.rpartition("/")[0] for name in found} == {"project/models", "project/models/bert"}


def test_an_existing_path_is_not_among_the_missing_shadows(project: Path) -> None:
    (project / "bert").mkdir()
    (project / "bert/__init__.py").touch()
    found = shadows("bert", project / "bert.py", project.parent)
    assert "project/bert/__init__.py" not in found
