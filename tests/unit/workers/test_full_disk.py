"""Only what a full disk can cause is blamed on it, and only when the disk is full."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchexport.core.errors import Kind
from batchexport.workers import exit_status
from batchexport.workers.exit_status import is_disk_full, reclassify_disk_full
from support.reports import failure


def test_a_disk_with_room_is_not_full_and_asking_leaves_no_file(tmp_path: Path) -> None:
    assert not is_disk_full(tmp_path)
    assert not is_disk_full(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", list(Kind))
def test_on_a_full_disk_what_broke_off_is_of_kind_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    before = failure(kind=kind, message="as it was told")
    assert reclassify_disk_full(before, tmp_path) == before
    monkeypatch.setattr(exit_status, "is_disk_full", lambda folder: True)
    after = reclassify_disk_full(before, tmp_path)
    if kind in (Kind.CRASH, Kind.COMPILE, Kind.SAVE, Kind.INTERNAL):
        assert after.kind is Kind.DISK
        assert " free, and the stage needed more (as it was told)" in after.message
    else:
        assert after == before
