"""What the scheduler costs and how well it packs, in a simulation: no process starts, no second passes.

    python tools/benchmarks/schedule.py                        100,000 jobs on 64 workers
    python tools/benchmarks/schedule.py --jobs 2000 --workers 8 --seed 3

Jobs have an export, a compile and a verify, one after the other, with times and memory spread as widely as those of
real models. Their true times differ from the expected ones that the scheduler is given. Held against the claims of
the design: at most 1 ms of scheduling a job, a makespan within 5 % of the lower bound max(total / workers, longest
chain, memory times seconds / memory), memory never exceeded. Exit status: 0 all hold, 1 one does not.
"""

from __future__ import annotations

import argparse
import sys

from simulation import Simulated, simulate

LIMIT_SECONDS = 1e-3
LIMIT_RATIO = 1.05


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000, metavar="N")
    parser.add_argument("--workers", type=int, default=64, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    given = parser.parse_args()
    print(
        f"{'jobs':>8} {'workers':>8} {'a job':>10} {'slowest':>10} {'makespan':>12} {'bound':>12} {'ratio':>7} memory"
    )
    met = True
    # Memory enough for all workers; then so little that it is what most often keeps a worker from starting.
    for tight in (False, True):
        found = simulate(jobs=given.jobs, workers=given.workers, seed=given.seed, tight=tight)
        met = _row(given.jobs, given.workers, found) and met
    return 0 if met else 1


def _row(jobs: int, workers: int, found: Simulated) -> bool:
    met = found.seconds_a_job <= LIMIT_SECONDS and found.ratio <= LIMIT_RATIO and found.peak <= found.memory
    print(
        f"{jobs:>8} {workers:>8} {found.seconds_a_job * 1e3:>7.4f} ms {found.slowest * 1e3:>7.3f} ms"
        f" {found.makespan:>10.0f} s {found.bound:>10.0f} s {found.ratio:>7.4f}"
        f" {found.peak / found.memory:.3f} of the pool; {'met' if met else 'MISSED'}",
        flush=True,
    )
    return met


if __name__ == "__main__":
    sys.exit(main())
