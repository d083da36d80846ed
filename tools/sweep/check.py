"""Have the product export every type of transformers that a tiny configuration builds, named and nothing more.

    python tools/sweep/check.py --limit 200 --keep /tmp/sweep

Each type is written as one entry of a manifest: its name, the arguments that make it tiny, and no inputs. The product
runs as a user runs it, without compiles. What it does not deliver is tried with plain `torch.export` at the same inputs
and with the same sizes left to torch. A type that torch exports and the product does not is lost, and one that is
refused without a remedy is a fault too: the exit code is 1 then.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parents[1]))

from sweep.entries import manifest
from sweep.plain_export import in_processes, plain_export_of, prepare, tiny_arguments
from sweep.tally import Tally


@click.command()
@click.option("--limit", default=0, help="At most this many types, chosen by the seed; 0: all.")
@click.option("--seed", default=0, show_default=True)
@click.option("--type", "types", multiple=True, help="This type alone; repeatable.")
@click.option("--jobs", default=2, show_default=True, help="How many processes at a time.")
@click.option("--keep", type=click.Path(path_type=Path), help="Work in this folder, and leave it there.")
def main(limit: int, seed: int, types: tuple[str, ...], jobs: int, keep: Path | None) -> None:
    """Look for types that are lost, or refused without a remedy."""
    base = (keep or Path(tempfile.mkdtemp(prefix="sweep-"))).absolute()
    base.mkdir(parents=True, exist_ok=True)
    try:
        tally = sweep(base, _chosen(types, seed), limit, jobs)
    finally:
        if keep is None:
            shutil.rmtree(base, ignore_errors=True)
    for line in tally.lines():
        click.echo(line)
    raise SystemExit(1 if tally.faults() else 0)


def _chosen(types: tuple[str, ...], seed: int) -> list[str]:
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    if types:
        return list(types)
    names = sorted(MODEL_MAPPING_NAMES)
    random.Random(seed).shuffle(names)
    return names


def sweep(base: Path, types: list[str], limit: int, jobs: int) -> Tally:
    """Build the types until `limit` of them are found to build, have them exported, and judge the rest."""
    prepare()
    entries: dict[str, dict[str, Any]] = {}
    unbuilt: dict[str, str] = {}
    for name, result in in_processes(tiny_arguments, types, jobs):
        if isinstance(result, dict):
            entries[name] = result
        else:
            unbuilt[name] = result
        if limit and len(entries) >= limit:
            break
    click.echo(f"{len(entries)} types build, {len(unbuilt)} do not")
    (base / "entries.json").write_text(json.dumps({"entries": entries, "unbuilt": unbuilt}, indent=1))
    reports = _delivered(base, entries, jobs)
    rest = [name for name in entries if not reports[name]["ok"]]
    plain = dict(in_processes(partial(_plain, entries), rest, jobs))
    return Tally(reports=reports, plain=plain, unbuilt=unbuilt)


def _plain(entries: Mapping[str, Mapping[str, Any]], name: str) -> bool:
    plain_export_of(name, entries[name])
    return True


def _delivered(base: Path, entries: Mapping[str, Mapping[str, Any]], jobs: int) -> dict[str, dict[str, Any]]:
    """Run the product over the entries; return its reports by type."""
    (base / "manifest.toml").write_text(manifest(entries), encoding="utf-8")
    command = [sys.executable, "-P", "-m", "batchexport", "run", "manifest.toml", "--cache-dir", "cache"]
    command += ["--jobs", str(jobs), "--json", "report.json"]
    # After one job, the product knows what to import before it forks.
    with (base / "run.log").open("w") as log:
        subprocess.run([*command, "--only", f"{next(iter(entries))}@cpu"], cwd=base, stdout=log, check=False)
        subprocess.run(command, cwd=base, stdout=log, check=False)
    report = json.loads((base / "report.json").read_text(encoding="utf-8"))
    return {job["entry"]: job for job in report["jobs"]}


if __name__ == "__main__":
    main()
