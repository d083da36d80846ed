"""How long a run takes that has nothing to do, held against `import torch`, side by side.

    python tools/benchmarks/noop.py                  1,000 and 10,000 jobs, five pairs each
    python tools/benchmarks/noop.py --own-sources    each job has a module of its own
    python tools/benchmarks/noop.py --check 200      200 jobs, really built, must give what the multiplied ones give

A project of N jobs is made (see many_jobs.py for how, and why a no-op run can't tell it from one that was
really built), then `batchexport run` and `python -c "import torch"` run in turn as whole processes.
The first row of a size is what a user gets: the run is concluded from one row of the index. The second is the long
way, with that row taken out before every run: every manifest entry is resolved, every job decided.
Only the first is held against the targets. Exit status: 0 targets met, 1 a target missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import many_jobs
from measure import IMPORT_TORCH, Pairs, batchexport, in_turn, measured

PEAK_BYTES = 300e6
RATIOS = {1_000: 0.15, 10_000: 1.2}
_SIMILAR = 1.25  # two medians of one thing on a shared machine may be that far apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table; `target` is the ratio that must not be exceeded."""

    jobs: int
    way: str
    pairs: Pairs
    target: float | None

    @property
    def met(self) -> bool:
        return self.target is None or (self.pairs.ratio <= self.target and self.pairs.peak_bytes <= PEAK_BYTES)

    def text(self) -> str:
        peak = f"{self.pairs.peak_bytes / 1e6:.0f} MB"
        times = f"{self.pairs.seconds:>7.3f} s {self.pairs.reference_seconds:>12.3f} s {self.pairs.ratio:>7.3f}"
        verdict = "-" if self.target is None else f"{self.target:g} {'met' if self.met else 'MISSED'}"
        return f"{self.jobs:>6}  {self.way:<9} {times} {peak:>8}   {verdict}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, nargs="+", default=list(RATIOS), metavar="N", help="sizes of manifests")
    parser.add_argument("--pairs", type=int, default=5, help="how often each is measured (default 5)")
    parser.add_argument("--check", type=int, metavar="N", help="compare with N jobs that are really built, and end")
    parser.add_argument("--own-sources", action="store_true", help="each job has a module of its own")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark_noop-", dir=given.folder) as name:
        folder = Path(name)
        if given.check:
            return _check(folder, given.check, given.pairs, own_sources=given.own_sources)
        return _bench(folder, given.jobs, given.pairs, own_sources=given.own_sources)


def _bench(folder: Path, sizes: Sequence[int], pairs: int, *, own_sources: bool) -> int:
    rows: list[Row] = []
    print(f"{'jobs':>6}  {'way':<9} {'run':>9} {'import torch':>14} {'ratio':>7} {'peak':>8}   target", flush=True)
    for jobs in sizes:
        project = folder / str(jobs)
        options = many_jobs.write_project(project, jobs, own_sources=own_sources)
        started = time.monotonic()
        many_jobs.fill(options)
        many_jobs.settle(options)
        filled = time.monotonic() - started
        run = batchexport("run", many_jobs.MANIFEST)
        concluded = in_turn(run, IMPORT_TORCH, folder=project, pairs=pairs)
        long = in_turn(
            run,
            IMPORT_TORCH,
            folder=project,
            pairs=pairs,
            before=lambda options=options: many_jobs.forget_conclusion(options),
        )
        rows.append(Row(jobs=jobs, way="concluded", pairs=concluded, target=RATIOS.get(jobs)))
        rows.append(Row(jobs=jobs, way="long", pairs=long, target=None))
        for row in rows[-2:]:
            print(row.text())
        for way in (False, True):
            seen = many_jobs.looked_at(options, long=way)
            what = ", ".join(f"{count} {name}" for name, count in sorted(seen.items()))
            print(f"        {'long' if way else 'concluded'}: {what}")
        print(f"        made in {filled:.0f} s", flush=True)
        many_jobs.remove(project)
    print(f"ratios and seconds are medians of {pairs} pairs run in turn; peak target {PEAK_BYTES / 1e6:.0f} MB")
    return 0 if all(row.met for row in rows) else 1


def _check(folder: Path, jobs: int, pairs: int, *, own_sources: bool) -> int:
    """Whether multiplied jobs are, to a no-op run, what built ones are."""
    run = batchexport("run", many_jobs.MANIFEST)
    multiplied = many_jobs.write_project(folder / "multiplied", jobs, own_sources=own_sources)
    many_jobs.fill(multiplied)
    built = many_jobs.write_project(folder / "built", jobs, own_sources=own_sources)
    measured(run, folder=folder / "built")
    same = True
    for options in (multiplied, built):
        many_jobs.settle(options)
    concluded, long = ([many_jobs.looked_at(each, long=way) for each in (multiplied, built)] for way in (False, True))
    for title, ours, theirs in (
        ("the cache holds", many_jobs.kept(multiplied), many_jobs.kept(built)),
        ("a concluded run looks at", concluded[0], concluded[1]),
        ("a long run looks at", long[0], long[1]),
    ):
        print(f"{title}:")
        for name in sorted({*ours, *theirs}):
            print(f"  {ours[name]:>7} {theirs[name]:>7}  {name}{'' if ours[name] == theirs[name] else '  DIFFERENT'}")
        same = same and ours == theirs
    found = in_turn(run, run, folder=folder / "multiplied", pairs=pairs, theirs_folder=folder / "built")
    print(f"no-op run, multiplied / built: {found.ratio:.3f} ({found.seconds:.3f} s, {found.reference_seconds:.3f} s)")
    return 0 if same and 1 / _SIMILAR < found.ratio < _SIMILAR else 1


if __name__ == "__main__":
    sys.exit(main())
