"""The commands that look at jobs and change nothing: explain, ls, logs and show."""

from __future__ import annotations

from typing import Any

import click

from batchexport.cli.console import echo, echo_json_or_text
from batchexport.cli.options import cache_dir, job, json_flag, manifest, options_of, selection_options
from batchexport.core.errors import UsageError
from batchexport.core.report import STAGES


@click.command(short_help="Explain why a job would be rebuilt.")
@manifest
@job
@cache_dir
@json_flag
def explain(job: str, as_json: bool, **given: Any) -> None:
    """Explain why one JOB of MANIFEST would be rebuilt, and how it ended last."""
    from batchexport.api import details
    from batchexport.api import plan as make_plan
    from batchexport.cli.render_job import ended_lines
    from batchexport.cli.render_plan import explain_lines

    options = options_of({**given, "only": (job,)})
    (planned,), (known,) = make_plan(options).jobs, details(options)
    form = {"schema": 1, **planned.to_json(), "ended": known.ended, "error": known.error}
    echo_json_or_text(as_json, form, [*explain_lines(planned), *ended_lines(known)])


@click.command("ls", short_help="List the jobs and the state of their outputs.")
@manifest
@selection_options
@json_flag
def list_jobs(as_json: bool, **given: Any) -> None:
    """List the jobs of MANIFEST and the state of their outputs."""
    from dataclasses import asdict

    from batchexport.api import ls
    from batchexport.cli.render_plan import ls_lines

    options = options_of(given)
    states = ls(options)
    form = {"schema": 1, "manifest": str(options.manifest), "jobs": [asdict(state) for state in states]}
    echo_json_or_text(as_json, form, ls_lines(states))


@click.command(short_help="Print the log of a stage of a job.")
@manifest
@job
@click.option("--stage", type=click.Choice(STAGES), help="The stage; by default the one that failed, else the last.")
@cache_dir
@json_flag
def logs(job: str, stage: str | None, as_json: bool, **given: Any) -> None:
    """Print what a stage of JOB has printed when it last ran, below a line with the path of that log.

    Without --stage: the log of the stage that failed, or else the newest.
    """
    from batchexport.api import details
    from batchexport.cli.render_job import log_lines

    (known,) = details(options_of({**given, "only": (job,)}))
    log = known.log(stage)
    try:
        file = open(log.path, encoding="utf-8", errors="replace")  # noqa: SIM115 - closed below
    except OSError as error:
        raise UsageError(f"can't read {log.path}: {error.strerror}") from None
    with file:
        if as_json:
            form = {"schema": 1, "name": job, "stage": log.stage, "path": log.path, "text": file.read()}
            echo_json_or_text(True, form, ())
        else:
            echo(log_lines(log, file))


@click.command(short_help="Show all that is known of a job.")
@manifest
@job
@cache_dir
@json_flag
def show(job: str, as_json: bool, **given: Any) -> None:
    """Show all that is known of JOB: how it ended last, what failed and what to do, its files, keys and evidence."""
    from batchexport.api import details
    from batchexport.cli.render_job import job_lines

    options = options_of({**given, "only": (job,)})
    (known,) = details(options)
    echo_json_or_text(as_json, known.to_json(), job_lines(known, base=str(options.manifest.parent)))
