"""Let torch's draft export say all that keeps a model from being exported, where a capture stops at the first thing."""

from __future__ import annotations

import json
import os
import re
import select
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

LINES = 5
_WIDTH = 160
_STYLE = re.compile(r"\x1b\[[\d;]*m")


def findings(draft: Callable[[], Any], report: Path, seconds: float) -> list[str]:
    """Run a draft export; return what it found in at most five lines, and leave the whole in the file `report`.

    It runs in a process of its own for at most so many seconds: a crash or a hang in there finds nothing.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _tell(draft, report, writing)
    os.close(writing)
    told = b""
    try:
        while select.select([reading], [], [], seconds)[0] and (part := os.read(reading, 1 << 16)):
            told += part
        lines = json.loads(told)
    except (OSError, ValueError):
        lines = []
    finally:
        os.close(reading)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return [str(line) for line in lines][:LINES]


def _tell(draft: Callable[[], Any], report: Path, writing: int) -> None:
    """Write the report, and the lines as JSON to a pipe; does not return."""
    try:
        torch.set_num_threads(1)  # OpenMP's threads did not survive the fork
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
        found = draft()
        if lines := summary(found):
            report.write_text(_STYLE.sub("", str(found)), encoding="utf-8")
            os.write(writing, json.dumps(lines).encode())
    finally:
        os._exit(0)


def summary(report: Any) -> list[str]:
    """Return a line for each finding of a draft export's report, if there are few, and where all of it is."""
    lines = list(
        dict.fromkeys(_line(one.failure_type.name, one.data, report.str_to_filename) for one in report.failures)
    )
    if not lines:
        return []
    kept = lines[: LINES - 1]
    more = f"and {len(lines) - len(kept)} more; " if len(lines) > len(kept) else ""
    return [*kept, f"{more}in full: draft_export.txt beside the log"]


def _line(kind: str, data: Mapping[str, Any], files: Mapping[int, str]) -> str:
    if kind == "MISSING_FAKE_KERNEL":
        return f"no fake kernel: {data['op']}"
    if kind == "MISMATCHED_FAKE_KERNEL":
        return _cut(f"wrong fake kernel: {data['op']}: {data['reason']}")
    what = "value of data" if kind == "DATA_DEPENDENT_ERROR" else "guard"
    return _cut(f"{what}: {_in_words(data)}{_place(data, files)}")


def _in_words(data: Mapping[str, Any]) -> str:
    """Return an expression with the sizes of inputs in the place of torch's symbols."""
    sources = {str(symbol): str(source) for symbol, source in (data.get("symbol_to_sources") or {}).items()}
    text = re.sub(r"\w+", lambda match: sources.get(match[0], match[0]), str(data["expr"]))
    return re.sub(r"L\['(\w+)'\]\.size\(\)\[(\d+)\]", r"\1.shape[\2]", text)


def _place(data: Mapping[str, Any], files: Mapping[int, str]) -> str:
    """Return the innermost line of the model's code, with its file where torch tells it."""
    frames = data.get("user_stack") or [{}]
    last: Mapping[str, Any] = frames[-1]
    code = (data.get("frame_locals") or {}).get("loc") or last.get("loc")
    file = files.get(last.get("filename", -1), "")
    where = f" ({os.path.basename(file)}, line {last.get('line')})" if file else ""
    return f", at `{' '.join(str(code).split())}`{where}" if code else where


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"
