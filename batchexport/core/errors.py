"""Every way a run can end badly is one of the few types here, and each knows its exit code.

A failed *job* is not an exception: it is a `Failure`, data that travels in the report
(DESIGN section 8). Exceptions are for what stops the whole command.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import IntEnum, StrEnum

# What the system calls a full disk, or a quota that is used up.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class ExitCode(IntEnum):
    """Exit codes of the command line; a contract (DESIGN section 8)."""

    OK = 0
    JOB_FAILED = 1
    USAGE = 2
    ENVIRONMENT = 3
    STORE = 4
    INTERRUPTED = 130


class Kind(StrEnum):
    """What went wrong with a job's stage; a contract (DESIGN section 8)."""

    IMPORT = "import"
    BUILD = "build"
    WEIGHTS = "weights"
    INPUTS = "inputs"
    SHAPES = "shapes"
    EXPORT = "export"
    LOWER = "lower"
    SAVE = "save"
    COMPILE = "compile"
    VERIFY = "verify"
    TIMEOUT = "timeout"
    OOM = "oom"
    CRASH = "crash"
    DISK = "disk"
    TOOLCHAIN = "toolchain"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake of a manifest: where it is, what is wrong, what to write instead."""

    place: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" + (f"; {self.hint}" if self.hint else "")


class BatchExportError(Exception):
    """The base of what stops a whole command. `str()` is one clear message for the user."""

    exit_code: ExitCode = ExitCode.ENVIRONMENT


class UsageError(BatchExportError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_code = ExitCode.USAGE


class ManifestError(BatchExportError):
    """All the mistakes of one manifest, found before any work is done."""

    exit_code = ExitCode.USAGE

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class EnvironmentProblem(BatchExportError):
    """The machine lacks something that every job needs: torch, a compiler, a working pool."""

    exit_code = ExitCode.ENVIRONMENT


class StoreError(BatchExportError):
    """The cache folder can't be used at all."""

    exit_code = ExitCode.STORE
