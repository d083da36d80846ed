"""The command `batchexport`: parse, call a verb, render, set the exit code.

A no-op run over a thousand jobs takes a quarter of a second in all, so this module imports little besides click, and
every command imports what it uses when it runs.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchexport.cli.cache import cache
from batchexport.cli.completion import VARIABLE, completion
from batchexport.cli.console import echo, echo_error, echo_json_or_text
from batchexport.cli.diff import diff
from batchexport.cli.doctor import doctor
from batchexport.cli.init import init
from batchexport.cli.jobs import explain, list_jobs, logs, show
from batchexport.cli.options import (
    STDOUT,
    Quantity,
    cache_root_of,
    manifest,
    manifests,
    options_of,
    other_reports,
    report_file,
    selection_options,
    share,
)
from batchexport.cli.schema import schema
from batchexport.cli.watch import watch
from batchexport.core.errors import BatchExportError, ExitCode, UsageError
from batchexport.core.report import STAGES
from batchexport.version import __version__

if TYPE_CHECKING:
    from batchexport.api import RunOptions
    from batchexport.cli.progress import Watcher
    from batchexport.core.report import RunReport


class _Commands(click.Group):
    """The group of all commands; turns every exception into a message and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except BatchExportError as error:
            echo_error(str(error))
            ctx.exit(int(error.exit_code))
        except KeyboardInterrupt:
            echo_error("interrupted")
            ctx.exit(int(ExitCode.INTERRUPTED))
        except Exception as error:  # noqa: BLE001 - the last resort: a user never meets a traceback
            _explain_bug(error)
            ctx.exit(int(ExitCode.ENVIRONMENT))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of this file: most used first


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=_Commands, context_settings=_SETTINGS)
@click.version_option(__version__, "-V", "--version", prog_name="batchexport", message="%(prog)s %(version)s")
def cli() -> None:
    """Bring every model of a manifest to verified .pt2 archives and compiled packages, rebuilding
    only what changed.

    \b
    Exit codes: 0 all delivered, 1 some job failed, 2 usage or manifest,
    3 environment, 4 cache, 130 interrupted.
    """


@cli.command()
@manifests
@selection_options
@click.option("--stage", type=click.Choice(STAGES), help="Stop after this stage.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Maximum parallel workers.")
@click.option("--fail-fast", is_flag=True, help="Start no more jobs after the first failure.")
@click.option("--maxfail", type=click.IntRange(min=1), metavar="N", help="Start no more jobs after N failures.")
@click.option("--durations", type=click.IntRange(min=0), metavar="N", help="Show the N slowest stages; 0 for all.")
@click.option("--force", is_flag=True, help="Rebuild what is cached.")
@click.option("--paranoid", is_flag=True, help="Build every export twice; do not cache results that differ.")
@click.option("--dry-run", is_flag=True, help="Show what would run and why, like `plan`.")
@report_file
@other_reports
@click.option("--require-all", is_flag=True, help="Treat skipped jobs as failures (e.g. no GPU).")
@click.option("--in-process", is_flag=True, help="Run stages in this process, for debugging. Slow.")
@click.option("--apply-fixes", is_flag=True, help="Write what failures say into MANIFEST, and run again.")
@click.option("-q", "--quiet", is_flag=True, help="Print failures and the last line only.")
@click.option("-v", "--verbose", is_flag=True, help="Print every stage with its reason.")
@click.pass_context
def run(ctx: click.Context, /, **given: Any) -> None:
    """Bring the jobs of MANIFEST up to date. Several manifests run one after the other; a folder stands for
    those in it.

    Prints a line for each finished job and a last line with the counts, the time and the path of the
    JSON report.
    """
    if given["quiet"] and given["verbose"]:
        raise click.UsageError("--quiet and --verbose exclude each other")
    if given["verbose"]:
        ctx.find_root().meta["batchexport.debug"] = True
    from batchexport.cli.several import manifest_files, run_each

    paths = manifest_files(given["manifest"])
    if len(paths) > 1:
        ctx.exit(run_each(ctx, paths, given))
    given["manifest"] = paths[0]
    options = options_of(given)
    if given["dry_run"]:
        _show_plan(options, as_json=given["json_file"] == STDOUT, to=options.json)
        return
    from batchexport.api import run as run_manifest

    with _watcher(given, live=False if options.in_process else None, durations=given["durations"]) as watcher:
        report = run_manifest(options, watcher, servers=ctx.obj)
        watcher.finish(report)
    _print_report(given, report)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        from batchexport.cli.github import tell_github

        tell_github(report)
    ctx.meta["batchexport.report"] = report
    ctx.exit(int(report.exit_code))


