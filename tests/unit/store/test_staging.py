from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from batchexport.store.locks import KeyLock
from batchexport.store.staging import Staging


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return make(tmp_path)


def make(root: Path) -> Staging:
    """What another process would have: its own owner in the same folders."""
    for name in ("staging", "locks"):
        (root / name).mkdir(exist_ok=True)
    return Staging(root / "staging", KeyLock(root / "locks"))


def test_every_attempt_has_an_empty_folder_of_its_own(staging: Staging) -> None:
    first, second = staging.attempt("bert"), staging.attempt("bert")
    assert first != second
    assert list(first.iterdir()) == list(second.iterdir()) == []
    assert first.name.startswith(f"{os.getpid()}-")


@pytest.mark.parametrize("name", ["../../etc", "bert-base[layers=4,float32]@cpu", "", "ü" * 300, "a" * 300])
def test_any_name_makes_a_short_and_safe_folder(staging: Staging, tmp_path: Path, name: str) -> None:
    path = staging.attempt(name)
    assert path.parent == tmp_path / "staging"
    assert path.is_dir()
    assert len(path.name) < 80


def test_sweep_keeps_live_owner(staging: Staging, tmp_path: Path) -> None:
    mine = staging.attempt("job")
    other = make(tmp_path)
    assert other.sweep() == 0
    assert staging.sweep() == 0
    assert mine.is_dir()


def test_sweep_removes_all_that_a_dead_owner_left(staging: Staging, tmp_path: Path) -> None:
    dead = make(tmp_path)
    attempt, scratch = dead.attempt("job"), dead.scratch("blob")
    (attempt / "deep").mkdir()
    (attempt / "deep/file").write_text("x")
    scratch.write_text("x")
    dead.close()  # as its death does
    mine = staging.attempt("job")
    assert staging.sweep() == 2
    assert list((tmp_path / "staging").iterdir()) == [mine]
    assert len(list((tmp_path / "locks").iterdir())) == 1


def test_sweep_leaves_what_it_does_not_know(staging: Staging, tmp_path: Path) -> None:
    (tmp_path / "staging/mine").mkdir()
    assert staging.sweep() == 0
    assert (tmp_path / "staging/mine").is_dir()


def test_a_link_in_staging_is_removed_and_not_followed(staging: Staging, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("x")
    dead = make(tmp_path)
    dead.scratch("x").symlink_to(tmp_path / "precious")
    dead.close()
    assert staging.sweep() == 1
    assert (tmp_path / "precious/file").exists()


def test_a_forked_child_owns_attempts_of_its_own(staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = staging.scratch("job").name.rpartition("-")[0].rpartition("-")[0]
    child = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: child)
    theirs = staging._own()
    assert theirs != mine


def test_discard_removes_an_attempt_and_nothing_else(staging: Staging, tmp_path: Path) -> None:
    path = staging.attempt("job")
    (path / "file").write_text("x")
    staging.discard(path)
    staging.discard(path)
    assert not path.exists()
    for wrong in (tmp_path, tmp_path / "staging", tmp_path / "staging/a/b"):
        with pytest.raises(ValueError, match="not an attempt"):
            staging.discard(wrong)


def test_after_close_a_new_owner_takes_over(staging: Staging) -> None:
    staging.attempt("job")
    staging.close()
    staging.close()
    assert staging.attempt("job").is_dir()


def test_the_temporary_folder_of_an_attempt_has_a_path_short_enough_for_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", tempfile.mkdtemp())
    staging = make(tmp_path)
    attempt = staging.attempt("a" * 90)
    short = staging.temporary(attempt)
    assert len(str(short)) < 50
    (short / "file").touch()
    assert (attempt / "tmp/file").is_file()
    staging.discard(attempt)
    assert not short.is_symlink()


def test_sweep_removes_the_short_links_of_dead_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", tempfile.mkdtemp())
    dead = make(tmp_path)
    short = dead.temporary(dead.attempt("job"))
    dead.close()
    assert make(tmp_path).sweep() == 1
    assert not short.is_symlink()


def test_without_a_short_link_the_long_path_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    staging = make(tmp_path)
    attempt = staging.attempt("job")
    assert staging.temporary(attempt) == attempt / "tmp"
    assert (attempt / "tmp").is_dir()


def test_sweep_removes_links_to_nothing_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(tempfile.mkdtemp())
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    (folder / "bx-0123456789ab").symlink_to(tmp_path / "gone")
    (folder / "bx-0123456789ac").symlink_to(tmp_path)
    (folder / "bx-mine").symlink_to(tmp_path / "gone")
    make(tmp_path).sweep()
    assert {path.name for path in folder.iterdir()} == {"bx-0123456789ac", "bx-mine"}
