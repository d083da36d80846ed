"""Classify how a child ended: a success, a changed input, or a failure of one kind.

The child's result file decides first and its exit status second; nothing is guessed from the text of a log. A failure
that a full disk can cause is of kind `disk` if the disk is full when the child has ended: compilers and native code
that meet a full disk fail in many ways and rarely name it.
"""

from __future__ import annotations

import json
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
from batchexport.workers.launchers import wrapper_outcome

RESULT_FILE = "result.json"
_WHOLE_POOL = 0.8  # the share of a pool from which a stage counts as having had all of it
_USE_LESS_MEMORY = (
    "use smaller dims, run fewer jobs at a time (--jobs 1), or raise `memory` in [pools.cpu] if the machine has more"
)
_PROBE_BYTES = 1 << 16  # a stage that ran out of disk space has left less than this
_DISK_FULL_SYMPTOMS = (Kind.CRASH, Kind.COMPILE, Kind.SAVE, Kind.INTERNAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """A stage's result, as the child wrote it; `key_seconds` is the time it took to digest its inputs.

    `wrapper` is how the compiler's launcher compiled the model's wrapper; see `launchers.wrapper_outcome`.
    """

    output: Mapping[str, Any]
    dependencies: list[Dependency]
    uncacheable: list[str]
    key_seconds: float = 0.0
    wrapper: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A file that the stage had read was changed while it ran."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitContext:
    """What the supervisor knows of a child's end besides its exit status. Seconds and bytes.

    `held_when_killed`: what the child held when batchexport killed it to free memory, else None. `pool`: the memory
    that all children may hold together. `kernel_killed`: whether the kernel's OOM killer killed any process while the
    child ran; None where the kernel doesn't count. `header_truncated`: whether a stage that was killed meanwhile left
    a truncated precompiled header.
    """

    timeout: float
    timed_out: bool = False
    held_when_killed: int | None = None
    pool: int | None = None
    kernel_killed: bool | None = None
    header_truncated: bool = False


def classify_exit(
    process_exit: ProcessExit, folder: Path, *, stage: str, context: ExitContext
) -> Success | Changed | Failure:
    """Return what came of a stage that worked in `folder`."""
    try:
        result = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
        outcome = _from_result(result, stage, folder)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        # There is no result, or one that the pipeline did not write: model code may write anything anywhere.
        return reclassify_disk_full(_from_status(process_exit, stage, context), folder)
    if isinstance(outcome, Failure) and outcome.kind is Kind.COMPILE and context.kernel_killed:
        # The kernel killed the compiler, not the child that waited for it.
        message = f"memory ran out: {outcome.message}"
        return replace(outcome, kind=Kind.OOM, message=message, remedy=_USE_LESS_MEMORY)
    return outcome


def used_whole_pool(process_exit: ProcessExit, context: ExitContext) -> bool:
    """Return True if a stage had nearly all the memory of its pool, so that alone it would get no more."""
    most = max(context.held_when_killed or 0, process_exit.peak_rss_bytes or 0)
    return context.pool is not None and most >= _WHOLE_POOL * context.pool


def reclassify_disk_full(failure: Failure, folder: Path) -> Failure:
    """Return `failure` as one of kind `disk` if a full disk can cause it and the disk below `folder` is full."""
    if failure.kind not in _DISK_FULL_SYMPTOMS or not is_disk_full(folder):
        return failure
    return replace(
        failure,
        kind=Kind.DISK,
        message=f"the disk of the cache is full: {_free(folder)} free, and the stage needed more ({failure.message})",
        remedy="free disk space (`batchexport cache gc` may help) and run again",
    )


def is_disk_full(folder: Path) -> bool:
    """Return True if not even a small file can be written to `folder`."""
    probe = folder / ".probe"
    try:
        with probe.open("xb", buffering=0) as file:
            return file.write(b"\1" * _PROBE_BYTES) < _PROBE_BYTES
    except OSError as error:
        return error.errno in NO_ROOM
    finally:
        probe.unlink(missing_ok=True)


def _from_result(result: Mapping[str, Any], stage: str, folder: Path) -> Success | Changed | Failure:
    if result["ok"] is True:
        return Success(
            output={**result["output"]},
            dependencies=[Dependency.from_row(row) for row in result["dependencies"]],
            uncacheable=[*result["uncacheable"]],
            key_seconds=float(result["key_seconds"]),
            wrapper=wrapper_outcome(str(folder)),
        )
    if "changed" in result:
        return Changed(path=result["changed"])
    failure = Failure.from_child(stage, result["error"])
    return reclassify_disk_full(failure, folder)


def _from_status(process_exit: ProcessExit, stage: str, context: ExitContext) -> Failure:
    if context.timed_out:
        return Failure(
            stage=stage,
            kind=Kind.TIMEOUT,
            message=f"still running after {context.timeout:g} s",
            remedy="raise `timeout` for this entry, or see in the log where it hangs",
        )
    if process_exit.status is None:
        return Failure(
            stage=stage,
            kind=Kind.CRASH,
            message="the fork server died, and its children with it",
            remedy="run again",
        )
    if (reason := _out_of_memory(process_exit, context)) is not None:
        return Failure(stage=stage, kind=Kind.OOM, message=reason, remedy=_USE_LESS_MEMORY)
    if process_exit.status == -signal.SIGKILL:
        return Failure(
            stage=stage,
            kind=Kind.CRASH,
            message="the process was killed (SIGKILL), but not by batchexport or the kernel's out-of-memory killer",
            remedy="run again; another program on this machine, or the model itself, sent the signal",
        )
    if process_exit.status < 0:
        return Failure(
            stage=stage,
            kind=Kind.CRASH,
            message=f"the process was terminated by {signal_name(-process_exit.status)}",
            remedy="see the end of the log; native code in the model or in torch crashed",
        )
    return Failure(
        stage=stage,
        kind=Kind.CRASH,
        message=f"the process exited with status {process_exit.status} and left no result",
        remedy="see the log; does the model code call sys.exit or os._exit?",
    )


def _out_of_memory(process_exit: ProcessExit, context: ExitContext) -> str | None:
    """Return how memory ended the process; None where it did not."""
    if context.held_when_killed is not None:
        pool = f", and the pool has {format_bytes(context.pool)}" if context.pool is not None else ""
        return f"killed by batchexport to free memory: the stage held {format_bytes(context.held_when_killed)}{pool}"
    status = process_exit.status
    assert status is not None
    if status == -signal.SIGKILL and context.kernel_killed is not False:
        likely = "" if context.kernel_killed else ", most likely"
        return f"the process was killed (SIGKILL){likely} because memory ran out"
    if status < 0 and context.pool is not None and used_whole_pool(process_exit, context):
        # C++ that is refused memory ends in abort or a null pointer.
        peak = format_bytes(process_exit.peak_rss_bytes or 0)
        used = f"{peak} of the pool's {format_bytes(context.pool)}"
        return f"the process was terminated by {signal_name(-status)} after it had used {used}"
    return None


def signal_name(number: int) -> str:
    """Return the name of a signal, or its number in words."""
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _free(folder: Path) -> str:
    try:
        return format_bytes(shutil.disk_usage(folder).free)
    except OSError:
        return "nothing"
