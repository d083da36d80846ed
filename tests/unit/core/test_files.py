from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

import pytest

from batchexport.core.files import atomic_copy, atomic_write, atomic_write_sibling, clone


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, scratch = tmp_path / "file", tmp_path / "scratch"
    path.write_bytes(b"old")

    def fail(_: int) -> None:
        raise OSError("no")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no"):
        atomic_write(path, b"new", scratch=scratch)
    assert path.read_bytes() == b"old"
    assert not scratch.exists()


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a/b/file", b"new", scratch=tmp_path / "scratch")
    assert (tmp_path / "a/b/file").read_bytes() == b"new"


def test_a_link_at_the_destination_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"new")
    (tmp_path / "precious").write_bytes(b"old")
    (tmp_path / "out").symlink_to(tmp_path / "precious")
    atomic_copy(tmp_path / "source", tmp_path / "out")
    assert (tmp_path / "precious").read_bytes() == b"old"
    assert not (tmp_path / "out").is_symlink()


def test_a_reflink_is_used_where_the_file_system_gives_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "source").write_bytes(b"x")

    def reflink(want: int, _: int, have: int) -> None:
        os.write(want, b"shared " + os.read(have, 10))

    monkeypatch.setattr(fcntl, "ioctl", reflink)
    clone(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"shared x"


@pytest.mark.parametrize("locks", [True, False], ids=["locks", "no locks"])
def test_a_copy_that_a_killed_process_left_is_removed_and_one_in_progress_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    (tmp_path / "source").write_bytes(b"x")
    abandoned, running, other = (tmp_path / name for name in (".out.1-0.part", ".out.2-0.part", ".my.part"))
    for path in (abandoned, running, other):
        path.write_bytes(b"half")

    def no_locks(descriptor: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with running.open("rb") as held:
        if locks:
            fcntl.flock(held, fcntl.LOCK_EX)
        else:
            monkeypatch.setattr(fcntl, "flock", no_locks)
            os.utime(abandoned, (time.time() - 7200,) * 2)
        atomic_copy(tmp_path / "source", tmp_path / "out")
        atomic_write_sibling(tmp_path / "out", b"y")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".my.part", ".out.2-0.part", "out", "source"]
    assert (tmp_path / "out").read_bytes() == b"y"
