"""Tell GitHub Actions of a run: print the commands that mark failures, and append the summary of the step."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from batchexport.cli.console import echo
from batchexport.reporting.github import error_commands, step_summary

if TYPE_CHECKING:
    from batchexport.core.report import RunReport


def tell_github(report: RunReport) -> None:
    """Print annotations to standard error, and append to the file that GITHUB_STEP_SUMMARY names; never raises OSError.

    Commands are read from both streams; standard output may hold the JSON report.
    """
    workspace = os.environ.get("GITHUB_WORKSPACE") or os.getcwd()
    folder = os.path.relpath(Path(report.manifest).absolute().parent, workspace)
    echo(error_commands(report, "" if folder == "." else folder), to=sys.stderr)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if not summary:
        return
    try:
        with open(summary, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(step_summary(report))
    except OSError as error:
        echo([f"note: can't write {summary} (GITHUB_STEP_SUMMARY): {error.strerror}"], to=sys.stderr)
