"""Resources: the cores and the memory that a run may use, whatever limits them."""

from __future__ import annotations

import os
from pathlib import Path

import joblib
import pytest

from batchexport.toolchain import resources


def test_usable_cores_are_those_that_joblib_counts() -> None:
    assert resources.usable_cores() == joblib.cpu_count()


@pytest.mark.parametrize("limit", ["1", "2", "100000", "0", "", "-3"])
def test_usable_cores_are_those_that_joblib_counts_under_its_own_limit(
    monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    if limit:
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", limit)
    assert resources.usable_cores() == joblib.cpu_count()


def test_usable_cores_follow_the_affinity_of_the_process() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert resources.usable_cores() == joblib.cpu_count() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("texts", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "0 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_a_cgroup_quota_is_rounded_up_to_cores(tmp_path: Path, texts: dict[str, str], cores: int | None) -> None:
    write(tmp_path, texts)
    assert resources.cgroup_cores(tmp_path) == cores


@pytest.mark.parametrize(
    ("texts", "limit"),
    [
        ({"memory.max": "1024\n"}, 1024),
        ({"memory/memory.limit_in_bytes": "2048"}, 2048),
        ({"memory/memory.limit_in_bytes": str(2**63 - 4096)}, None),
        ({"memory.max": "max"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_usable_memory_is_that_of_the_machine_or_of_the_cgroup(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, texts: dict[str, str], limit: int | None
) -> None:
    write(tmp_path, texts)
    assert resources.cgroup_memory(tmp_path) == limit
    monkeypatch.setattr(resources, "cgroup_memory", lambda: limit)
    assert resources.usable_memory() == (limit or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def write(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
