"""Read the facts about machine and installation that keys are made of, cheaply and without importing torch."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from batchexport.core.digests import bytes_digest, text_digest
from batchexport.toolchain.distributions import Distributions
from batchexport.toolchain.resources import usable_cores

# Variables that reach torch, Inductor, the compilers they start, the numerical libraries below them, and
# the `assert`s of model code.
REACHING = ("TORCH", "PYTORCH", "INDUCTOR", "AOT_INDUCTOR", "AOTI_", "TRITON", "OMP_", "KMP_", "GOMP_", "MKL_",
             "OPENBLAS_", "ATEN_", "DNNL_", "ONEDNN_", "CUDA", "CUBLAS", "CUDNN", "NVIDIA_TF32", "GCC_",
             "CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "LD_", "PYTHONOPTIMIZE")  # fmt: skip
COMPILER = ("CXX", "CC", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS")
# Where things are kept or logged; they change no result.
_HARMLESS = frozenset({"TORCHINDUCTOR_CACHE_DIR", "TORCH_LOGS", "TORCH_TRACE", "TORCH_HOME", "TRITON_CACHE_DIR",
                       "CUDA_VISIBLE_DEVICES", "TORCHINDUCTOR_COMPILE_THREADS", "CUDA_CACHE_PATH"})  # fmt: skip
# What the pipeline imports from the rest of the package, what makes its requests, and what publishes its results.
_BESIDE = ("core/archives", "core/digests", "core/dims", "core/errors", "core/input_paths", "core/keys", "core/sizes",
           "core/text", "core/wheels",
           "dependencies/answers", "dependencies/asked", "dependencies/checker", "dependencies/collect",
           "dependencies/collect_answers", "dependencies/dependency", "dependencies/hooks", "dependencies/installed",
           "dependencies/machine", "dependencies/merge", "dependencies/native", "dependencies/observations",
           "dependencies/observer", "dependencies/path_hooks", "dependencies/paths", "dependencies/preloaded",
           "dependencies/zones",
           "engine/publish", "engine/requests", "toolchain/distributions",
           "workers/compiled_once", "workers/header_search", "workers/launcher", "workers/launchers",
           "workers/wrapper_parts")  # fmt: skip
_DRIVER = Path("/proc/driver/nvidia")
_STACK = ("torch", "triton", "numpy", "sympy", "safetensors")
_SHADOWED = sys.stdlib_module_names | {
    *_STACK,
    *("filelock", "fsspec", "functorch", "jinja2", "markupsafe", "mpmath", "networkx", "torchgen", "typing_extensions"),
}
_ISA_WORDS = ("sse4", "ssse3", "avx", "fma", "f16c", "bmi", "amx", "vnni", "bf16", "neon", "asimd", "sve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """The facts that affect results: `capture` affects exported programs, both affect compiled code and its outputs."""

    capture: Mapping[str, Any]
    code: Mapping[str, Any]

    def compilers_key(self) -> str:
        """Return the key of what compilers make whatever the model: of compiler, CPU, and torch's content and place."""
        torch = Distributions(import_path()).by_name.get("torch")
        facts = {name: value for name, value in self.code.items() if name != "threads"}
        facts |= {"platform": self.capture["platform"], "torch": (torch.root, torch.digest) if torch else None}
        return text_digest(json.dumps(facts, sort_keys=True))[:16]

    def summary(self) -> dict[str, Any]:
        """Return all facts in one table, for the report."""
        return {**self.capture, **self.code}


def toolchain() -> Toolchain:
    """Read the facts. Takes a few milliseconds, one of them for `g++ --version`."""
    installed = Distributions(import_path()).by_name
    capture: dict[str, Any] = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{sys.platform} {platform.machine()}",
        "batchexport": _pipeline_digest()[:16],
    }
    capture |= _startup()
    for name in _STACK:
        found = installed.get(name)
        capture[name] = found.version if found else None
    for name in sorted(os.environ):
        if name.startswith(REACHING) and name not in _HARMLESS:
            capture[name] = os.environ[name]
    code: dict[str, Any] = {"cxx": compiler(), "isa": isa(), "threads": usable_cores()}
    code |= {name: os.environ[name] for name in COMPILER if name in os.environ}
    return Toolchain(capture=capture, code=code)