@cli.command(short_help="Show what `run` would do, why, and how long it takes.")
@manifest
@selection_options
@click.option("--force", is_flag=True, help="Plan as `run --force` would.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(as_json: bool, **given: Any) -> None:
    """Show what `run` would do for MANIFEST, why, and how long it should take."""
    _show_plan(options_of(given), as_json=as_json)


cli.add_command(watch)
cli.add_command(explain)


@cli.command(short_help="Re-verify compiled artifacts against eager outputs.")
@manifest
@selection_options
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Maximum parallel workers.")
@click.option(
    "--rebuild-sample",
    type=Quantity("share of the jobs", share, "5% for every twentieth"),
    metavar="P%",
    help="Rebuild this percentage of the jobs and compare.",
)
@report_file
@click.pass_context
def verify(ctx: click.Context, /, rebuild_sample: float | None, **given: Any) -> None:
    """Re-verify compiled artifacts against eager outputs, and deliver what is missing.

    With --rebuild-sample, a different random sample of the jobs is rebuilt each day in an empty cache and
    must give the same results.
    """
    from batchexport.api import rebuild
    from batchexport.api import run as run_manifest
    from batchexport.cli import render

    options = options_of(given)
    with _watcher(given) as watcher:
        report = run_manifest(replace(options, force=("verify",)), watcher, servers=ctx.obj)
        watcher.finish(report)
    _print_report(given, report)
    code = report.exit_code
    if rebuild_sample is not None and report.jobs:
        again = replace(options, json=None, failed=False, only=tuple(job.name for job in report.jobs))
        with _watcher({**given, "quiet": True}) as watcher:
            rebuilt = rebuild(again, rebuild_sample, watcher)
        lines = render.rebuilt_lines([(one.name, one.differences) for one in rebuilt])
        echo(lines, to=sys.stderr if given["json_file"] == STDOUT else None)
        if any(one.differences for one in rebuilt):
            code = max(code, ExitCode.JOB_FAILED)
    ctx.exit(int(code))


cli.add_command(list_jobs)
cli.add_command(logs)
cli.add_command(show)
cli.add_command(diff)
cli.add_command(cache)
cli.add_command(init)
cli.add_command(schema)


cli.add_command(doctor)
cli.add_command(completion)


def main() -> None:
    """Run the command `batchexport`."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # show an escape where the terminal's encoding lacks a character
            reconfigure(errors="backslashreplace")
    if VARIABLE in os.environ:
        from batchexport.cli import shells

        shells.register()
    cli.main(prog_name="batchexport")


def _watcher(given: dict[str, Any], *, live: bool | None = None, durations: int | None = None) -> Watcher:
    """Return what prints a run: to standard error where the report goes to standard output."""
    from batchexport.cli import progress

    return progress.Watcher(
        sys.stderr if given["json_file"] == STDOUT else sys.stdout,
        base=str(given["manifest"].parent),
        quiet=given.get("quiet", False),
        verbose=given.get("verbose", False),
        live=live,
        durations=durations,
    )


def _print_report(given: dict[str, Any], report: RunReport) -> None:
    if given["json_file"] == STDOUT:
        echo_json_or_text(True, report.to_json(), ())


def _show_plan(options: RunOptions, *, as_json: bool = False, to: Path | None = None) -> None:
    from batchexport.api import plan as make_plan
    from batchexport.cli import render_plan

    made = make_plan(options)
    if as_json or to is not None:
        import json

        text = json.dumps(made.to_json(), indent=2)
        if as_json:
            echo([text])
            return
        if to is not None:
            try:
                to.write_text(text + "\n", encoding="utf-8")
            except OSError as error:
                raise UsageError(f"can't write {to}: {error.strerror}") from None
    for note in made.notes:
        echo([f"note: {note}"], to=sys.stderr)
    echo(render_plan.plan_lines(made))


def _explain_bug(error: Exception) -> None:
    """Print on one line that batchexport itself failed, and save the traceback for a bug report."""
    import traceback

    trace = traceback.format_exc()
    what = f"{type(error).__name__}: {error}".partition("\n")[0]
    where = "set BATCHEXPORT_DEBUG=1 to see where"
    meta = click.get_current_context().find_root().meta
    if os.environ.get("BATCHEXPORT_DEBUG") or meta.get("batchexport.debug"):
        sys.stderr.write(trace)
        where = "the traceback is above"
    elif log := _kept(trace, meta.get("batchexport.given", {})):
        where = f"the traceback is in {log}"
    echo_error(f"batchexport itself failed, please report it: {what}; {where}")


def _kept(trace: str, given: dict[str, Any]) -> Path | None:
    """Write `trace` to `bug.log` in the cache and return its path, or None; nothing is written elsewhere."""
    try:
        from batchexport.store.layout import Layout

        root = given.get("cache_dir") or cache_root_of({"manifest": None, "cache_dir": None, **given})
        log = Layout(root.absolute()).logs / "bug.log"
        partial = log.with_suffix(f".{os.getpid()}")
        partial.write_text(trace, encoding="utf-8", errors="backslashreplace")
        partial.replace(log)
    except Exception:  # noqa: BLE001 - it may be what failed in the first place
        return None
    return log
