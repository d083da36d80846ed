"""The compile stage: a stored exported program in, code for one target out, weights inside it or beside it."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Mapping
from typing import Any

import torch
import torch._inductor
from torch._inductor import config as inductor_config
from torch.export import ExportedProgram
from torch.export.pt2_archive._package import package_pt2

from batchexport.errors import Kind
from batchexport.pipeline.failure import StageFailure, classified, failing_as
from batchexport.pipeline.identity import program_digest

PACKAGE = "compiled.pt2"
LIBRARY = "compiled.so"
_SIMD_BITS = {"cpu-avx2": 256, "cpu-avx512": 512}
_MARCH = {"cpu-avx2": "haswell", "cpu-avx512": "skylake-avx512"}


def load_program(task: Mapping[str, Any]) -> ExportedProgram:
    """The stored program, which must be the one that was exported. Raises StageFailure of kind save."""
    for module in task["modules"]:
        with failing_as(Kind.SAVE, f"importing {module}, which defines a container of the inputs or outputs"):
            importlib.import_module(module)
    with failing_as(Kind.SAVE, "loading the exported program back"):
        program = torch.export.load(task["exported"])
    if program_digest(program) != task["program"]:
        raise StageFailure(Kind.SAVE, "the archive, loaded back, is not the program that was exported")
    return program


def compile_stage(task: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Leave `compiled.pt2` or `compiled.so` in `folder`.

    `task` holds exported (path), program (digest), modules, spec (the compile spec) and threads (how many
    the generated code is for). Raises StageFailure of kind save, compile or toolchain.
    """
    program = load_program(task)
    spec = task["spec"]
    package = spec["format"] == "package"
    options = inductor_options(spec, threads=task["threads"])
    options["aot_inductor.output_path"] = os.path.join(folder, "code") + ("/" if package else "/model.so")
    os.makedirs(os.path.join(folder, "code"), exist_ok=True)
    args, kwargs = program.example_inputs or ((), {})
    try:
        with torch.no_grad():
            code: Any = torch._inductor.aot_compile(program.module(check_guards=False), args, kwargs, options=options)
    except Exception as error:
        raise classified(error, Kind.COMPILE, "AOTInductor") from error
    if package:
        with failing_as(Kind.COMPILE, "packing the compiled code"):
            package_pt2(os.path.join(folder, PACKAGE), aoti_files=code)
        return {"compiled": PACKAGE}
    with failing_as(Kind.COMPILE, "keeping the compiled library"):
        shutil.move(str(code), os.path.join(folder, LIBRARY))
    return {"compiled": LIBRARY}


def inductor_options(spec: Mapping[str, Any], *, threads: int) -> dict[str, Any]:
    """Inductor's options for a compile spec; what the user sets wins over what we choose."""
    options: dict[str, Any] = {
        # Inductor bakes the thread count into loops: it is the machine's, not the share of this child.
        "cpp.threads": threads,
        # Or small tensors end up in the code as literals, and a weight swap is silently wrong.
        "always_keep_tensor_constants": True,
    }
    target = spec["target"]
    if target in _SIMD_BITS:
        options["cpp.simdlen"] = _SIMD_BITS[target]
        if hasattr(inductor_config.cpp, "march"):
            options["cpp.march"] = _MARCH[target]
    if spec["format"] == "package":
        options["aot_inductor.package"] = True
        if spec["weights"] == "external":
            options["aot_inductor.package_constants_in_so"] = False
            options["aot_inductor.package_constants_on_disk_format"] = "binary_blob"
    return {**options, **spec["options"]}
