"""Arguments and options that commands share, and the RunOptions made from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from batchexport.core.report import STAGES

if TYPE_CHECKING:
    from batchexport.api import RunOptions

Command = TypeVar("Command", bound=Callable[..., Any])

_NO_MANIFESTS = (".json", ".py", ".pt2", ".pt", ".pth", ".ckpt", ".safetensors", ".yaml", ".yml")


class _ManifestPath(click.Path):
    """The path of a manifest; what is wrong with another path is told with the nearest right one."""

    name = "manifest"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(value)
        if not path.exists() or path.is_dir() or path.suffix in _NO_MANIFESTS:
            from batchexport.cli.manifest_path import wrong_manifest

            self.fail(wrong_manifest(path), param, ctx)
        return super().convert(value, param, ctx)


class _ManifestOrFolder(_ManifestPath):
    """The path of a manifest, or of a folder with manifests."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if Path(value).is_dir():
            from batchexport.cli.manifest_path import manifests_in

            if manifests_in(Path(value)):
                return Path(value)
        return super().convert(value, param, ctx)


_MANIFEST_OR_FOLDER = _ManifestOrFolder(exists=True, dir_okay=False, path_type=Path)
MANIFEST = _ManifestPath(exists=True, dir_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, allow_dash=True, path_type=Path)
_REPORT = click.Path(dir_okay=False, path_type=Path)
STDOUT = Path("-")
_FOLDER = click.Path(file_okay=False, path_type=Path)

cache_dir = click.option(
    "--cache-dir",
    type=_FOLDER,
    envvar="BATCHEXPORT_CACHE_DIR",
    show_envvar=True,
    metavar="DIR",
    help="Cache folder; defaults to the manifest's [cache] dir, then ./cache.",
)


report_file = click.option(
    "--json",
    "json_file",
    type=FILE,
    metavar="FILE",
    help="Write the JSON report here; - prints it, and the rest to stderr.",
)
_OTHER_REPORTS = (
    click.option("--junit", type=_REPORT, metavar="FILE", help="Write the report as JUnit XML, for CI systems."),
    click.option("--html", type=_REPORT, metavar="FILE", help="Write the report's page here, not beside the report."),
    click.option("--trace", type=_REPORT, metavar="FILE", help="Write when each stage ran, for chrome://tracing."),
)
json_flag = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def job(command: Command) -> Command:
    """Add the argument JOB."""
    return click.argument("job", shell_complete=_job_names)(command)


def _job_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    from batchexport.cli.completion import job_names

    return job_names(ctx, param, incomplete)


def manifest(command: Command) -> Command:
    """Add the argument MANIFEST."""
    return click.argument("manifest", type=MANIFEST)(command)


def manifests(command: Command) -> Command:
    """Add the argument MANIFEST, which several manifests and folders of manifests may be given for."""
    return click.argument("manifest", type=_MANIFEST_OR_FOLDER, nargs=-1, required=True)(command)


def other_reports(command: Command) -> Command:
    """Add the options that write the report in other forms than JSON."""
    for option in reversed(_OTHER_REPORTS):
        command = option(command)
    return command


def selection_options(command: Command) -> Command:
    """Add the options that select jobs."""
    for option in (
        click.option(
            "--only",
            multiple=True,
            metavar="JOB",
            shell_complete=_job_names,
            help="Only the job with this exact name; repeatable.",
        ),
        click.option("--tag", "tags", multiple=True, metavar="T", help="Only jobs with any of these tags; repeatable."),
        click.option(
            "-k",
            "expression",
            metavar="EXPR",
            help="Only jobs whose names match, like pytest -k: 'bert and not (large or cuda)'.",
        ),
        click.option("--failed", is_flag=True, help="Only jobs that failed when they last ran."),
        cache_dir,
    ):
        command = option(command)
    return command


class Quantity(click.ParamType):  # type: ignore[type-arg] # generic from click 8.5 on
    """A parameter with a unit, such as a size or a duration."""

    def __init__(self, name: str, read: Callable[[str], float], example: str) -> None:
        self.name = name
        self._read = read
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return self._read(str(value))
        except ValueError:
            self.fail(f"{value} is no {self.name}; write {self._example}", param, ctx)


def share(text: str) -> float:
    """Parse a percentage above 0, at most 100. Raises ValueError."""
    found = float(text.strip().removesuffix("%"))
    if not 0 < found <= 100:
        raise ValueError(text)
    return found


def options_of(given: dict[str, Any]) -> RunOptions:
    """Return the RunOptions of a command; options that it does not have get their defaults."""
    from batchexport.api import RunOptions

    click.get_current_context().find_root().meta["batchexport.given"] = given

    return RunOptions(
        manifest=given["manifest"],
        cache_dir=given.get("cache_dir"),
        expression=given.get("expression"),
        tags=given.get("tags", ()),
        only=given.get("only", ()),
        stage=given.get("stage"),
        jobs=given.get("jobs"),
        failed=given.get("failed", False),
        fail_fast=given.get("fail_fast", False),
        maxfail=given.get("maxfail"),
        force=STAGES if given.get("force") else (),
        paranoid=given.get("paranoid", False),
        require_all=given.get("require_all", False),
        in_process=given.get("in_process", False),
        apply_fixes=given.get("apply_fixes", False),
        junit=given.get("junit"),
        html=given.get("html"),
        trace=given.get("trace"),
        json=None if given.get("json_file") == STDOUT else given.get("json_file"),
    )


def cache_root_of(given: dict[str, Any]) -> Path:
    """Return the cache folder of a command. Raises ManifestError."""
    if given["manifest"] is None:
        return Path(given["cache_dir"] or "cache").resolve()
    from batchexport.api import cache_root

    return cache_root(options_of(given)).resolve()
