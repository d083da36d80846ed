"""The doctor: each check tells what it saw, and what to do where something is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from batchexport.toolchain import cuda, doctor, resources


def script(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def only_on_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(folder))


def test_an_old_python_fails() -> None:
    assert doctor.check_python((3, 10, 9)).state == "fail"
    assert doctor.check_python((3, 11, 0)).state == "ok"


@pytest.mark.parametrize(
    ("version", "state"), [("2.13.0+cpu", "ok"), ("2.11.0", "ok"), ("2.10.1", "fail"), ("3.0", "ok")]
)
def test_an_old_torch_fails(monkeypatch: pytest.MonkeyPatch, version: str, state: str) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: version)
    check = doctor.check_torch()
    assert (check.state, check.detail) == (state, version)


def test_a_missing_torch_fails_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    check = doctor.check_torch()
    assert check.state == "fail"
    assert "pip install" in (check.remedy or "")


def test_a_missing_compiler_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    only_on_path(monkeypatch, tmp_path)
    check = doctor.check_compiler()
    assert check.state == "fail"
    assert "install g++" in (check.remedy or "")


def test_a_compiler_that_builds_nothing_fails_with_its_own_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script(tmp_path, "g++", "echo 'note: hm'; echo 'fatal error: omp.h: No such file' >&2; exit 1")
    only_on_path(monkeypatch, tmp_path)
    check = doctor.check_compiler()
    assert check.state == "fail"
    assert "omp.h" in check.detail


def test_a_working_compiler_shows_its_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script(tmp_path, "c++", "echo 'c++ 12.2'")
    only_on_path(monkeypatch, tmp_path)
    monkeypatch.setenv("CXX", "c++")
    check = doctor.check_compiler()
    assert (check.state, check.detail) == ("ok", f"c++ 12.2 ({tmp_path}/c++)")


def test_a_compiler_with_arguments_fails_as_torch_runs_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script(tmp_path, "c++", "echo 'c++ 12.2'")
    only_on_path(monkeypatch, tmp_path)
    monkeypatch.setenv("CXX", "c++ -pipe")
    check = doctor.check_compiler()
    assert (check.state, check.detail) == ("fail", "'c++ -pipe' is not on PATH")
    assert "without arguments" in (check.remedy or "")


def test_a_compiler_below_a_path_with_spaces_fails_as_torch_splits_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "my tools").mkdir()
    script(tmp_path / "my tools", "c++", "echo 'c++ 12.2'")
    monkeypatch.setenv("CXX", str(tmp_path / "my tools" / "c++"))
    check = doctor.check_compiler()
    assert check.state == "fail"
    assert "without spaces" in (check.remedy or "")


@pytest.mark.parametrize(
    ("text", "state", "detail"),
    [
        ("flags\t\t: fpu avx2 avx512f\n", "ok", "AVX512, AVX2"),
        ("Features\t: fp asimd sve\n", "ok", "SVE, NEON"),
        ("flags : fpu sse2\n", "warn", "no vector instructions found"),
    ],
)
def test_vector_instructions_are_named(tmp_path: Path, text: str, state: str, detail: str) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    check = doctor.check_isa(cpuinfo)
    assert (check.state, check.detail) == (state, detail)


def test_a_system_without_cpuinfo_is_no_failure(tmp_path: Path) -> None:
    assert doctor.check_isa(tmp_path / "none").state == "ok"


def test_a_container_with_little_memory_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(f"{2**30}\n")
    check = doctor.check_memory(tmp_path)
    assert check.state == "warn"
    assert "limited to 1.0 GiB" in check.detail


def test_no_limit_is_not_a_limit(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    assert "limited" not in doctor.check_memory(tmp_path).detail


def test_no_gpu_is_fine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    only_on_path(monkeypatch, tmp_path)
    assert doctor.check_gpus(tmp_path / "none").state == "ok"


def test_a_driver_without_its_tool_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    only_on_path(monkeypatch, tmp_path)
    assert doctor.check_gpus(tmp_path).state == "warn"


def test_a_broken_driver_is_a_warning_with_its_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script(tmp_path, "nvidia-smi", "echo 'Driver/library version mismatch'; exit 18")
    only_on_path(monkeypatch, tmp_path)
    check = doctor.check_gpus(tmp_path)
    assert check.state == "warn"
    assert "mismatch" in check.detail


@pytest.mark.parametrize(("version", "state"), [("2.13.0+cu130", "ok"), ("2.13.0+cpu", "warn")])
def test_gpus_are_listed_and_a_torch_for_cpu_is_pointed_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, state: str
) -> None:
    lines = [f"echo '{n}, GPU-{n}, NVIDIA H100, 9.0, 81559, 81000, 580'" for n in range(2)]
    script(tmp_path, "nvidia-smi", "; ".join(lines))
    only_on_path(monkeypatch, tmp_path)
    monkeypatch.setattr(metadata, "version", lambda name: version)
    check = doctor.check_gpus(tmp_path)
    assert check.state == state
    assert check.detail.startswith("2 GPUs: NVIDIA H100, 9.0, 81559 MiB; NVIDIA H100, 9.0, 81559 MiB")


def test_a_gpu_that_no_run_can_use_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script(tmp_path, "nvidia-smi", "echo '0, GPU-0, NVIDIA H100, [N/A], [GPU requires reset], [Unknown Error], 580'")
    only_on_path(monkeypatch, tmp_path)
    check = doctor.check_gpus(tmp_path)
    assert check.state == "warn"
    assert "GPU requires reset" in check.detail


def test_a_tool_that_hangs_is_given_up_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cuda, "_TIMEOUT_SECONDS", 0.05)
    script(tmp_path, "nvidia-smi", "exec /bin/sleep 60")
    only_on_path(monkeypatch, tmp_path)
    assert "no answer" in doctor.check_gpus(tmp_path).detail


def test_a_cache_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "cache"
    check = doctor.check_writable("cache", folder)
    assert check.state == "ok"
    assert "not made yet" in check.detail
    assert not folder.exists()


def test_a_file_in_the_place_of_the_cache_fails(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    assert doctor.check_writable("cache", tmp_path / "cache").state == "fail"


def test_a_cache_that_refuses_files_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(**where: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    check = doctor.check_writable("cache", tmp_path)
    assert check.state == "fail"
    assert "Permission denied" in check.detail


@pytest.mark.parametrize(("fail", "warn", "state"), [(2**80, 2**81, "fail"), (0, 2**80, "warn"), (0, 0, "ok")])
def test_a_disk_without_room_is_said(tmp_path: Path, fail: int, warn: int, state: str) -> None:
    check = doctor.check_space("disk", tmp_path / "not" / "there", fail=fail, warn=warn)
    assert check.state == state
    assert str(tmp_path) in check.detail


def test_the_whole_examination_leaves_torch_unloaded(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from batchexport.toolchain.doctor import examine;"
        "names = [check.name for check in examine(Path(sys.argv[1]))];"
        "print(len(names) == len(set(names)), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", "False"]


def test_cores_are_those_of_the_cgroup_where_it_has_a_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(resources, "cgroup_cores", lambda: 3)
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    assert doctor.check_cores().detail == "3 of 8 usable"


def installed(folder: Path, package: str, version: str) -> None:
    (folder / package).mkdir()
    (folder / package / "version.py").write_text(f"__version__ = '{version}'\n")


@pytest.mark.parametrize(("version", "state"), [("0.28.0+cpu", "ok"), ("0.28.0+cu130", "warn"), ("0.29.1+cpu", "warn")])
def test_a_torchvision_of_another_torch_is_told_with_what_to_install(tmp_path: Path, version: str, state: str) -> None:
    installed(tmp_path, "torch", "2.13.0+cpu")
    installed(tmp_path, "torchvision", version)
    check = doctor.check_torchvision([str(tmp_path)])
    assert (check.state, version in check.detail) == (state, True)
    assert ("torchvision==0.28.*" in (check.remedy or "")) is (state == "warn")


def test_a_machine_without_torchvision_is_fine(tmp_path: Path) -> None:
    assert doctor.check_torchvision([str(tmp_path)]).state == "ok"