def _startup() -> dict[str, Any]:
    """Return what changes every Python process before it imports torch, if there is anything of the kind.

    `startup` is the digest of the customization modules and of the import lines of .pth files (see the module `site`);
    `shadowed` are the modules of Python and of torch's stack that another folder of the import path provides.
    """
    lines, shadowed = [], set()
    for entry in import_path():
        standard = entry.startswith(os.path.dirname(os.__file__)) or entry.endswith(".zip")
        installed = entry.endswith(("site-packages", "dist-packages"))
        try:
            names = os.listdir(entry)
        except OSError:
            continue
        for name in names:
            stem, _, suffix = name.partition(".")
            if name in ("sitecustomize.py", "usercustomize.py") or (installed and name.endswith(".pth")):
                lines += _startup_lines(os.path.join(entry, name))
            elif not standard and not installed and suffix in ("", "py") and stem in _SHADOWED:
                shadowed.add(stem)
    found: dict[str, Any] = {"startup": text_digest("\n".join(sorted(lines)))[:16]} if lines else {}
    return found | ({"shadowed": " ".join(sorted(shadowed))} if shadowed else {})


def _startup_lines(path: str) -> list[str]:
    """Return the lines that are run at startup: the whole of a module, and the import lines of a .pth file."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if not path.endswith(".pth") or line.startswith(("import ", "import\t"))]


def import_path() -> list[str]:
    """Return where children import from, after the manifest's folder: `sys.path` without the script's own folder."""
    entries = [entry for entry in (sys.path if sys.flags.safe_path else sys.path[1:]) if entry]
    ours = str(Path(__file__).parents[2])
    return entries if ours in entries else [*entries, ours]


def compiler_path() -> str | None:
    """Return the C++ compiler that Inductor starts: the whole of CXX, else g++; None where there is none.

    Inductor runs the value of CXX as one program (`torch._inductor.cpp_builder.cpp_compiler_search`), so a value with
    arguments, `g++ -m64` say, names no compiler.
    """
    return shutil.which(os.environ.get("CXX", "g++"))


def compiler() -> str | None:
    """Return the first line that the C++ compiler prints about its version; None where there is none."""
    path = compiler_path()
    if path is None:
        return None
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.partition("\n")[0].strip() or None


def isa() -> str:
    """Return vendor, model and vector extensions of the CPU, which generated code is tuned for (`-march=native`)."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        return platform.processor() or platform.machine()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    flags = sorted(flag for flag in (fields.get("flags") or fields.get("Features", "")).split()
                   if flag.startswith(_ISA_WORDS))  # fmt: skip
    who = [fields.get(key, "") for key in ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")]
    return f"{'/'.join(part for part in who if part)} {' '.join(flags)}"


@cache
def _pipeline_digest() -> str:
    """Return the digest of our own pipeline; when it changes, everything is built again."""
    here = Path(__file__).parents[1]
    files = sorted([*here.glob("pipeline/*.py"), *(here / f"{name}.py" for name in _BESIDE)])
    return text_digest("\n".join(f"{path.relative_to(here)} {bytes_digest(path.read_bytes())}" for path in files))


def is_current() -> bool:
    """Return whether our own pipeline is still the one whose digest this process knows."""
    return _pipeline_digest.__wrapped__() == _pipeline_digest()


def driver() -> list[str]:
    """Return what the files of the NVIDIA driver say about it and its devices; empty without a driver."""
    found = []
    for path in [_DRIVER / "version", *sorted(_DRIVER.glob("gpus/*/information"))]:
        with contextlib.suppress(OSError):
            found.append(path.read_text(encoding="utf-8", errors="replace"))
    return found


def cuda_runtime() -> str | None:
    """Return the version of the CUDA runtime that was installed with torch, or None."""
    installed = Distributions(import_path()).by_name
    found = [name for name in installed if name.startswith("nvidia-cuda-runtime")]
    return installed[max(found)].version if found else None
