"""Remember, for a toolchain, that everything passed with which Inductor probes the CPU's vector instructions.

Each process compiles and loads a small library for each set of instructions that /proc/cpuinfo lists. The answer is the
same until the CPU, the compiler or torch changes, and with each of them the folder of the toolchain does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch._inductor import cpu_vec_isa

_NAME = "vector-isa-passed"


def known_isa_options(folder: str) -> dict[str, Any]:
    """Return the option that spares the probes, if all passed in this toolchain's folder before."""
    return {"cpp.vec_isa_ok": True} if Path(folder, _NAME).is_file() else {}


def remember_isa(folder: str) -> None:
    """Note in the toolchain's folder that all probes passed, if they did in this process. Raises OSError."""
    try:
        listed = cpu_vec_isa.x86_isa_checker()
        probed = [isa for isa in cpu_vec_isa.supported_vec_isa_list if all(word in listed for word in str(isa).split())]
        passed = bool(probed) and probed == cpu_vec_isa.valid_vec_isa_list()
    except AttributeError:  # another version of torch, which goes on probing
        return
    if passed:
        Path(folder, _NAME).touch()
