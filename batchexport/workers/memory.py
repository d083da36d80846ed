"""Measure what children hold in memory, and choose the child to kill when memory runs out.

A child counts with every process that it started: the gigabytes of a compiler belong to the stage that runs it. The
coordinator kills one child before the kernel picks a victim of its own, so that the report can name the culprit.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

import psutil

RESERVE = 512 << 20  # bytes left to the rest of the machine; below, the kernel is about to pick a victim itself
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(sessions: Collection[int], *, exact: bool = False) -> dict[int, int]:
    """Return the bytes that each session holds; a child leads one, and what it starts is in it.

    Resident sets count a page that children share with the fork server once for each of them. `exact` divides such
    pages among them (PSS), which makes the kernel walk all page tables: for use where the rough sum is too high.
    """
    sizes = dict.fromkeys(sessions, 0)
    for pid in psutil.pids() if sizes else ():
        try:
            session = os.getsid(pid)
            if session in sizes:
                sizes[session] += psutil.Process(pid).memory_full_info().pss if exact else _resident(pid)
        except (OSError, psutil.Error):
            continue
    return sizes


def _resident(pid: int) -> int:
    # psutil gives the same number in twice the time, as it first reads when the process started. This is asked several
    # times a second for every process of every child.
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * _PAGE


def available() -> int:
    """Return the bytes that can still be allocated on this machine without swapping."""
    return int(psutil.virtual_memory().available)


def kernel_kills() -> int | None:
    """Return how many processes the kernel's OOM killer has killed since boot; None where the kernel doesn't count."""
    # psutil does not read this counter.
    try:
        text = Path("/proc/vmstat").read_text(encoding="ascii")
    except OSError:
        return None
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), None)


def over_budget(held: Mapping[str, int], *, pool: int, available: int) -> bool:
    """Return True if the children hold more than their pool, or if the machine is about to run out of memory."""
    return sum(held.values()) > pool or available < RESERVE


def choose_victim(held: Mapping[str, int], expected: Mapping[str, int], *, pool: int, available: int) -> str | None:
    """Return the child to kill: the one furthest above its expected memory.

    None while memory is within budget, or where other processes use up the machine and no child exceeds its
    expectation.
    """
    if not held or not over_budget(held, pool=pool, available=available):
        return None
    worst = max(sorted(held), key=lambda name: held[name] - expected.get(name, 0))
    return worst if sum(held.values()) > pool or held[worst] > expected.get(worst, 0) else None
