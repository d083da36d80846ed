"""Cores and memory that this process may use, by affinity, cgroup and machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_NO_LIMIT = 2**60  # bytes; cgroup v1 says "no limit" with a number near 2**63


def usable_cores() -> int:
    """Return the cores this process may use: affinity and cgroup quota, rounded up. Equal to `joblib.cpu_count()`.

    joblib's own count is used where joblib is loaded anyway; importing it costs more than a no-op run.
    """
    limits = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):
        limits.append(len(os.sched_getaffinity(0)))
    quota = cgroup_cores()
    if quota is not None:
        limits.append(quota)
    with contextlib.suppress(KeyError, ValueError):
        limits.append(int(os.environ["LOKY_MAX_CPU_COUNT"]))
    return max(1, min(limits))


def cgroup_cores(cgroup: Path = _CGROUP) -> int | None:
    """Return the CPU quota of the cgroup (v2, else v1) in cores, rounded up; None without one."""
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except OSError:
            return None
    if not quota.isdecimal() or not period.isdecimal() or not int(quota) or not int(period):
        return None
    return -(-int(quota) // int(period))


def usable_memory() -> int:
    """Return the bytes of memory this process may use: the machine's, or less where a cgroup says so."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = cgroup_memory()
    return machine if limit is None else min(machine, limit)


def cgroup_memory(cgroup: Path = _CGROUP) -> int | None:
    """Return the memory limit of the cgroup (v2, else v1) in bytes; None without one."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limit = int((cgroup / name).read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        if limit < _NO_LIMIT:
            return limit
    return None
