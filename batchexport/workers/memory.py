"""What children hold in memory is counted over everything they started: a compiler's gigabytes are its stage's."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path

import psutil

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes(sessions: Collection[int], *, exact: bool = False) -> dict[int, int]:
    """Bytes by session; a child leads one, and what it starts is in it.

    Resident sets count pages that children share with the fork server once for each of them. `exact` splits
    these up (PSS), which costs the kernel a walk through all page tables: for use where the rough sum is too high.
    """
    found = dict.fromkeys(sessions, 0)
    for pid in psutil.pids() if found else ():
        try:
            session = os.getsid(pid)
            if session in found:
                found[session] += psutil.Process(pid).memory_full_info().pss if exact else _resident(pid)
        except (OSError, psutil.Error):
            continue
    return found


def _resident(pid: int) -> int:
    # Asked for every process some times a second, so not through psutil, which first looks up who the process is.
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * _PAGE


def available() -> int:
    """Bytes that can still be had on this machine without swapping."""
    return int(psutil.virtual_memory().available)


def kernel_kills() -> int | None:
    """How many processes the kernel has killed for want of memory since it started; None where it does not say."""
    try:
        text = Path("/proc/vmstat").read_text(encoding="ascii")
    except OSError:
        return None
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), None)


# What is left to the rest of the machine; below it the kernel is about to pick a victim itself.
RESERVE = 512 << 20


def over_budget(held: Mapping[str, int], *, pool: int, available: int) -> bool:
    """Whether the children hold more than their pool, or so much that the machine is about to run out."""
    return sum(held.values()) > pool or available < RESERVE


def choose_victim(held: Mapping[str, int], expected: Mapping[str, int], *, pool: int, available: int) -> str | None:
    """The child that has to go: the one furthest beyond what was expected of it.

    None while there is room, or where the memory is gone and none of the children took more than it was given.
    """
    if not held or not over_budget(held, pool=pool, available=available):
        return None
    worst = max(sorted(held), key=lambda name: held[name] - expected.get(name, 0))
    return worst if sum(held.values()) > pool or held[worst] > expected.get(worst, 0) else None
