"""The exceptions that stop a whole command, each with its exit code.

A failed *job* is not an exception but a `Failure`: data in the report.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from enum import IntEnum, StrEnum

# The disk is full, or the user's quota is used up.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class ExitCode(IntEnum):
    """Exit codes of the command line. Scripts rely on them: never change one."""

    OK = 0
    JOB_FAILED = 1
    USAGE = 2
    ENVIRONMENT = 3
    STORE = 4
    INTERRUPTED = 130


class Kind(StrEnum):
    """The kinds of failure of a stage, as the report names them. Scripts rely on them: never change one."""

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
    EXPECT = "expect"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake of a manifest: where it is, what is wrong, what to write instead."""

    place: str
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" + (f"; {self.hint}" if self.hint else "")


class BatchExportError(Exception):
    """The base class of errors that stop a whole command. `str()` is the message for the user."""

    exit_code: ExitCode = ExitCode.ENVIRONMENT


class UsageError(BatchExportError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_code = ExitCode.USAGE


class NothingSelected(UsageError):
    """The options select no job of the manifest."""


class ManifestError(BatchExportError):
    """All mistakes in one manifest, found before any work is done."""

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
