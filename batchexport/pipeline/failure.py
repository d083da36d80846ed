"""Turn exceptions into plain data: a kind, one line and a remedy; the traceback goes to the log.

Some of torch's exceptions can't be pickled, so none of them leaves the child.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from batchexport.core.errors import NO_ROOM, Kind
from batchexport.pipeline.manifest_lines import Changes

__all__ = ["Kind", "StageFailure", "causes", "classified", "failing_as", "of_type", "one_line", "text_of"]
_MESSAGE_LENGTH = 400
_COMPILER = re.compile(r"^\S+:\d+:\d+: (error: .+)$", re.MULTILINE)  # what g++ says, far behind the command line
_STYLE = re.compile(r"\x1b\[[\d;]*m")  # of terminals, which torch writes into texts


class StageFailure(Exception):
    """A failed stage. Raised only inside the pipeline, and turned into data at its edge.

    `changes` are those of the manifest that the remedy tells in words, where it tells any. `fix` is what can be written
    into the manifest without asking: `{"path": […], "value": …}` for each key of the entry, None to remove it.
    `error_class` is how torch classifies a failed capture: the case of its exportdb, or its error type.
    `draft` makes a draft export, where that may tell more, and returns its report; `findings` are the lines of that.
    `where` is the line of the user's code that raised what failed: file, line, text, function.
    """

    def __init__(self, kind: Kind, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.remedy = remedy
        self.changes: Changes | None = None
        self.fix: list[dict[str, Any]] = []
        self.error_class: str | None = None
        self.draft: Callable[[], Any] | None = None
        self.findings: list[str] = []
        self.where: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "kind": str(self.kind),
            "message": self.message + (f"; at {place_text(self.where)}" if self.where else ""),
            "remedy": self.remedy,
            "fix": self.fix,
            "class": self.error_class,
            "findings": self.findings,
            "where": self.where,
            "traceback": "".join(traceback.format_exception(self)),
        }


def place_text(where: Mapping[str, Any]) -> str:
    """Return a place as text: `models.py:31: return x.view(b, 2, -1)`."""
    text = f": {where['text']}" if where["text"] else ""
    return f"{where['file']}:{where['line']}{text}"


def of_type(value: object) -> str:
    """Name the type of a Python value in a message: `an int`, `a Linear`, `None`."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def one_line(error: BaseException) -> str:
    """Return the type of an exception and the first paragraph of its text in one line, at most 400 characters.

    torch puts what holds of any error after an empty line.
    """
    whole = _STYLE.sub("", text_of(error)).strip()
    told = " ".join(re.split(r"\n\s*\n", whole, maxsplit=1)[0].split())
    if compiler := _COMPILER.search(whole):
        told = f"{told}: {compiler[1]}"
    text = f"{type(error).__name__}: {told}" if told else type(error).__name__
    return text if len(text) <= _MESSAGE_LENGTH else text[: _MESSAGE_LENGTH - 1] + "…"


def text_of(error: BaseException) -> str:
    """Return the text of an exception; for one of model code, `str()` may itself raise."""
    try:
        return str(error)
    except Exception as problem:
        return f"(its text can't be had: {type(problem).__name__})"


@contextmanager
def failing_as(kind: Kind, doing: str, remedy: str | None = None) -> Iterator[None]:
    """Turn any exception of the block into a StageFailure of `kind`; memory and disk keep their own kinds."""
    try:
        yield
    except StageFailure:
        raise
    except Exception as error:
        raise classified(error, kind, doing, remedy) from error


# What a compiler says; it may write to another disk than the stage: headers are compiled in the toolchain's folder.
_NO_ROOM = re.compile(r"[^\n]*(?:No space left on device|Disk quota exceeded)")


def classified(error: BaseException, kind: Kind, doing: str, remedy: str | None = None) -> StageFailure:
    """Return the StageFailure for an error that was raised while `doing` something."""
    if isinstance(error, SystemExit):
        return StageFailure(kind, f"{doing}: it called sys.exit({error.code!r})", _instead_of_exit(error))
    told = one_line(error)
    remedy = remedy or next((advice for pattern, advice in _ADVICE if pattern.search(told)), None)
    for cause in causes(error):
        if isinstance(cause, MemoryError) or "DefaultCPUAllocator: can't allocate memory" in text_of(cause):
            return StageFailure(
                Kind.OOM,
                f"{doing}: {one_line(cause)}",
                "run fewer jobs at a time (--jobs 1) or use smaller dims",
            )
        if isinstance(cause, OSError) and cause.errno in NO_ROOM:
            return StageFailure(Kind.DISK, f"{doing}: {one_line(cause)}", "free some disk space and run again")
        if type(cause).__name__ == "CppCompileError" and (full := _NO_ROOM.search(str(cause))):
            return StageFailure(Kind.DISK, f"{doing}: {full[0]}", "free some disk space and run again")
        if type(cause).__name__ in ("InvalidCxxCompiler", "InvalidCxxCompilerError"):
            return StageFailure(
                Kind.TOOLCHAIN, "no working C++ compiler", "install g++ or set CXX; see `batchexport doctor`"
            )
    return StageFailure(kind, f"{doing}: {told}", remedy)


_ON_CPU = (
    'build the model on the CPU, without .cuda(), device = "cuda" or torch.set_default_device; '
    'targets = ["cuda"] in the entry compiles it for the GPU'
)
# What model code often meets, and what to do about it.
_ADVICE = (
    (re.compile(r"not compiled with CUDA|Found no NVIDIA driver|No CUDA GPUs are available"), _ON_CPU),
    (re.compile(r"partially initialized module"), "two modules import each other: import one inside the function"),
    (re.compile(r"EOFError: EOF when reading a line"), "a stage has no terminal to read from: give it in kwargs"),
)


def _instead_of_exit(error: SystemExit) -> str:
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    if any(file.endswith("argparse.py") for file in files):
        return "a model has no command line to parse: give what it needs in kwargs of the entry"
    return "raise an exception that says what is wrong, or return the model"


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and all that led to it."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        cause = pending.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        inner = getattr(cause, "inner_exception", None)
        pending += [cause.__cause__, cause.__context__, inner if isinstance(inner, BaseException) else None]
