"""The command line only parses, calls, renders and sets the exit code.

At import it needs click and next to nothing else: a no-op run over a thousand jobs takes a quarter of
a second in all, so every command imports what it uses when it runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from batchexport.errors import BatchExportError, ExitCode, UsageError
from batchexport.units import seconds as _seconds
from batchexport.units import size as _size
from batchexport.version import __version__

if TYPE_CHECKING:
    from batchexport.run import RunOptions

Command = TypeVar("Command", bound=Callable[..., Any])

_STAGES = ("export", "compile", "verify")


class _Commands(click.Group):
    """The group of all commands; turns every way a command can end badly into words and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except BatchExportError as error:
            _complain(str(error))
            ctx.exit(int(error.exit_code))
        except KeyboardInterrupt:
            _complain("interrupted")
            ctx.exit(int(ExitCode.INTERRUPTED))
        except Exception as error:  # noqa: BLE001 - the last resort: a user never meets a traceback
            _explain_bug(error)
            ctx.exit(int(ExitCode.ENVIRONMENT))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of this file, the most used first


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_MANIFEST = click.Path(exists=True, dir_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)

_cache_dir = click.option(
    "--cache-dir",
    type=_FOLDER,
    envvar="BATCHEXPORT_CACHE_DIR",
    show_envvar=True,
    metavar="DIR",
    help="Keep the cache here; the default is the manifest's [cache] dir, then ./cache.",
)


def _manifest(command: Command) -> Command:
    return click.argument("manifest", type=_MANIFEST)(command)


