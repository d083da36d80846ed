"""How a child ended is read from its result file first and from its exit status second; never guessed from text."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchexport.errors import Kind
from batchexport.fulldisk import explained
from batchexport.report import Failure
from batchexport.workers.forkserver import Ended

RESULT_FILE = "result.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """A stage's result, as the child wrote it."""

    output: Mapping[str, Any]
    dependencies: list[list[Any]]
    uncacheable: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A file that the stage had read was changed while it ran."""

    path: str


def verdict(ended: Ended, folder: Path, *, stage: str, timed_out: bool, timeout: float) -> Success | Changed | Failure:
    """What became of a stage."""
    try:
        result = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
        return _told(result, stage, folder)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        # None, or none that the pipeline writes: model code may write anything anywhere.
        return explained(_without_result(ended, stage, timed_out=timed_out, timeout=timeout), folder)


def _told(result: Mapping[str, Any], stage: str, folder: Path) -> Success | Changed | Failure:
    if result["ok"] is True:
        return Success(
            output={**result["output"]},
            dependencies=[[*dependency] for dependency in result["dependencies"]],
            uncacheable=[*result["uncacheable"]],
        )
    if "changed" in result:
        return Changed(path=result["changed"])
    error = result["error"]
    failure = Failure(stage=stage, kind=Kind(error["kind"]), message=error["message"], remedy=error["remedy"])
    return explained(failure, folder)


def _without_result(ended: Ended, stage: str, *, timed_out: bool, timeout: float) -> Failure:
    if timed_out:
        return Failure(
            stage=stage,
            kind=Kind.TIMEOUT,
            message=f"still running after {timeout:g} s",
            remedy="raise `timeout` for this entry, or see in the log where it hangs",
        )
    if ended.status is None:
        return Failure(
            stage=stage,
            kind=Kind.CRASH,
            message="the fork server was lost, and its children with it",
            remedy="run again",
        )
    if ended.status == -signal.SIGKILL:
        return Failure(
            stage=stage,
            kind=Kind.OOM,
            message="the process was killed (SIGKILL), most likely because memory ran out",
            remedy="run fewer jobs at a time (--jobs 1) or use smaller dims",
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


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
