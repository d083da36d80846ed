"""The coordinator, with stand-in children: an error around one job's stage fails that job alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchexport.core.options import RunOptions
from batchexport.core.report import JobReport
from batchexport.engine.runner import run_jobs
from batchexport.store.errors import DiskFull
from batchexport.store.store import Store
from batchexport.workers import forkserver
from batchexport.workers.protocol import StageRequest
from support.standins import Children

MANIFEST = """
schema = 1
cache = { dir = "cache" }
defaults.inputs.x = { shape = [2] }
entry = [{ name = "a", model = "m:A" }, { name = "b", model = "m:B" }, { name = "c", model = "m:C" }]
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Children], dict[str, JobReport]]:
    (tmp_path / "manifest.toml").write_text(MANIFEST)

    def make(children: Children) -> dict[str, JobReport]:
        monkeypatch.setattr(forkserver, "ForkServer", lambda **_: children)
        reports = run_jobs(RunOptions(manifest=tmp_path / "manifest.toml"), lambda event: None).reports
        return {report.entry: report for report in reports}

    return make


def first(now: dict[str, str]) -> tuple[str, int]:
    return min(now), 0


def failed_alone(reports: dict[str, JobReport], name: str, message: str) -> None:
    assert [entry for entry, report in reports.items() if not report.ok] == [name]
    error = reports[name].error
    assert error is not None
    assert (error.kind, error.message) == ("disk", message)


def test_a_lock_file_on_a_full_disk_fails_its_job_alone(
    run: Callable[[Children], dict[str, JobReport]], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Store.try_lock
    keys: list[str] = []

    def try_lock(self: Store, key: str, **options: Any) -> Any:
        keys.append(key)
        if len(keys) == 2:
            raise DiskFull("no room for a lock")
        return original(self, key, **options)

    monkeypatch.setattr(Store, "try_lock", try_lock)
    failed_alone(run(Children(first)), "b", "no room for a lock")


def test_a_child_that_cannot_be_started_fails_its_job_alone(run: Callable[[Children], dict[str, JobReport]]) -> None:
    class Refusing(Children):
        def start(self, request: StageRequest) -> None:
            if request.id.startswith("b"):
                raise OSError("no more processes")
            super().start(request)

    failed_alone(run(Refusing(first)), "b", "no more processes")
