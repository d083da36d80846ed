"""The command `doctor`, and its check of what a manifest needs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchexport.cli.console import echo_json_or_text
from batchexport.cli.options import MANIFEST, cache_dir, cache_root_of, json_flag
from batchexport.core.errors import ExitCode

if TYPE_CHECKING:
    from batchexport.toolchain.machine_checks import Check


@click.command(short_help="Check that this machine is ready, and that a manifest has what it needs.")
@click.argument("manifest", type=MANIFEST, required=False)
@cache_dir
@json_flag
@click.pass_context
def doctor(ctx: click.Context, /, as_json: bool, **given: Any) -> None:
    """Check that this machine is ready: toolchain, compiler, GPUs, disk, cache. With MANIFEST, check also
    that its weights, data files and modules are there; nothing is imported.

    The exit code is 3 if something necessary is missing.
    """
    from batchexport.cli.render import doctor_lines
    from batchexport.toolchain.doctor import examine

    checks = [*examine(cache_root_of(given)), *(_manifest_checks(given["manifest"]) if given["manifest"] else ())]
    ready = all(check.state != "fail" for check in checks)
    form = {"schema": 1, "ready": ready, "checks": [asdict(check) for check in checks]}
    echo_json_or_text(as_json, form, doctor_lines(checks))
    ctx.exit(int(ExitCode.OK if ready else ExitCode.ENVIRONMENT))


def _manifest_checks(path: Path) -> list[Check]:
    """Return a check for each thing that jobs need and that is missing, or one that says that all is there."""
    from batchexport.core.text import counted
    from batchexport.manifest import resolve
    from batchexport.manifest.requirements import missing_requirements
    from batchexport.toolchain.machine_checks import Check
    from batchexport.toolchain.probe import import_path

    manifest = resolve.load(path)
    missing = missing_requirements(manifest.jobs, manifest.root, import_path())
    if not missing:
        detail = f"{counted(len(manifest.jobs), 'job')}; files and modules that they name are there"
        return [Check(name="manifest", state="ok", detail=detail)]
    return [Check(name="manifest", state="warn", detail=one.detail, remedy=one.remedy) for one in missing]
