"""The exit code of a run, from the reports of its jobs."""

from __future__ import annotations

import pytest

from batchexport import api
from batchexport.core.errors import ExitCode, Kind
from batchexport.core.report import JobReport
from support.reports import failure, job

NO_COMPILER = job("a@cpu", error=failure(kind=Kind.TOOLCHAIN))


@pytest.mark.parametrize(
    ("reports", "code"),
    [
        ((job(),), ExitCode.OK),
        ((NO_COMPILER,), ExitCode.ENVIRONMENT),
        ((NO_COMPILER, job("b@cuda", ok=False)), ExitCode.ENVIRONMENT),
        ((NO_COMPILER, job("b@cpu")), ExitCode.JOB_FAILED),
        ((NO_COMPILER, job("b@cpu", error=failure(kind=Kind.BUILD))), ExitCode.JOB_FAILED),
        ((job("a@cuda", target="cuda", error=failure(kind=Kind.TOOLCHAIN)),), ExitCode.JOB_FAILED),
        ((job(error=failure(), expected=True),), ExitCode.OK),
    ],
)
def test_the_exit_code_tells_a_missing_compiler_from_failed_jobs(
    reports: tuple[JobReport, ...], code: ExitCode
) -> None:
    assert api._exit_code(reports, interrupted=False) is code


def test_an_interrupted_run_says_so() -> None:
    assert api._exit_code((NO_COMPILER,), interrupted=True) is ExitCode.INTERRUPTED
