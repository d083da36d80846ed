"""A command is measured whole, as its user waits for it: wall seconds, and the largest memory of any of its processes.

Absolute times of a shared machine say little; ratios of commands that ran in turn say much. So what is
compared here runs alternately, and a ratio is the median over the pairs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

IMPORT_TORCH = (sys.executable, "-c", "import torch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a command cost, with all processes that it waited for: wall and CPU seconds, the largest resident set."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """A command and the one it is held against, run in turn."""

    ours: tuple[Measured, ...]
    theirs: tuple[Measured, ...]

    @property
    def ratio(self) -> float:
        """The median of the ratios of the pairs."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return median(ours.seconds / theirs.seconds for ours, theirs in pairs)

    @property
    def seconds(self) -> float:
        """The median time of our command."""
        return median(one.seconds for one in self.ours)

    @property
    def reference_seconds(self) -> float:
        """The median time of the command it is held against."""
        return median(one.seconds for one in self.theirs)

    @property
    def peak_bytes(self) -> int:
        """The most memory that our command ever took."""
        return max(one.peak_bytes for one in self.ours)


def batchexport(verb: str, *words: str) -> tuple[str, ...]:
    """The command line of a verb."""
    return (sys.executable, "-m", "batchexport", verb, *words)


def measured(command: Sequence[str], *, folder: Path, env: Mapping[str, str] | None = None) -> Measured:
    """Run `command` in `folder` to its end. Raises RuntimeError, with all it said, where it fails."""
    log = folder / f".output-{os.getpid()}"
    with log.open("w+", encoding="utf-8") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(os.environ if env is None else env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    log.unlink()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{text}")
    # Linux gives kilobytes (getrusage(2)).
    return Measured(
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_bytes=usage.ru_maxrss * 1024,
        output=text,
    )


def in_turn(
    ours: Sequence[str],
    theirs: Sequence[str],
    *,
    folder: Path,
    pairs: int,
    theirs_folder: Path | None = None,
    before: Callable[[], None] = lambda: None,
) -> Pairs:
    """Measure two commands alternately, after each ran once unmeasured; `before` is called ahead of each of ours."""
    found: list[tuple[Measured, Measured]] = []
    for _ in range(pairs + 1):
        before()
        found.append((measured(ours, folder=folder), measured(theirs, folder=theirs_folder or folder)))
    return Pairs(ours=tuple(one for one, _ in found[1:]), theirs=tuple(other for _, other in found[1:]))