def _choosing(command: Command) -> Command:
    """The options that narrow the jobs of a manifest."""
    for option in (
        click.option("--only", multiple=True, metavar="JOB", help="Only the job of exactly this name. Repeatable."),
        click.option(
            "--tag", "tags", multiple=True, metavar="T", help="Only jobs with this tag, or another one given."
        ),
        click.option(
            "-k",
            "expression",
            metavar="EXPR",
            help="Only jobs whose names match, as in pytest: 'bert and not (large or cuda)'.",
        ),
        _cache_dir,
    ):
        command = option(command)
    return command


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
@_manifest
@_choosing
@click.option("--stage", type=click.Choice(_STAGES), help="Stop after this stage.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="At most this many children at a time.")
@click.option("--fail-fast", is_flag=True, help="Start nothing more after the first failed job.")
@click.option("--force", is_flag=True, help="Build again what is cached.")
@click.option("--paranoid", is_flag=True, help="Build every export twice; results that differ are not cached.")
@click.option("--dry-run", is_flag=True, help="Show what would run and why, as `plan` does; run nothing.")
@click.option("--json", "json_file", type=_FILE, metavar="FILE", help="Write the JSON report here.")
@click.option("--require-all", is_flag=True, help="Fail jobs that would be skipped, for want of a GPU say.")
@click.option("--in-process", is_flag=True, help="Run stages in this process, for a debugger. Slow.")
@click.option("-q", "--quiet", is_flag=True, help="Print failures and the last line only.")
@click.option("-v", "--verbose", is_flag=True, help="Print every stage with its reason.")
@click.pass_context
def run(ctx: click.Context, /, **given: Any) -> None:
    """Bring the jobs of MANIFEST up to date.

    Prints a line for each finished job and a last line with the counts, the time and the path of the
    JSON report.
    """
    if given["quiet"] and given["verbose"]:
        raise click.UsageError("--quiet and --verbose exclude each other")
    if given["verbose"]:
        ctx.find_root().meta["batchexport.debug"] = True
    options = _options(given)
    if given["dry_run"]:
        _show_plan(options, to=options.json)
        return
    from batchexport import live
    from batchexport.run import run as run_manifest

    with live.Watcher(
        sys.stdout,
        base=str(options.manifest.parent),
        quiet=given["quiet"],
        verbose=given["verbose"],
        live=False if options.in_process else None,
    ) as watcher:
        report = run_manifest(options, watcher)
        watcher.finish(report)
    ctx.exit(int(report.exit_code))


@cli.command(short_help="Show what `run` would do, why, and for how long.")
@_manifest
@_choosing
@click.option("--force", is_flag=True, help="Plan as `run --force` would.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(as_json: bool, **given: Any) -> None:
    """Show what `run` would do for MANIFEST, why, and how long it should take."""
    _show_plan(_options(given), as_json=as_json)


@cli.command(short_help="Show what decides the stages of one job.")
@_manifest
@click.argument("job")
@_cache_dir
def explain(job: str, **given: Any) -> None:
    """Show for one JOB of MANIFEST which of its inputs decide what runs."""
    from batchexport import render
    from batchexport.run import plan as make_plan

    for planned in make_plan(_options({**given, "only": (job,)})).jobs:
        _say(render.explain_lines(planned))


class _Percent(click.ParamType):  # type: ignore[type-arg] # generic from click 8.5 on
    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            found = float(str(value).strip().removesuffix("%"))
        except ValueError:
            found = -1.0
        if not 0 < found <= 100:
            self.fail(f"{value} is no share of the jobs; write 5% for every twentieth", param, ctx)
        return found


@cli.command(short_help="Check the stored results of MANIFEST again.")
@_manifest
@_choosing
@click.option("-j", "--jobs", type=click.IntRange(min=1), metavar="N", help="At most this many children at a time.")
@click.option("--rebuild-sample", type=_Percent(), metavar="P%", help="Build that share of the jobs again and compare.")
@click.pass_context
def verify(ctx: click.Context, /, rebuild_sample: float | None, **given: Any) -> None:
    """Hold the compiled artifacts of MANIFEST against eager's numbers again, delivering what is missing.

    With --rebuild-sample, a share of the jobs, another one every day, is also built anew in an empty cache,
    and must come out the same.
    """
    from batchexport import live, render
    from batchexport.run import rebuild
    from batchexport.run import run as run_manifest

    options = _options(given)
    with live.Watcher(sys.stdout, base=str(options.manifest.parent)) as watcher:
        report = run_manifest(replace(options, force=("verify",)), watcher)
        watcher.finish(report)
    code = report.exit_code
    if rebuild_sample is not None:
        with live.Watcher(sys.stdout, base=str(options.manifest.parent), quiet=True) as watcher:
            rebuilt = rebuild(options, rebuild_sample, watcher)
        _say(render.rebuilt_lines([(one.name, one.differences) for one in rebuilt]))
        if any(one.differences for one in rebuilt):
            code = max(code, ExitCode.JOB_FAILED)
    ctx.exit(int(code))


@cli.command("ls")
@_manifest
@_choosing
def list_jobs(**given: Any) -> None:
    """List the jobs of MANIFEST and the state of their outputs."""
    from batchexport import render
    from batchexport.run import ls

    _say(render.ls_lines(ls(_options(given))))


@cli.group()
def cache() -> None:
    """Look at the cache, check it, free some of it."""


@cache.command("path")
@click.argument("manifest", type=_MANIFEST, required=False)
@_cache_dir
def cache_path(**given: Any) -> None:
    """Print the folder that the cache is in; MANIFEST may name one."""
    _say([str(_cache_root(given))])


@cache.command("stats")
@click.argument("manifest", type=_MANIFEST, required=False)
@_cache_dir
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def cache_stats(as_json: bool, **given: Any) -> None:
    """Print how much the cache holds."""
    from batchexport import render

    root = _existing_cache(given, as_json=as_json)
    if root is not None:
        from batchexport.store.store import Store

        with Store.open(root) as store:
            stats = store.stats()
        _say_either(as_json, {"cache": str(root), **asdict(stats)}, render.stats_lines(stats, str(root)))


class _Quantity(click.ParamType):  # type: ignore[type-arg] # generic from click 8.5 on
    """A number with a unit, as in a manifest."""

    def __init__(self, name: str, read: Callable[[str], float], example: str) -> None:
        self.name = name
        self._read = read
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return self._read(str(value))
        except ValueError:
            self.fail(f"{value} is no {self.name}; write {self._example}", param, ctx)


@cache.command("gc", short_help="Remove what was not used for longest.")
@click.argument("manifest", type=_MANIFEST, required=False)
@_cache_dir
@click.option("--max-size", type=_Quantity("size", _size, "50GiB"), metavar="SIZE", help="Free down to this: 50GiB.")
@click.option(
    "--older-than",
    type=_Quantity("time", _seconds, "30d"),
    metavar="AGE",
    help="Remove what was not used for so long: 30d, 12h.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Show what would go; remove nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def cache_gc(as_json: bool, **given: Any) -> None:
    """Remove from the cache what was not used for longest, and whatever killed runs left.

    Without --max-size, the size_limit under [cache] of the manifests that use this cache is the limit.
    What the outputs of a manifest were made from stays, as long as the manifest is there; so a limit may not
    be reached. It is safe while runs are at work.
    """
    root = _existing_cache(given, as_json=as_json)
    if root is not None:
        from batchexport.cache_words import gc_lines
        from batchexport.caches import collect

        found = collect(root, max_size=given["max_size"], max_age=given["older_than"], dry_run=given["dry_run"])
        _say_either(as_json, {"cache": str(root), **found.to_json()}, gc_lines(found, str(root)))


@cache.command("check", short_help="Hash every file again.")
@click.argument("manifest", type=_MANIFEST, required=False)
@_cache_dir
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.pass_context
def cache_check(ctx: click.Context, /, as_json: bool, **given: Any) -> None:
    """Parse every record of the cache and hash every file again.

    What is damaged is set aside, so that the next run builds it again; the exit code is then 4, and 0 the
    next time.
    """
    root = _existing_cache(given, as_json=as_json)
    if root is not None:
        from batchexport.cache_words import check_lines
        from batchexport.caches import check

        found = check(root)
        _say_either(as_json, {"cache": str(root), **asdict(found)}, check_lines(found, str(root)))
        ctx.exit(int(ExitCode.STORE if found.damage else ExitCode.OK))


@cli.command(short_help="Check what this machine has for the work.")
@click.argument("manifest", type=_MANIFEST, required=False)
@_cache_dir
@click.pass_context
def doctor(ctx: click.Context, /, **given: Any) -> None:
    """Check what this machine has for the work: toolchain, compiler, GPUs, disk, cache.

    The exit code is 3 if something necessary is missing.
    """
    from batchexport import render
    from batchexport.doctor import examine

    checks = examine(_cache_root(given))
    _say(render.doctor_lines(checks))
    ctx.exit(int(ExitCode.ENVIRONMENT if any(check.state == "fail" for check in checks) else ExitCode.OK))


def main() -> None:
    """The command `batchexport`."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # a terminal that can't show a character shows its number
            reconfigure(errors="backslashreplace")
    cli.main(prog_name="batchexport")


def _options(given: dict[str, Any]) -> RunOptions:
    from batchexport.run import RunOptions

    click.get_current_context().find_root().meta["batchexport.given"] = given

    return RunOptions(
        manifest=given["manifest"],
        cache_dir=given.get("cache_dir"),
        expression=given.get("expression"),
        tags=given.get("tags", ()),
        only=given.get("only", ()),
        stage=given.get("stage"),
        jobs=given.get("jobs"),
        fail_fast=given.get("fail_fast", False),
        force=_STAGES if given.get("force") else (),
        paranoid=given.get("paranoid", False),
        require_all=given.get("require_all", False),
        in_process=given.get("in_process", False),
        json=given.get("json_file"),
    )


def _cache_root(given: dict[str, Any]) -> Path:
    if given["manifest"] is None:
        return Path(given["cache_dir"] or "cache").resolve()
    from batchexport.run import cache_root

    return cache_root(_options(given)).resolve()


def _existing_cache(given: dict[str, Any], *, as_json: bool) -> Path | None:
    """The cache folder; None, and it is said, where there is no cache yet: looking makes none."""
    from batchexport.store.layout import Layout

    root = _cache_root(given)
    if Layout(root).home.is_dir():
        return root
    _say_either(as_json, {"cache": str(root), "empty": True}, [f"cache    {root}", "nothing is cached here yet"])
    return None


def _say_either(as_json: bool, plain: Any, lines: Iterable[str]) -> None:
    if as_json:
        import json

        lines = [json.dumps(plain, indent=2)]
    _say(lines)


def _show_plan(options: RunOptions, *, as_json: bool = False, to: Path | None = None) -> None:
    from batchexport import render
    from batchexport.run import plan as make_plan

    made = make_plan(options)
    if as_json or to is not None:
        import json

        text = json.dumps(made.to_json(), indent=2)
        if as_json:
            _say([text])
            return
        if to is not None:
            try:
                to.write_text(text + "\n", encoding="utf-8")
            except OSError as error:
                raise UsageError(f"can't write {to}: {error.strerror}") from None
    _say(render.plan_lines(made))


def _say(lines: Iterable[str]) -> None:
    from batchexport.live import silence

    try:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the output had enough, as `head` does: no error
        silence(sys.stdout)


def _complain(message: str) -> None:
    from batchexport.render import error_lines

    _say([])  # what was printed so far comes first
    sys.stderr.write("".join(f"{line}\n" for line in error_lines(message)))


def _explain_bug(error: Exception) -> None:
    """Say on one line that batchexport itself failed, and keep the traceback for a bug report."""
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
    _complain(f"batchexport itself failed, please report it: {what}; {where}")


def _kept(trace: str, given: dict[str, Any]) -> Path | None:
    """The file that now holds `trace`: the last one among the cache's logs. Outside the cache nothing is left."""
    try:
        from batchexport.store.layout import Layout

        root = given.get("cache_dir") or _cache_root({"manifest": None, "cache_dir": None, **given})
        log = Layout(root.absolute()).logs / "bug.log"
        partial = log.with_suffix(f".{os.getpid()}")
        partial.write_text(trace, encoding="utf-8", errors="backslashreplace")
        partial.replace(log)
    except Exception:  # noqa: BLE001 - it may be what failed in the first place
        return None
    return log
