"""A script: build jobs as the product does, but without the eager calls that it makes before an export.

    unreferenced.py MANIFEST CACHE JOBS JOB…

Each job is built in a forked process by `batchexport run --in-process`.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from batchexport.cli.main import cli
from batchexport.pipeline import export, stages

assert stages


def _no_calls(*given: Any, **options: Any) -> list[Any]:
    return []


def main(manifest: str, cache: str, slots: int, jobs: list[str]) -> None:
    """Build the jobs, so many at a time."""
    export.eager_calls = _no_calls
    running: dict[int, str] = {}
    for job in [*jobs, None]:
        while running and (job is None or len(running) >= slots):
            for pid in list(running):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    del running[pid]
            time.sleep(0.01)
        if job is None:
            break
        if (pid := os.fork()) == 0:
            try:
                cli(
                    ["run", manifest, "--cache-dir", cache, "--in-process", "--only", job, "--quiet"],
                    standalone_mode=False,
                )
            finally:
                sys.stdout.flush()
                os._exit(0)
        running[pid] = job


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
