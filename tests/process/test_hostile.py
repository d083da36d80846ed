"""Hostile input that would run code, write outside its folder or crash the command gets one clear message."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from support.projects import Project, Ran

pytestmark = pytest.mark.process

MODELS = """
from torch import nn


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        return self.linear(x)
"""
GOOD = 'name = "good"\nmodel = "models:Model"'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path / "deep" / "project")
    project.write("models.py", MODELS)
    return project


def refused(project: Project, *verb: str, code: int = 2) -> str:
    """Run a command that must fail before any work; return its one message."""
    ran = project.do(*(verb or ("run",)))
    assert ran.code == code, ran
    assert "Traceback" not in ran.stdout + ran.stderr
    (line,) = ran.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return line


def one_failed(ran: Ran, name: str) -> dict[str, str]:
    """Assert that one job failed, and return its error."""
    assert ran.code == 1, ran
    assert [job for job, report in ran.jobs.items() if not report["ok"]] == [name]
    assert "Traceback" not in ran.stdout + ran.stderr
    return ran.error(name)


TEXTS: dict[str, tuple[bytes, str]] = {
    "100 MB": (b"schema = 1\n#" + b"x" * 100_000_000, "can't be a manifest"),
    "lists without end": (b"x = " + b"[" * 200_000, "nested too deeply"),
    "tables without end": (b"x = " + b"{a=" * 200_000, "nested too deeply"),
    "a key without end": (b"a." * 100_000 + b"a = 1", "nested too deeply"),
    "a header without end": (b"[" + b"a." * 100_000 + b"a]", "nested too deeply"),
    "not UTF-8": (b'schema = 1\nx = "\xff"', "not UTF-8"),
    "UTF-16": ("schema = 1".encode("utf-16"), "not UTF-8"),
    "zeroes": (b"\0" * 1000, "not valid TOML"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_malformed_manifest_is_refused_with_one_message(project: Project, name: str) -> None:
    text, words = TEXTS[name]
    (project.root / "manifest.toml").write_bytes(text)
    assert words in refused(project)
    assert sorted(path.name for path in project.root.iterdir()) == ["manifest.toml", "models.py"]


@pytest.mark.parametrize("name", ["../../outside", "/tmp/outside", "a/../../b", "..", "a\\0b", "a/b"])
def test_no_job_name_escapes_the_output_folder(project: Project, tmp_path: Path, name: str) -> None:
    project.manifest(f'name = "{name}"\nmodel = "models:Model"'.replace("\\0", "\\u0000"))
    before = sorted(tmp_path.rglob("*"))
    ran = project.run("--stage", "export")
    assert "Traceback" not in ran.stdout + ran.stderr
    if ran.code == 2:
        assert sorted(tmp_path.rglob("*")) == before
        return
    inside = (project.root / "cache", project.root / "dist")
    new = [path for path in tmp_path.rglob("*") if path not in before]
    assert [path for path in new if not any(path.is_relative_to(folder) for folder in inside)] == []


@pytest.mark.parametrize("member", ["../../../../evil", "/evil", "exported/../../../../evil"])
def test_an_archive_whose_member_escapes_its_folder_fails_its_job_alone_and_writes_nothing(
    project: Project, tmp_path: Path, member: str
) -> None:
    project.manifest(GOOD, 'name = "evil"\nmodel = "evil.pt2"')
    with zipfile.ZipFile(project.root / "evil.pt2", "w") as archive:
        archive.writestr("exported/archive_format", "pt2")
        archive.writestr(member, "evil")
    error = one_failed(project.run(), "evil@cpu")
    assert error["kind"] == "build"
    assert member in error["message"]
    assert not [path for path in tmp_path.rglob("evil") if path.is_file()]


def test_a_pickle_in_the_index_is_refused_and_not_executed(project: Project, tmp_path: Path) -> None:
    import pickle
    import sqlite3

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "exploded",))

    project.manifest(GOOD)
    assert project.run().code == 0
    with sqlite3.connect(project.root / "cache" / "v1" / "index" / "cache.db") as database:
        database.execute("UPDATE Cache SET mode = 4, value = ?", (pickle.dumps(Bomb()),))
    database.close()
    ran = project.run()
    assert ran.code == 0, ran
    assert "a row was refused" in ran.stderr
    assert not (tmp_path / "exploded").exists()
    assert all(job["ok"] for job in ran.jobs.values())


@pytest.mark.parametrize("folder", ["objects", "entries", "logs", "staging", "inductor"])
def test_a_cache_with_a_link_to_elsewhere_is_refused_with_exit_4(project: Project, tmp_path: Path, folder: str) -> None:
    project.manifest(GOOD)
    (tmp_path / "outside").mkdir()
    (project.root / "cache" / "v1").mkdir(parents=True)
    (project.root / "cache" / "v1" / folder).symlink_to(tmp_path / "outside")
    assert "is a link" in refused(project, code=4)
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_cache_of_a_newer_schema_is_left_alone_with_exit_4(project: Project) -> None:
    project.manifest(GOOD)
    home = project.root / "cache" / "v1"
    home.mkdir(parents=True)
    (home / "schema").write_text("2\n")
    assert "newer batchexport" in refused(project, code=4)
    assert [path.name for path in home.iterdir()] == ["schema"]


@pytest.mark.parametrize("behaviour", ["raise OSError(37, 'No locks available')", "return None"], ids=["none", "deaf"])
def test_a_cache_without_working_locks_is_refused_with_exit_4(project: Project, behaviour: str) -> None:
    project.manifest(GOOD)
    project.write("fake/sitecustomize.py", f"import fcntl\n\ndef flock(*_):\n    {behaviour}\n\nfcntl.flock = flock\n")
    ran = project.run_alone(env={"PYTHONPATH": str(project.root / "fake")})
    assert ran.code == 4
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert "put the cache on a local disk with --cache-dir" in line
    assert "Traceback" not in ran.stdout + ran.stderr
    assert project.processes() == {}
