"""Checks of what a run needs; they change nothing and import neither torch nor anything heavy.

`fail` means that no job can succeed, `warn` that some can't or that they will be slow.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from batchexport.core.text import counted, format_bytes
from batchexport.core.wheels import fits, install_torchvision
from batchexport.toolchain.command import answer
from batchexport.toolchain.cuda import ask_driver, parse
from batchexport.toolchain.machine_checks import Check, check_file_system, check_kernel, check_vector_code
from batchexport.toolchain.probe import compiler, compiler_path
from batchexport.toolchain.resources import cgroup_memory, usable_cores

_GIB = 2**30
_PATIENCE = 30.0  # seconds for a compiler to answer
_PROGRAM = """#include <vector>
#include <omp.h>
extern "C" int answer() { std::vector<int> v(omp_get_max_threads()); return static_cast<int>(v.size()); }
"""
_ISA = (("amx_tile", "AMX"), ("avx512f", "AVX512"), ("avx2", "AVX2"), ("sve", "SVE"), ("asimd", "NEON"))


def examine(cache: Path) -> tuple[Check, ...]:
    """Run all checks; `cache` is the folder that the cache is or will be in."""
    temporary = Path(tempfile.gettempdir())
    return (
        check_python(sys.version_info[:3]),
        check_torch(),
        check_torchvision(sys.path),
        check_compiler(),
        check_isa(Path("/proc/cpuinfo")),
        check_vector_code(Path("/proc/cpuinfo")),
        check_kernel(platform.release()),
        check_cores(),
        check_memory(Path("/sys/fs/cgroup")),
        check_gpus(Path("/proc/driver/nvidia/version")),
        check_writable("cache", cache),
        check_file_system(_nearest(cache), Path("/proc/self/mounts")),
        check_space("cache disk", cache, fail=_GIB, warn=10 * _GIB),
        check_space("temp disk", temporary, fail=_GIB // 4, warn=2 * _GIB),
    )


def check_python(version: tuple[int, ...]) -> Check:
    """Check that Python is new enough."""
    text = ".".join(map(str, version))
    if version < (3, 11):
        return Check(name="python", state="fail", detail=text, remedy="batchexport needs Python 3.11 or newer")
    return Check(name="python", state="ok", detail=f"{text} ({sys.executable})")


def check_torch() -> Check:
    """Check that torch is installed and not too old."""
    try:
        version = metadata.version("torch")
    except metadata.PackageNotFoundError:
        return Check(name="torch", state="fail", detail="not installed", remedy="pip install 'torch>=2.11'")
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if numbers < (2, 11):
        return Check(name="torch", state="fail", detail=version, remedy="pip install 'torch>=2.11'")
    return Check(name="torch", state="ok", detail=version)


def check_torchvision(path: Sequence[str]) -> Check:
    """Check that the torchvision on an import path fits the torch there; models of timm need it too."""
    torch, torchvision = _version_in_source("torch", path), _version_in_source("torchvision", path)
    if torchvision is None or torch is None:
        detail = "not installed; needed for models of torchvision and timm alone"
        return Check(name="torchvision", state="ok", detail=detail)
    if not fits(torch, torchvision):
        detail = f"{torchvision} does not fit torch {torch}: models of torchvision and timm can't be imported"
        return Check(name="torchvision", state="warn", detail=detail, remedy=install_torchvision(torch))
    return Check(name="torchvision", state="ok", detail=torchvision)


def _version_in_source(package: str, path: Sequence[str]) -> str | None:
    """Return the version that a package gives itself: unlike that of its wheel, it always tells CPU or CUDA."""
    for entry in path:
        with suppress(OSError, ValueError):
            text = Path(entry, package, "version.py").read_text(encoding="utf-8")
            if found := re.search(r"""^__version__ = ['"]([^'"]+)""", text, re.MULTILINE):
                return found[1]
    return None


def check_compiler() -> Check:
    """Check that the C++ compiler that Inductor calls builds a shared library with OpenMP."""
    command, path = os.environ.get("CXX", "g++"), compiler_path()
    if path is None:
        remedy = "install g++ (Debian and Ubuntu: apt-get install g++), or set CXX to a compiler"
        if shutil.which(command.partition(" ")[0]) is not None:
            remedy = "set CXX to a program without arguments: torch runs its whole value as one; a script may add them"
        return Check(name="compiler", state="fail", detail=f"{command!r} is not on PATH", remedy=remedy)
    if command.split() != [command]:
        remedy = "set CXX to a path without spaces: torch splits its command line at them"
        return Check(name="compiler", state="fail", detail=f"{command!r} can't be used by torch", remedy=remedy)
    try:
        with tempfile.TemporaryDirectory(prefix="batchexport-doctor-") as folder:
            source, built = Path(folder, "answer.cpp"), Path(folder, "answer.so")
            source.write_text(_PROGRAM, encoding="utf-8")
            flags = ["-std=c++20", "-fPIC", "-shared", "-fopenmp", str(source), "-o", str(built)]
            status, output = answer([path, *flags], seconds=_PATIENCE)
    except OSError as error:
        remedy = "set TMPDIR to a folder that can be written and has room"
        return Check(name="compiler", state="fail", detail=f"not tried: {error}", remedy=remedy)
    if status != 0:
        lines = [line for line in output.splitlines() if "error" in line] or output.splitlines() or ["no output"]
        remedy = "compile jobs need C++20 and OpenMP: install a newer g++ and libgomp, or set CXX"
        return Check(name="compiler", state="fail", detail=f"{path}: {lines[0]}", remedy=remedy)
    return Check(name="compiler", state="ok", detail=f"{compiler() or '?'} ({path})")


