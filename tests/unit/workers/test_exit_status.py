"""Verdicts: every way a child can end has one kind, read from its result first and from its status second."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from batchexport.core.errors import Kind
from batchexport.core.report import Failure
from batchexport.dependencies.dependency import Dependency, DependencyKind
from batchexport.workers.exit_status import RESULT_FILE, Changed, ExitContext, Success, classify_exit, used_whole_pool
from batchexport.workers.forkserver import ProcessExit

SUCCESS = {
    "ok": True,
    "output": {"program": "p"},
    "dependencies": [["absent", "x"]],
    "uncacheable": [],
    "key_seconds": 0.5,
    "seconds": 1,
}
ERROR = {"kind": "weights", "message": "no such tensor", "remedy": "look", "traceback": "…"}


def judge(
    folder: Path, result: Any = None, *, status: int | None = 0, peak: int | None = None, **seen: Any
) -> Success | Changed | Failure:
    if isinstance(result, bytes):
        (folder / RESULT_FILE).write_bytes(result)
    elif result is not None:
        (folder / RESULT_FILE).write_text(json.dumps(result))
    ended = ProcessExit(id="bert@cpu:export", status=status, peak_rss_bytes=peak)
    return classify_exit(ended, folder, stage="export", seen=ExitContext(timeout=90.0, **seen))


def failure(*args: Any, **more: Any) -> Failure:
    found = judge(*args, **more)
    assert isinstance(found, Failure)
    assert found.stage == "export"
    assert found.message
    assert "\n" not in found.message
    return found


def test_a_result_is_a_success(tmp_path: Path) -> None:
    found = judge(tmp_path, SUCCESS)
    dependencies = [Dependency(DependencyKind.ABSENT, "x")]
    assert found == Success(output={"program": "p"}, dependencies=dependencies, uncacheable=[], key_seconds=0.5)


def test_a_failure_is_told_as_the_child_tells_it(tmp_path: Path) -> None:
    found = failure(tmp_path, {"ok": False, "error": ERROR})
    assert (found.kind, found.message, found.remedy) == (Kind.WEIGHTS, "no such tensor", "look")


def test_a_changed_input_is_told_by_its_path(tmp_path: Path) -> None:
    assert judge(tmp_path, {"ok": False, "changed": "/p/m.py"}) == Changed(path="/p/m.py")


@pytest.mark.parametrize("status", [0, 1, -signal.SIGSEGV, -signal.SIGKILL, None])
@pytest.mark.parametrize("timed_out", [False, True])
def test_a_child_that_left_its_result_has_done_its_work_however_it_ended(
    tmp_path: Path, status: int | None, timed_out: bool
) -> None:
    assert isinstance(judge(tmp_path, SUCCESS, status=status, timed_out=timed_out), Success)


@pytest.mark.parametrize(
    ("status", "kind", "word"),
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
def test_without_a_result_the_status_tells(tmp_path: Path, status: int | None, kind: Kind, word: str) -> None:
    found = failure(tmp_path, status=status)
    assert found.kind is kind
    assert word in found.message
    assert found.remedy


@pytest.mark.parametrize("status", [-signal.SIGTERM, -signal.SIGKILL, 0, None])
def test_a_child_that_was_ended_for_its_time_timed_out(tmp_path: Path, status: int | None) -> None:
    found = failure(tmp_path, status=status, timed_out=True)
    assert found.kind is Kind.TIMEOUT
    assert "90 s" in found.message


GIB = 1 << 30


def test_a_child_that_was_ended_for_its_memory_ran_out_of_it(tmp_path: Path) -> None:
    found = failure(tmp_path, status=-signal.SIGKILL, held=3 * GIB, limit=2 * GIB, kernel_killed=False)
    assert found.kind is Kind.OOM
    assert "3.0 GiB" in found.message
    assert "2.0 GiB" in found.message
    assert "[pools.cpu]" in (found.remedy or "")


def test_a_kill_counts_as_the_kernels_where_the_kernel_killed_and_as_somebody_elses_where_it_did_not(
    tmp_path: Path,
) -> None:
    assert failure(tmp_path, status=-signal.SIGKILL, kernel_killed=True).kind is Kind.OOM
    other = failure(tmp_path, status=-signal.SIGKILL, kernel_killed=False)
    assert (other.kind, "SIGKILL" in other.message) == (Kind.CRASH, True)


@pytest.mark.parametrize("status", [-signal.SIGABRT, -signal.SIGSEGV])
def test_native_code_that_was_refused_memory_ran_out_of_it(tmp_path: Path, status: int) -> None:
    assert failure(tmp_path, status=status, peak=2 * GIB, limit=2 * GIB).kind is Kind.OOM
    assert failure(tmp_path, status=status, peak=GIB, limit=2 * GIB).kind is Kind.CRASH
    assert failure(tmp_path, status=status, peak=None, limit=2 * GIB).kind is Kind.CRASH


def test_a_compile_whose_compiler_the_kernel_killed_ran_out_of_memory(tmp_path: Path) -> None:
    told = {"ok": False, "error": {**ERROR, "kind": "compile"}}
    assert failure(tmp_path, told, kernel_killed=True).kind is Kind.OOM
    assert failure(tmp_path, told, kernel_killed=False).kind is Kind.COMPILE
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
def test_a_result_that_the_pipeline_does_not_write_is_none(tmp_path: Path, result: Any) -> None:
    found = failure(tmp_path, result, status=0)
    assert found.kind is Kind.CRASH
    assert "left no result" in found.message


def test_a_folder_that_is_gone_holds_no_result(tmp_path: Path) -> None:
    assert failure(tmp_path / "none", status=-signal.SIGKILL).kind is Kind.OOM


@pytest.mark.parametrize(
    ("held", "peak", "limit", "all_of_it"),
    [(None, 90, 100, True), (90, 10, 100, True), (50, 60, 100, False), (None, None, 100, False), (90, 90, None, False)],
)
def test_a_stage_had_all_the_memory_where_it_held_nearly_what_its_pool_has(
    held: int | None, peak: int | None, limit: int | None, all_of_it: bool
) -> None:
    ended = ProcessExit(id="x", status=-9, peak_rss_bytes=peak)
    assert used_whole_pool(ended, ExitContext(timeout=1.0, held=held, limit=limit)) is all_of_it
