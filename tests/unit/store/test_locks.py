from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from batchexport.store.errors import StoreError
from batchexport.store.locks import KeyLock

HOLD = """
import sys, time
from pathlib import Path
from batchexport.store.locks import KeyLock
lock = KeyLock(Path(sys.argv[1])).try_lock("k")
print("held" if lock else "refused", flush=True)
time.sleep(60)
"""


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    locks = KeyLock(tmp_path)
    with locks.try_lock("k") as held:  # type: ignore[union-attr]
        assert held is not None
        assert locks.try_lock("k") is None
        assert KeyLock(tmp_path).try_lock("k") is None
        other = locks.try_lock("other")
        assert other is not None
        other.release()
    again = locks.try_lock("k")
    assert again is not None
    again.release()
    again.release()


def test_no_lock_files_pile_up(tmp_path: Path) -> None:
    lock = KeyLock(tmp_path).try_lock("k")
    assert lock is not None
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_of_many_threads_one_gets_the_lock(tmp_path: Path) -> None:
    locks = KeyLock(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        got = [lock for lock in pool.map(lambda _: locks.try_lock("k"), range(32)) if lock is not None]
    assert len(got) == 1
    got[0].release()


def test_a_killed_process_frees_its_lock(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert KeyLock(tmp_path).try_lock("k") is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    lock = KeyLock(tmp_path).try_lock("k")
    assert lock is not None
    lock.release()


@pytest.mark.parametrize("key", ["", "../x", "a/b", "A", "a.b", "-a", "x" * 129])
def test_a_key_that_could_lead_out_of_the_folder_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="lock"):
        KeyLock(tmp_path).try_lock(key)


def test_a_folder_that_cannot_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="file"):
        KeyLock(tmp_path / "file").try_lock("k")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(StoreError, match="local disk"):
        KeyLock(tmp_path).try_lock("a")


def test_a_file_system_that_gives_everybody_the_lock_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda descriptor, operation: None)
    with pytest.raises(StoreError, match="file locks don't work there"):
        KeyLock(tmp_path).try_lock("a")


def test_the_lock_files_of_the_dead_are_removed_and_held_ones_stay(tmp_path: Path) -> None:
    locks = KeyLock(tmp_path)
    (tmp_path / "key-dead.lock").touch()
    (tmp_path / "strange name.lock").touch()
    with locks.try_lock("owner-1") as held:
        assert held is not None
        assert locks.held("owner-") == {"owner-1"}
        assert locks.abandoned() == 1
        assert sorted(path.name for path in tmp_path.iterdir()) == ["owner-1.lock", "strange name.lock"]
    assert locks.held("owner-") == set()
