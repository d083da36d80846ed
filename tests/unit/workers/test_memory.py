"""Memory: a child counts with what it started; over budget, the child furthest above its expectation is killed."""

from __future__ import annotations

import os
import subprocess
import sys

from batchexport.workers import memory
from batchexport.workers.memory import RESERVE, choose_victim

MIB = 1 << 20
PLENTY = 1 << 50
# One process holds 64 MiB, and so does another that it starts.
PROGRAM = """
import subprocess, sys
hoard = b"x" * (64 << 20)
command = "import sys; hoard = b'x' * (64 << 20); print('there', flush=True); sys.stdin.read()"
subprocess.run([sys.executable, "-c", command])
"""


def test_what_a_child_started_counts_as_its_own() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"there\n"
    rough, exact = (memory.resident_bytes([child.pid, os.getpid()], exact=way)[child.pid] for way in (False, True))
    assert 2 * 64 * MIB < exact <= rough < 2 * 64 * MIB + 100 * MIB
    child.communicate()
    assert memory.resident_bytes([child.pid]) == {child.pid: 0}


def test_no_sessions_hold_nothing() -> None:
    assert memory.resident_bytes([]) == {}


def test_available_memory_is_less_than_the_machine_has() -> None:
    assert 0 < memory.available() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_kernel_kills_are_a_number_where_the_kernel_counts() -> None:
    kills = memory.kernel_kills()
    assert kills is None or kills >= 0


def test_within_budget_no_child_is_killed() -> None:
    assert choose_victim({"a": 90, "b": 10}, {"a": 1}, pool=100, available=PLENTY) is None
    assert choose_victim({}, {}, pool=0, available=0) is None


def test_the_child_furthest_above_its_expectation_is_killed_not_the_largest() -> None:
    assert (
        choose_victim({"large": 80, "greedy": 30}, {"large": 80, "greedy": 5}, pool=100, available=PLENTY) == "greedy"
    )


def test_over_the_pool_a_child_is_killed_even_if_all_are_below_their_expectations() -> None:
    assert choose_victim({"a": 60, "b": 60}, {"a": 70, "b": 65}, pool=100, available=PLENTY) == "b"


def test_where_other_processes_use_up_the_machine_only_a_child_above_its_expectation_is_killed() -> None:
    assert choose_victim({"a": 60, "b": 20}, {"a": 60, "b": 30}, pool=100, available=RESERVE - 1) is None
    assert choose_victim({"a": 61, "b": 20}, {"a": 60, "b": 30}, pool=100, available=RESERVE - 1) == "a"
