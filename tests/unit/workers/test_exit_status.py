"""Exit status: each way a child can end has one kind, read from its result first and from its status second."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from batchexport.core.errors import Kind
from batchexport.core.report import Failure
from batchexport.dependencies.dependency import Dependency, DependencyKind
from batchexport.workers import exit_status
from batchexport.workers.exit_status import (
    RESULT_FILE,
    Changed,
    ExitContext,
    Success,
    classify_exit,
    is_disk_full,
    reclassify_disk_full,
    used_whole_pool,
)
from batchexport.workers.forkserver import ProcessExit
from support import reports

SUCCESS = {
    "ok": True,
    "output": {"program": "p"},
    "dependencies": [["absent", "x"]],
    "uncacheable": [],
    "key_seconds": 0.5,
    "seconds": 1,
}
ERROR = {"kind": "weights", "message": "no such tensor", "remedy": "look", "traceback": "…"}


def classify(
    folder: Path, result: Any = None, *, status: int | None = 0, peak: int | None = None, **context: Any
) -> Success | Changed | Failure:
    if isinstance(result, bytes):
        (folder / RESULT_FILE).write_bytes(result)
    elif result is not None:
        (folder / RESULT_FILE).write_text(json.dumps(result))
    process_exit = ProcessExit(id="bert@cpu:export", status=status, peak_rss_bytes=peak)
    return classify_exit(process_exit, folder, stage="export", context=ExitContext(timeout=90.0, **context))


def failure(*args: Any, **more: Any) -> Failure:
    found = classify(*args, **more)
    assert isinstance(found, Failure)
    assert found.stage == "export"
    assert found.message
    assert "\n" not in found.message
    return found


def test_a_result_is_a_success(tmp_path: Path) -> None:
    found = classify(tmp_path, SUCCESS)
    dependencies = [Dependency(DependencyKind.ABSENT, "x")]
    assert found == Success(output={"program": "p"}, dependencies=dependencies, uncacheable=[], key_seconds=0.5)


def test_a_failure_is_the_one_that_the_child_reports(tmp_path: Path) -> None:
    found = failure(tmp_path, {"ok": False, "error": ERROR})
    assert (found.kind, found.message, found.remedy) == (Kind.WEIGHTS, "no such tensor", "look")


def test_a_changed_input_is_reported_by_its_path(tmp_path: Path) -> None:
    assert classify(tmp_path, {"ok": False, "changed": "/p/m.py"}) == Changed(path="/p/m.py")


@pytest.mark.parametrize("status", [0, 1, -signal.SIGSEGV, -signal.SIGKILL, None])
@pytest.mark.parametrize("timed_out", [False, True])
def test_a_child_that_left_its_result_succeeded_however_it_ended(
    tmp_path: Path, status: int | None, timed_out: bool
) -> None:
    assert isinstance(classify(tmp_path, SUCCESS, status=status, timed_out=timed_out), Success)


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (0, Kind.CRASH, "status 0"),
        (3, Kind.CRASH, "status 3"),
        (-signal.SIGSEGV, Kind.CRASH, "SIGSEGV"),
        (-signal.SIGABRT, Kind.CRASH, "SIGABRT"),
        (-signal.SIGTERM, Kind.CRASH, "SIGTERM"),
        (-signal.SIGRTMIN - 1, Kind.CRASH, f"signal {signal.SIGRTMIN + 1}"),
        (-signal.SIGKILL, Kind.OOM, "memory"),
        (None, Kind.CRASH, "fork server"),
    ],
)
def test_without_a_result_the_exit_status_decides(tmp_path: Path, status: int | None, kind: Kind, words: str) -> None:
    found = failure(tmp_path, status=status)
    assert found.kind is kind
    assert words in found.message
    assert found.remedy


@pytest.mark.parametrize("status", [-signal.SIGTERM, -signal.SIGKILL, 0, None])
def test_a_child_that_was_killed_at_its_timeout_timed_out(tmp_path: Path, status: int | None) -> None:
    found = failure(tmp_path, status=status, timed_out=True)
    assert found.kind is Kind.TIMEOUT
    assert "90 s" in found.message


GIB = 1 << 30


def test_a_child_that_was_killed_to_free_memory_ran_out_of_it(tmp_path: Path) -> None:
    found = failure(tmp_path, status=-signal.SIGKILL, held_when_killed=3 * GIB, pool=2 * GIB, kernel_killed=False)
    assert found.kind is Kind.OOM
    assert "3.0 GiB" in found.message
    assert "2.0 GiB" in found.message
    assert "[pools.cpu]" in (found.remedy or "")


def test_a_sigkill_is_oom_where_the_kernel_killed_and_a_crash_where_it_did_not(
    tmp_path: Path,
) -> None:
    assert failure(tmp_path, status=-signal.SIGKILL, kernel_killed=True).kind is Kind.OOM
    other = failure(tmp_path, status=-signal.SIGKILL, kernel_killed=False)
    assert (other.kind, "SIGKILL" in other.message) == (Kind.CRASH, True)


@pytest.mark.parametrize("status", [-signal.SIGABRT, -signal.SIGSEGV])
def test_native_code_that_was_refused_memory_ran_out_of_it(tmp_path: Path, status: int) -> None:
    assert failure(tmp_path, status=status, peak=2 * GIB, pool=2 * GIB).kind is Kind.OOM
    assert failure(tmp_path, status=status, peak=GIB, pool=2 * GIB).kind is Kind.CRASH
    assert failure(tmp_path, status=status, peak=None, pool=2 * GIB).kind is Kind.CRASH


def test_a_compile_whose_compiler_the_kernel_killed_ran_out_of_memory(tmp_path: Path) -> None:
    compile_error = {"ok": False, "error": {**ERROR, "kind": "compile"}}
    assert failure(tmp_path, compile_error, kernel_killed=True).kind is Kind.OOM
    assert failure(tmp_path, compile_error, kernel_killed=False).kind is Kind.COMPILE
    weights = {"ok": False, "error": ERROR}
    assert failure(tmp_path, weights, kernel_killed=True).kind is Kind.WEIGHTS


GARBAGE: list[Any] = [
    b"",
    b"{",
    b"\xff\xfe",
    b"[" * 100_000,
    b"null",
    [],
    "text",
    7,
    {},
    {"ok": True},
    {"ok": True, "output": {}, "dependencies": []},
    {"ok": True, "output": {}, "dependencies": [1], "uncacheable": []},
    {"ok": True, "output": {}, "dependencies": [["moon", "full"]], "uncacheable": [], "key_seconds": 0.5},
    {"ok": True, "output": 1, "dependencies": [], "uncacheable": []},
    {"ok": 1, "output": {}, "dependencies": [], "uncacheable": []},
    {"ok": False},
    {"ok": False, "error": None},
    {"ok": False, "error": {"kind": "weights"}},
    {"ok": False, "error": {**ERROR, "kind": "of its own"}},
    {"ok": False, "error": "text"},
]


@pytest.mark.parametrize("result", GARBAGE, ids=lambda result: repr(result)[:60])
def test_a_result_that_the_pipeline_did_not_write_is_ignored(tmp_path: Path, result: Any) -> None:
    found = failure(tmp_path, result, status=0)
    assert found.kind is Kind.CRASH
    assert "left no result" in found.message


def test_a_missing_folder_holds_no_result(tmp_path: Path) -> None:
    assert failure(tmp_path / "none", status=-signal.SIGKILL).kind is Kind.OOM


@pytest.mark.parametrize(
    ("held", "peak", "pool", "whole"),
    [(None, 90, 100, True), (90, 10, 100, True), (50, 60, 100, False), (None, None, 100, False), (90, 90, None, False)],
)
def test_a_stage_used_the_whole_pool_where_it_held_nearly_all_of_it(
    held: int | None, peak: int | None, pool: int | None, whole: bool
) -> None:
    process_exit = ProcessExit(id="x", status=-9, peak_rss_bytes=peak)
    assert used_whole_pool(process_exit, ExitContext(timeout=1.0, held_when_killed=held, pool=pool)) is whole


# ── a full disk ──────────────────────────────────────────────────────────────────────────────────


def test_a_disk_with_room_is_not_full_and_the_check_leaves_no_file(tmp_path: Path) -> None:
    assert not is_disk_full(tmp_path)
    assert not is_disk_full(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", list(Kind))
def test_on_a_full_disk_a_failure_that_it_can_cause_is_of_kind_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    before = reports.failure(kind=kind, message="the compiler failed")
    assert reclassify_disk_full(before, tmp_path) == before
    monkeypatch.setattr(exit_status, "is_disk_full", lambda folder: True)
    after = reclassify_disk_full(before, tmp_path)
    if kind in (Kind.CRASH, Kind.COMPILE, Kind.SAVE, Kind.INTERNAL):
        assert after.kind is Kind.DISK
        assert " free, and the stage needed more (the compiler failed)" in after.message
    else:
        assert after == before
