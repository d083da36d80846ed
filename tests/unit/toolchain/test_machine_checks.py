"""Checks of the machine: kernel, file system and vector code, each with what to do where something is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchexport.toolchain import machine_checks

MOUNTS = """/dev/vda / ext4 rw 0 0
server:/home /home/my\\040data nfs4 rw 0 0
tmpfs /home/my\\040data/fast tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("release", "state"), [("6.1.0-13-amd64", "ok"), ("5.3.0", "ok"), ("4.18.0-553.el8", "warn"), ("odd", "ok")]
)
def test_an_old_kernel_is_warned_of(release: str, state: str) -> None:
    assert machine_checks.check_kernel(release).state == state


@pytest.mark.parametrize(
    ("folder", "kind", "state"),
    [
        ("/srv/cache", "ext4", "ok"),
        ("/home/my data/cache", "nfs4", "warn"),
        ("/home/my data/fast/cache", "tmpfs", "ok"),
        ("/home/my database", "ext4", "ok"),
    ],
)
def test_a_cache_on_a_network_is_warned_of(tmp_path: Path, folder: str, kind: str, state: str) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    check = machine_checks.check_file_system(Path(folder), tmp_path / "mounts")
    assert check.state == state
    assert check.detail.startswith(kind)
    assert ("--cache-dir" in (check.remedy or "")) is (state == "warn")


def test_a_system_without_a_table_of_mounts_is_no_failure(tmp_path: Path) -> None:
    assert machine_checks.check_file_system(tmp_path, tmp_path / "none").state == "ok"


@pytest.mark.parametrize(
    ("answer", "state", "detail"),
    [
        ("exit 0", "ok", "avx512f compiles"),
        ("echo 'error: unrecognized -mavx512f'; exit 1", "warn", "has no avx512f: error: unrecognized -mavx512f"),
    ],
)
def test_a_compiler_that_is_older_than_the_cpu_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, state: str, detail: str
) -> None:
    (tmp_path / "cpuinfo").write_text("flags : fma avx2 avx512f\n")
    (tmp_path / "cxx").write_text(f"#!/bin/sh\n{answer}\n")
    (tmp_path / "cxx").chmod(0o755)
    monkeypatch.setattr(machine_checks, "compiler_path", lambda: str(tmp_path / "cxx"))
    check = machine_checks.check_vector_code(tmp_path / "cpuinfo")
    assert check.state == state
    assert detail in check.detail


def test_a_cpu_without_vectors_needs_no_trial(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("flags : fpu\n")
    assert machine_checks.check_vector_code(tmp_path / "cpuinfo").state == "ok"
