"""Have random models built by the product, and judge without it what is delivered and what is refused.

    python tools/fuzz/check.py --models 300 --seed 7

Each model is composed of random parts and written as a module and an entry of one manifest. The product runs as a user
runs it: `run --stage export`, `run`, `verify`. What it delivers is called five times by processes that know torch
alone, and compared with eager; what it refuses is tried with torch alone. Archives are compared with those of exports
before which the model was not called. The exit code is 1 where there is a violation; each is told with what repeats it.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.trial import Trial


@click.command()
@click.option("--models", default=300, show_default=True, help="How many.")
@click.option("--seed", type=int, help="Repeats a run. The default is the time.")
@click.option("--compile-every", default=1, show_default=True, help="Every K-th model is compiled; 0: none is.")
@click.option("--jobs", default=2, show_default=True, help="How many processes at a time.")
@click.option("--only", type=int, multiple=True, help="Judge the model of this number alone; repeatable.")
@click.option("--keep", type=click.Path(path_type=Path), help="Work in this new folder, and leave it there.")
@click.option("--refusals", is_flag=True, help="Print every refusal, and how far torch alone gets.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the counts and findings here.")
def main(
    models: int,
    seed: int | None,
    compile_every: int,
    jobs: int,
    only: tuple[int, ...],
    keep: Path | None,
    refusals: bool,
    json_file: Path | None,
) -> None:
    """Look for wrong artifacts, false alarms and internal failures."""
    seed = int(time.time()) if seed is None else seed
    base = (keep or Path(tempfile.mkdtemp(prefix="fuzz-"))).absolute()
    started = time.monotonic()
    trial = Trial(seed=seed, compile_every=compile_every, slots=jobs, base=base, say=click.echo)
    try:
        tally = trial.run(models, only)
    finally:
        if keep is None:
            shutil.rmtree(base, ignore_errors=True)
    click.echo("")
    for line in tally.lines():
        click.echo(line)
    for line in tally.refusals if refusals else ():
        click.echo(f"refused: {line}")
    click.echo(f"seed {seed}: {time.monotonic() - started:.0f} s")
    if json_file is not None:
        json_file.write_text(json.dumps(tally.to_json(), indent=1) + "\n")
    raise SystemExit(1 if tally.findings else 0)


if __name__ == "__main__":
    main()