def check_isa(cpuinfo: Path) -> Check:
    """Check that the CPU has vector instructions that Inductor generates code for."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Check(name="cpu isa", state="ok", detail="unknown on this system")
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    flags = set(match[1].split()) if match else set()
    found = [name for flag, name in _ISA if flag in flags]
    if not found:
        remedy = "compiled code will not be vectorized on this CPU"
        return Check(name="cpu isa", state="warn", detail="no vector instructions found", remedy=remedy)
    return Check(name="cpu isa", state="ok", detail=", ".join(found))


def check_cores() -> Check:
    """Report how many cores a run uses, which affinity and cgroup quota may limit."""
    present = os.cpu_count() or 1
    usable = usable_cores()
    more = f" of {present}" if usable < present else ""
    return Check(name="cores", state="ok", detail=f"{usable}{more} usable")


def check_memory(cgroup: Path) -> Check:
    """Check that there is memory for at least one compile of a model like BERT."""
    import psutil

    available = psutil.virtual_memory().available
    limit = cgroup_memory(cgroup)
    detail = f"{format_bytes(available)} available"
    if limit is not None:
        detail += f", limited to {format_bytes(limit)} by the container"
    usable = available if limit is None else min(available, limit)
    if usable < 2 * _GIB:
        remedy = "one compile of a BERT takes about 2 GiB; larger models need more"
        return Check(name="memory", state="warn", detail=detail, remedy=remedy)
    return Check(name="memory", state="ok", detail=detail)


def check_gpus(driver: Path) -> Check:
    """Report the NVIDIA GPUs; none is fine as long as no target asks for one."""
    if shutil.which("nvidia-smi") is None:
        if driver.exists():
            remedy = "put nvidia-smi on PATH, it comes with the driver"
            return Check(name="gpus", state="warn", detail="a driver without nvidia-smi", remedy=remedy)
        return Check(name="gpus", state="ok", detail="none; cuda targets will be skipped")
    status, output = ask_driver()
    gpus = parse(output)
    if status != 0 or not gpus:
        lines = [line.strip() for line in output.splitlines() if line.strip()]
        remedy = "cuda targets will be skipped until the driver works"
        return Check(name="gpus", state="warn", detail=f"nvidia-smi: {(lines or ['no answer'])[0]}", remedy=remedy)
    described = [f"{gpu.name}, {gpu.capability}, {gpu.memory >> 20} MiB" for gpu in gpus]
    detail = f"{counted(len(gpus), 'GPU')}: {'; '.join(described)}"
    if _torch_is_for_cpu():
        remedy = "install a torch built for CUDA, or cuda targets will be skipped"
        return Check(name="gpus", state="warn", detail=f"{detail}; torch is built for CPU only", remedy=remedy)
    return Check(name="gpus", state="ok", detail=detail)


def check_writable(name: str, folder: Path) -> Check:
    """Check that files can be created in `folder`, or in the nearest existing folder above it."""
    place = _nearest(folder)
    if not place.is_dir():
        detail, remedy = f"{place} is not a folder", "choose another with --cache-dir"
        return Check(name=name, state="fail", detail=detail, remedy=remedy)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        remedy = "choose another with --cache-dir, or change its owner or mode"
        return Check(name=name, state="fail", detail=f"{place}: {error.strerror}", remedy=remedy)
    return Check(name=name, state="ok", detail=f"{folder}" + ("" if place == folder else " (not made yet)"))


def check_space(name: str, folder: Path, *, fail: int, warn: int) -> Check:
    """Check that the disk under `folder` has at least `warn` bytes free, and `fail` if there are not even so many."""
    place = _nearest(folder)
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        return Check(name=name, state="warn", detail=f"{place}: {error.strerror}")
    detail = f"{format_bytes(free)} free at {place}"
    if free >= warn:
        return Check(name=name, state="ok", detail=detail)
    remedy = "free some space there: weights, packages and headers need it"
    return Check(name=name, state="fail" if free < fail else "warn", detail=detail, remedy=remedy)


def _nearest(folder: Path) -> Path:
    """Return `folder`, or the nearest folder above it that exists."""
    return next((place for place in (folder, *folder.parents) if place.exists()), folder)


def _torch_is_for_cpu() -> bool:
    try:
        return metadata.version("torch").endswith("+cpu")
    except metadata.PackageNotFoundError:
        return False
