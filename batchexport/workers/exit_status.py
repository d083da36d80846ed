"""How a child ended is read from its result file first and from its exit status second; never guessed from text."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from batchexport.core.errors import NO_ROOM, Kind
from batchexport.core.report import Failure
from batchexport.core.text import format_bytes
from batchexport.dependencies.dependency import Dependency
from batchexport.workers.forkserver import ProcessExit

RESULT_FILE = "result.json"
_NEARLY = 0.8
_LESS = "use smaller dims, run fewer jobs at a time (--jobs 1), or raise `memory` in [pools.cpu] if there is more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """A stage's result, as the child wrote it; `key_seconds` are those it took to digest what it is made of."""

    output: Mapping[str, Any]
    dependencies: list[Dependency]
    uncacheable: list[str]
    key_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A file that the stage had read was changed while it ran."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitContext:
    """What is known of a stage's end beside its exit status. Seconds and bytes.

    `held`: what it held when it was ended for its memory, else None. `limit`: the memory of its pool.
    `kernel_killed`: whether the kernel killed any process for want of memory while it ran; None if that can't be told.
    `header_cut`: whether another stage was killed meanwhile and left a precompiled header cut off.
    """

    timeout: float
    timed_out: bool = False
    held: int | None = None
    limit: int | None = None
    kernel_killed: bool | None = None
    header_cut: bool = False


def classify_exit(ended: ProcessExit, folder: Path, *, stage: str, seen: ExitContext) -> Success | Changed | Failure:
    """What became of a stage."""
    try:
        result = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
        told = _told(result, stage, folder)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        # None, or none that the pipeline writes: model code may write anything anywhere.
        return reclassify_disk_full(_without_result(ended, stage, seen), folder)
    if isinstance(told, Failure) and told.kind is Kind.COMPILE and seen.kernel_killed:
        # The compiler was killed, not the child that waited for it.
        return replace(told, kind=Kind.OOM, message=f"memory ran out: {told.message}", remedy=_LESS)
    return told


def _told(result: Mapping[str, Any], stage: str, folder: Path) -> Success | Changed | Failure:
    if result["ok"] is True:
        return Success(
            output={**result["output"]},
            dependencies=[Dependency.from_row(row) for row in result["dependencies"]],
            uncacheable=[*result["uncacheable"]],
            key_seconds=float(result["key_seconds"]),
        )
    if "changed" in result:
        return Changed(path=result["changed"])
    error = result["error"]
    failure = Failure(stage=stage, kind=Kind(error["kind"]), message=error["message"], remedy=error["remedy"])
    return reclassify_disk_full(failure, folder)


def _without_result(ended: ProcessExit, stage: str, seen: ExitContext) -> Failure:
    if seen.timed_out:
        return Failure(
            stage=stage,
            kind=Kind.TIMEOUT,
            message=f"still running after {seen.timeout:g} s",
            remedy="raise `timeout` for this entry, or see in the log where it hangs",
        )
    if ended.status is None:
        return Failure(
            stage=stage,
            kind=Kind.CRASH,
            message="the fork server was lost, and its children with it",
            remedy="run again",
        )
    if (reason := _out_of_memory(ended, seen)) is not None:
        return Failure(stage=stage, kind=Kind.OOM, message=reason, remedy=_LESS)
    if ended.status == -signal.SIGKILL:
        return Failure(
            stage=stage,
            kind=Kind.CRASH,
            message="the process was killed (SIGKILL), neither by batchexport nor for want of memory",
            remedy="run again; something else on this machine, or the model itself, kills processes",
        )
    if ended.status < 0:
        return Failure(
            stage=stage,
            kind=Kind.CRASH,
            message=f"the process died of {_name(-ended.status)}",
            remedy="see the end of the log; native code in the model or in torch crashed",
        )
    return Failure(
        stage=stage,
        kind=Kind.CRASH,
        message=f"the process ended with status {ended.status} and left no result",
        remedy="see the log; does the model code call sys.exit or os._exit?",
    )


def _out_of_memory(ended: ProcessExit, seen: ExitContext) -> str | None:
    """How it is known that memory was the cause; None where it was not."""
    if seen.held is not None:
        pool = f", and the pool has {format_bytes(seen.limit)}" if seen.limit is not None else ""
        return f"the stage was ended for its memory: it held {format_bytes(seen.held)}{pool}"
    assert ended.status is not None
    if ended.status == -signal.SIGKILL and seen.kernel_killed is not False:
        likely = "" if seen.kernel_killed else ", most likely"
        return f"the process was killed (SIGKILL){likely} because memory ran out"
    if ended.status < 0 and seen.limit is not None and used_whole_pool(ended, seen):
        # C++ that is refused memory ends in abort or a null pointer.
        peak = format_bytes(ended.peak_rss_bytes or 0)
        return f"the process died of {_name(-ended.status)} at {peak} of the pool's {format_bytes(seen.limit)}"
    return None


def used_whole_pool(ended: ProcessExit, seen: ExitContext) -> bool:
    """Whether a stage had nearly all the memory of its pool to itself, so that alone it would get no more."""
    most = max(seen.held or 0, ended.peak_rss_bytes or 0)
    return seen.limit is not None and most >= _NEARLY * seen.limit


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


_PROBE = 1 << 16  # bytes; who ran out of room has left less than this
_LOOKS_LIKE_IT = (Kind.CRASH, Kind.COMPILE, Kind.SAVE, Kind.INTERNAL)


def reclassify_disk_full(failure: Failure, folder: Path) -> Failure:
    """`failure` of a stage that worked in `folder`, or what a full disk under that folder makes of it."""
    if failure.kind not in _LOOKS_LIKE_IT or not is_disk_full(folder):
        return failure
    return replace(
        failure,
        kind=Kind.DISK,
        message=f"the disk of the cache is full: {_free(folder)} free, and the stage needed more ({failure.message})",
        remedy="free some space (`batchexport cache gc` may) and run again",
    )


def is_disk_full(folder: Path) -> bool:
    """Whether not even a small file can be written there."""
    probe = folder / ".probe"
    try:
        with probe.open("xb", buffering=0) as file:
            return file.write(b"\1" * _PROBE) < _PROBE
    except OSError as error:
        return error.errno in NO_ROOM
    finally:
        probe.unlink(missing_ok=True)


def _free(folder: Path) -> str:
    try:
        return format_bytes(shutil.disk_usage(folder).free)
    except OSError:
        return "nothing"


_BYTES = 16_384
_LINES = 6
_WIDTH = 200
# Python's own report of a crash (faulthandler) tells most at its head, and ends in a list of extension modules.
_MARKS = ("Fatal Python error:", "Current thread 0x")


def log_tail(log: Path) -> tuple[str, ...]:
    """At most six lines, none of them long; none where there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ()
    lines = [line.rstrip()[:_WIDTH] for line in text.splitlines() if line.strip()]
    for mark in _MARKS:
        heads = [number for number, line in enumerate(lines) if line.startswith(mark)]
        if heads:
            return tuple(lines[heads[-1] :][:_LINES])
    return tuple(lines[-_LINES:])
