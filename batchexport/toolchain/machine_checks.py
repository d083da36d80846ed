"""Checks of the machine below the toolchain: its kernel, the file system of the cache, its vector instructions."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from batchexport.toolchain.command import answer
from batchexport.toolchain.probe import compiler_path

_OLDEST_KERNEL = (5, 3)  # pidfd_open(2), by which the end of a process is seen
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs", "beegfs")
_PATIENCE = 30.0  # seconds for a compiler to answer
# The flags that Inductor compiles with for a CPU with this one, and an instruction of each set.
_VECTORS = (
    ("avx512f", ("-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma"), "_mm512_setzero_ps()"),
    ("avx2", ("-mavx2", "-mfma", "-mf16c"), "_mm256_setzero_ps()"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was checked, its state (`ok`, `warn` or `fail`), what was found, and what to do about it."""

    name: str
    state: str
    detail: str
    remedy: str | None = None


def check_kernel(release: str) -> Check:
    """Check that the kernel of Linux has what the supervision of children uses."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", release)[:2])
    if numbers and numbers < _OLDEST_KERNEL:
        remedy = "ends of processes are noticed late on a kernel before 5.3; update it"
        return Check(name="kernel", state="warn", detail=release, remedy=remedy)
    return Check(name="kernel", state="ok", detail=release)


def check_file_system(folder: Path, mounts: Path) -> Check:
    """Check that the cache lies on a file system of this machine: SQLite and locks are not safe on a network's."""
    name = "cache file system"
    kind = file_system(folder, mounts)
    if kind in _NETWORK:
        remedy = "put the cache on a local disk with --cache-dir or BATCHEXPORT_CACHE_DIR; locks across a network fail"
        return Check(name=name, state="warn", detail=f"{kind}, over a network", remedy=remedy)
    return Check(name=name, state="ok", detail=kind or "unknown on this system")


def file_system(folder: Path, mounts: Path) -> str | None:
    """Return the type of the file system under a folder by a table such as /proc/self/mounts; None if unknown."""
    try:
        rows = [line.split() for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return None
    place = os.path.realpath(folder)
    above = [
        (len(at), row[2])
        for row in rows
        if len(row) > 2 and (place == (at := _unescaped(row[1])) or place.startswith(at.rstrip("/") + "/"))
    ]
    return max(above, key=lambda one: one[0])[1] if above else None


def check_vector_code(cpuinfo: Path) -> Check:
    """Check that the compiler makes the vector code that Inductor asks of it for this CPU."""
    name, path = "vector code", compiler_path()
    try:
        flags = cpuinfo.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        flags = []
    for flag, options, call in _VECTORS:
        if flag in flags and path is not None:
            refused = _refusal(path, options, call)
            if refused is None:
                return Check(name=name, state="ok", detail=f"{flag} compiles")
            remedy = "install a newer compiler: code is made for a slower instruction set until then"
            return Check(name=name, state="warn", detail=f"{path} has no {flag}: {refused}", remedy=remedy)
    return Check(name=name, state="ok", detail="nothing to try on this CPU" if path else "not tried without a compiler")


def _refusal(compiler: str, options: tuple[str, ...], call: str) -> str | None:
    """Return what a compiler says against these options; None if it takes them."""
    program = f"#include <immintrin.h>\nauto zero() {{ return {call}; }}\n"
    try:
        with tempfile.TemporaryDirectory(prefix="batchexport-doctor-") as folder:
            source = Path(folder, "vector.cpp")
            source.write_text(program, encoding="utf-8")
            status, output = answer([compiler, "-fsyntax-only", *options, str(source)], seconds=_PATIENCE)
    except OSError as error:
        return str(error)
    lines = [line for line in output.splitlines() if "error" in line] or output.splitlines()
    return None if status == 0 else (lines or ["no output"])[0]


def _unescaped(place: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), place)
