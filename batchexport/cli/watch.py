"""The command `watch`: run a manifest, and again whenever an edit may change a result."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click

from batchexport.cli.console import echo, echo_error
from batchexport.cli.options import manifest, options_of, selection_options
from batchexport.core.errors import EnvironmentProblem, ExitCode, ManifestError, UsageError
from batchexport.core.report import STAGES
from batchexport.core.text import counted

if TYPE_CHECKING:
    from batchexport.api import RunOptions
    from batchexport.engine.kept_servers import KeptServers
    from batchexport.planning.watched import Watched


@click.command(short_help="Run again whenever an edit touches a job.")
@manifest
@selection_options
@click.option("--stage", type=click.Choice(STAGES), help="Stop after this stage.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="Maximum parallel workers.")
@click.option("-v", "--verbose", is_flag=True, help="Print every stage with its reason.")
@click.pass_context
def watch(ctx: click.Context, /, verbose: bool, **given: Any) -> None:
    """Run MANIFEST, and again whenever a file changes that a job depends on, until Ctrl-C.

    torch is imported once, so that a run after an edit takes little more than its stages. On a terminal
    each run clears the screen.
    """
    from batchexport.api import kept_servers
    from batchexport.api import watched as watched_files
    from batchexport.cli.changes import Changes, changed_line

    options = options_of(given)
    changed: list[str] = []
    missed: list[str] = []
    watched: Watched | None = None
    with kept_servers() as servers:
        while True:
            if sys.stdout.isatty():
                click.clear()
            if changed:
                echo([changed_line(changed)])
            began = time.time()
            if _run(options, servers, verbose=verbose) is ExitCode.INTERRUPTED:
                ctx.exit(int(ExitCode.INTERRUPTED))
            watched = watched_files(options, watched)
            changes = Changes(watched)
            # An edit during the run calls for another one, but a file that a model writes each time does not.
            during = watched.changed_since(began)
            missed = during if during != missed else []
            if not missed:
                echo([f"{'watching':<9} {counted(len(watched.files), 'file')}; Ctrl-C ends"])
            try:
                changed = missed or changes.wait()
            except KeyboardInterrupt:
                return


def _run(options: RunOptions, servers: KeptServers, *, verbose: bool) -> ExitCode:
    """Make one run; a mistake in the manifest is told, and may be mended for the next."""
    from batchexport.api import run
    from batchexport.cli.progress import Watcher
    from batchexport.toolchain.probe import is_current

    if not is_current():
        raise EnvironmentProblem("batchexport itself has changed since this command began; start it again")
    try:
        with Watcher(sys.stdout, base=str(options.manifest.parent), verbose=verbose, idle=verbose) as watcher:
            report = run(options, watcher, servers=servers)
            watcher.finish(report)
    except (ManifestError, UsageError) as error:
        echo_error(str(error))
        return error.exit_code
    return report.exit_code
