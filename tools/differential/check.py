"""Edit a small project at random and compare cached runs with clean builds: a difference is a wrong hit.

    python tools/differential/check.py --edits 300 --seed 1 --compile-every 15

It makes a small model package, edits it again and again, and after every round of edits runs the product with
its cache and, over the same tree, with an empty one. The two must agree: program, weights, the bytes of
`exported.pt2`, the numbers of the compiled code. What each edit asks for is said beforehand; needless work is
counted. The exit code is 1 where there was a wrong hit or a failure.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import click

sys.path.insert(0, str(Path(__file__).parents[1]))

from differential.product import Product
from differential.project import begin
from differential.tally import COLUMNS, Tally
from differential.trial import Trial
from differential.world import World


@click.command()
@click.option("--edits", default=300, show_default=True, help="How many.")
@click.option("--seed", type=int, help="Repeats a run. The default is the time.")
@click.option("--compile-every", default=15, show_default=True, help="Every K-th edit is of compiled jobs; 0: none is.")
@click.option("--together", default=1, show_default=True, help="At most so many edits a round, of different jobs.")
@click.option("--jobs", type=int, help="The product's --jobs.")
@click.option("--keep", type=click.Path(path_type=Path), help="Work in this new folder, and leave it there.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the counts and findings here.")
def main(
    edits: int,
    seed: int | None,
    compile_every: int,
    together: int,
    jobs: int | None,
    keep: Path | None,
    json_file: Path | None,
) -> None:
    """Look for wrong hits and needless work."""
    seed = int(time.time()) if seed is None else seed
    base = (keep or Path(tempfile.mkdtemp(prefix="truth-"))).absolute()
    started = time.monotonic()
    tally = Tally(say=click.echo)
    trials: dict[bool, Trial] = {}
    done = 0
    try:
        while done < edits:
            compiled = bool(compile_every) and (done + 1) % compile_every == 0
            if compiled not in trials:
                trials[compiled] = _trial(base, seed, jobs, tally, compiled=compiled)
                trials[compiled].begin()
            rest = compile_every - 1 - done % compile_every if compile_every and not compiled else edits
            done += trials[compiled].round(1 if compiled else min(together, edits - done, rest))
            click.echo(f"[{done} of {edits}, {time.monotonic() - started:.0f} s]")
    finally:
        seconds = time.monotonic() - started
        _report(tally, seed, done, seconds)
        if json_file is not None:
            json_file.write_text(json.dumps({"seed": seed, "done": done, **tally.to_json()}, indent=1) + "\n")
        if keep is None:
            shutil.rmtree(base, ignore_errors=True)
    raise SystemExit(1 if tally.total("wrong") or tally.total("failed") else 0)


def _trial(base: Path, seed: int, jobs: int | None, tally: Tally, *, compiled: bool) -> Trial:
    rng = Random(f"{seed} {compiled}")
    world = World(base / ("compiled" if compiled else "plain"), begin(rng, compiled=compiled))
    world.base.mkdir(parents=True)
    return Trial(world, Product(world=world, slots=jobs), rng, tally, click.echo)


def _report(tally: Tally, seed: int, done: int, seconds: float) -> None:
    click.echo("")
    for line in tally.lines():
        click.echo(line)
    click.echo("")
    for name, meaning in COLUMNS.items():
        click.echo(f"{name:9}{meaning}")
    runs = ", ".join(f"{count} {name} in {tally.seconds[name]:.0f} s" for name, count in tally.runs.items())
    click.echo(f"seed {seed}: {done} edits in {seconds:.0f} s; runs: {runs}")


if __name__ == "__main__":
    main()
