"""gc waits for those who publish and hand out, and they for it; nobody else waits."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from batchexport.store import locks as locks_module
from batchexport.store.errors import StoreError
from batchexport.store.locks import SharedLock


def passes(way: str, lock: SharedLock) -> threading.Thread:
    def run() -> None:
        with getattr(lock, way)():
            pass

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("inside", "outside"), [("shared", "exclusive"), ("exclusive", "shared"), ("exclusive", "exclusive")]
)
def test_alone_excludes_everybody(tmp_path: Path, inside: str, outside: str) -> None:
    lock = SharedLock(tmp_path / "gate")
    with getattr(lock, inside)():
        other = passes(outside, lock)
        other.join(0.2)
        assert other.is_alive()
    other.join(10)
    assert not other.is_alive()


def test_many_pass_together(tmp_path: Path) -> None:
    lock = SharedLock(tmp_path / "gate")
    with lock.shared(), lock.shared():
        other = passes("shared", lock)
        other.join(10)
        assert not other.is_alive()


def test_without_locks_gc_is_refused_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(locks_module.fcntl, "flock", no_locks)
    lock = SharedLock(tmp_path / "gate")
    with lock.shared():
        pass
    with pytest.raises(StoreError, match="No locks available"), lock.exclusive():
        pass
