"""The command `diff`, and the reading of what it compares."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchexport.cli.console import echo_json_or_text
from batchexport.cli.options import json_flag
from batchexport.core.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from batchexport.reporting.difference import JobFacts

_SIDE = click.Path(path_type=Path)


@click.command(short_help="Compare two reports, or two output folders.")
@click.argument("before", type=_SIDE)
@click.argument("after", type=_SIDE)
@click.option("--exit-code", is_flag=True, help="Exit with 1 if more than times differ, like git diff.")
@json_flag
@click.pass_context
def diff(ctx: click.Context, /, before: Path, after: Path, exit_code: bool, as_json: bool) -> None:
    """Compare BEFORE with AFTER: which jobs are new, gone, newly failing or fixed, and what changed in them.

    Each is a JSON report, an output folder, or the folder of one job. Folders tell operators, sizes of files and
    the numbers of verification; reports tell failures and times. What only one of the two tells is left out.
    """
    from batchexport.cli.render_diff import diff_lines
    from batchexport.reporting.difference import compare

    sides = _side(before), _side(after)
    if all(_is_job(path) for path in (before, after)):  # of two jobs, whatever their names
        sides = (dict(zip(sides[1], sides[0].values(), strict=True)), sides[1])
    found = compare(*sides)
    echo_json_or_text(as_json, found.to_json(), diff_lines(found))
    ctx.exit(int(ExitCode.JOB_FAILED if exit_code and found.differs else ExitCode.OK))


def _side(path: Path) -> dict[str, JobFacts]:
    """Return what a report or a folder tells of its jobs. Raises UsageError."""
    from batchexport.reporting.difference import report_facts

    if not path.exists():
        raise UsageError(f"{path} does not exist; give a report.json or an output folder")
    if path.is_file():
        form = _read(path)
        try:
            return report_facts(form)
        except (KeyError, TypeError, AttributeError):
            raise UsageError(f"{path} is no report of a run; give a report.json or an output folder") from None
    if _is_job(path):
        return dict((_delivered(path),))
    found = dict(_delivered(one.parent) for one in sorted(path.glob("*/job.json")))
    report = path / "report.json"
    if report.is_file():
        for name, told in _side(report).items():
            files = found.get(name)
            found[name] = (
                told
                if files is None
                else replace(files, state=told.state, kind=told.kind, message=told.message, seconds=told.seconds)
            )
    if not found:
        raise UsageError(f"{path} holds neither a report.json nor folders of jobs with a job.json")
    return found


def _is_job(path: Path) -> bool:
    return (path / "job.json").is_file()


def _delivered(folder: Path) -> tuple[str, JobFacts]:
    from batchexport.reporting.difference import job_json_facts

    path = folder / "job.json"
    try:
        sizes = {one.name: one.stat().st_size for one in folder.iterdir() if one.is_file() and one != path}
        form = _read(path)
        return form["name"], job_json_facts(form, sizes)
    except OSError as error:
        raise UsageError(f"can't read {folder}: {error.strerror}") from None
    except (KeyError, TypeError, AttributeError):
        raise UsageError(f"{path} is not the job.json of a delivered job") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        form = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"can't read {path}: {error.strerror}") from None
    except ValueError:
        raise UsageError(f"{path} is not JSON; give a report.json or an output folder") from None
    if not isinstance(form, dict):
        raise UsageError(f"{path} is no report of a run; give a report.json or an output folder")
    return form
