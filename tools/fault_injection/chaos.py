"""Kill, damage, crowd and fill up, then check that the next clean run delivers everything, and right.

    python tools/fault_injection/chaos.py --seed 1 --count 200
    python tools/fault_injection/chaos.py --part flips,disk --count 20

Each part works in a project with a HOME and a TMPDIR of its own, and looks at every file that is left anywhere.
The exit code is 1 where something did not hold.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import click

sys.path.insert(0, str(Path(__file__).parents[1]))

from fault_injection.concurrent_runs import concurrent_runs
from fault_injection.disk import disk
from fault_injection.flips import flips
from fault_injection.kills import kills
from fault_injection.workspace import Workspace

PARTS = ("kills", "flips", "concurrent", "disk")


@click.command()
@click.option("--part", "parts", default=",".join(PARTS), show_default=True, help="Which parts, with commas between.")
@click.option("--count", default=200, show_default=True, help="Kills; five times as many damages.")
@click.option("--runs", default=16, show_default=True, help="Runs at the same time.")
@click.option("--disks", default=5, show_default=True, help="File systems to fill up.")
@click.option("--compile-every", default=4, show_default=True, help="Every K-th run that is killed compiles; 0: none.")
@click.option("--a-round", default=10, show_default=True, help="Damages before each run.")
@click.option("--seed", type=int, help="Repeats what was drawn. The default is the time.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write what was found here.")
def main(
    parts: str,
    count: int,
    runs: int,
    disks: int,
    compile_every: int,
    a_round: int,
    seed: int | None,
    json_file: Path | None,
) -> None:
    """Inject faults, then check what is left."""
    seed = int(time.time()) if seed is None else seed
    chosen = [part.strip() for part in parts.split(",")]
    if unknown := set(chosen) - set(PARTS):
        raise click.UsageError(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    base = Path(tempfile.mkdtemp(prefix="chaos-"))
    found: dict[str, dict[str, object]] = {}

    def workspace(name: str) -> Workspace:
        return Workspace(base / name)

    parts_by_name: dict[str, Callable[[Random], dict[str, object]]] = {
        "kills": lambda rng: kills(workspace("kills"), rng, count, compile_every, click.echo),
        "flips": lambda rng: flips(workspace("flips"), rng, count * 5, a_round, click.echo),
        "concurrent": lambda rng: concurrent_runs(workspace("concurrent"), runs, click.echo),
        "disk": lambda rng: disk(base / "disk", rng, disks, click.echo),
    }
    try:
        for part in chosen:
            started = time.monotonic()
            click.echo(f"{part}:")
            found[part] = parts_by_name[part](Random(f"{seed} {part}"))
            found[part]["seconds"] = round(time.monotonic() - started)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    _report(found, seed)
    if json_file is not None:
        json_file.write_text(json.dumps({"seed": seed, "parts": found}, indent=1) + "\n")
    raise SystemExit(1 if any(one["wrong"] for one in found.values()) else 0)


def _report(found: dict[str, dict[str, object]], seed: int) -> None:
    click.echo("")
    for part, one in found.items():
        wrong = one["wrong"]
        assert isinstance(wrong, list)
        told = ", ".join(f"{name} {value}" for name, value in one.items() if name != "wrong")
        click.echo(f"{part:<11} {f'{len(wrong)} WRONG' if wrong else 'ok':<9} {told}")
    for part, one in found.items():
        for line in one["wrong"] if isinstance(one["wrong"], list) else []:
            click.echo(f"{part}: {line}")
    click.echo(f"seed {seed}")


if __name__ == "__main__":
    main()
