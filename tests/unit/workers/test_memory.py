"""Memory is counted for a child with all that it started, and for nobody else."""

from __future__ import annotations

import os
import subprocess
import sys

from batchexport.workers import memory

MIB = 1 << 20
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


def test_nobody_holds_nothing() -> None:
    assert memory.resident_bytes([]) == {}


def test_what_can_be_had_is_less_than_there_is() -> None:
    assert 0 < memory.available() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_kills_by_the_kernel_are_a_number_where_it_says_so() -> None:
    kills = memory.kernel_kills()
    assert kills is None or kills >= 0
