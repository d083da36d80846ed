"""The compile stage: compile a stored program for one target, with its weights inside or beside the code."""

from __future__ import annotations

import importlib
import mmap
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch._inductor
from torch._inductor import config as inductor_config
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, SymIntArgument, TensorArgument
from torch.export.passes import move_to_device_pass
from torch.export.pt2_archive._package import PT2ArchiveReader, package_pt2
from torch.export.pt2_archive.constants import MODELS_FILENAME_FORMAT
from torch.utils import _pytree as pytree

from batchexport.core.digests import bytes_digest
from batchexport.pipeline.constants import WeightsNotSwappable, baked_constants, read_layout
from batchexport.pipeline.export_warnings import is_random
from batchexport.pipeline.failure import Kind, StageFailure, classified, failing_as
from batchexport.pipeline.hints import restore_hints
from batchexport.pipeline.identity import concrete_program_digest, graph_nodes
from batchexport.pipeline.load import leaf_names
from batchexport.pipeline.mutated import make_buffers, mutated_tensors
from batchexport.pipeline.ranges import kept_ranges
from batchexport.pipeline.vector_isa import known_isa_options, remember_isa

PACKAGE = "compiled.pt2"
LIBRARY = "compiled.so"
FROZEN = "frozen.bin"
# The name that torch.export.save and package_pt2 give to the only model of an archive.
MODEL = "model"
_RETURNED = (OutputKind.USER_OUTPUT, OutputKind.LOSS_OUTPUT, OutputKind.GRADIENT_TO_PARAMETER)
_SIMD_BITS = {"cpu-avx2": 256, "cpu-avx512": 512}
_MARCH = {"cpu-avx2": "haswell", "cpu-avx512": "skylake-avx512"}


def import_modules(modules: Iterable[str], kind: Kind) -> None:
    """Import what an archive or its code needs: see `needed_modules.py`. Raises StageFailure of `kind`."""
    for module in modules:
        with failing_as(kind, f"importing {module}, which the archive needs"):
            importlib.import_module(module)


def load_program(task: Mapping[str, Any]) -> ExportedProgram:
    """Load the stored program and check that it is the exported one. Raises StageFailure of kind save."""
    import_modules(task["modules"], Kind.SAVE)
    with failing_as(Kind.SAVE, "loading the exported program back"):
        program = torch.export.load(task["exported"])
    restore_hints(program)
    if concrete_program_digest(program) != task["skeleton"]:
        raise StageFailure(Kind.SAVE, "the archive, loaded back, is not the program that was exported")
    return program


def graph_digest(archive: str) -> str:
    """Return the digest of the serialized graph, signature and ranges in an archive, without weights."""
    with failing_as(Kind.SAVE, "reading the exported program back"):
        text: bytes = PT2ArchiveReader(archive).read_bytes(MODELS_FILENAME_FORMAT.format(MODEL))
    return bytes_digest(text)


def on_target(program: ExportedProgram, target: str) -> ExportedProgram:
    """Move weights, constants and example inputs of a program to the device of `target`, in place; return it."""
    if not target.startswith("cuda"):
        return program
    with failing_as(Kind.COMPILE, "moving the program to the GPU"):
        return move_to_device_pass(program, "cuda")


def compile_stage(task: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Leave `compiled.pt2` or `compiled.so` in `folder`, and in `code/` what other weights need.

    `task` holds exported (path), skeleton (digest), modules, spec (the compile spec), threads (how many the generated
    code is for) and tools (see `requests.compile_task`). Returns the name of the artifact, and
    `code`: the names of the code files, where weights can be exchanged, or why they can't. Raises StageFailure of kind
    save, compile, toolchain.
    """
    spec = task["spec"]
    program = on_target(load_program(task), spec["target"])
    _refuse_numbers(program)
    _refuse_outputs(program)
    package = spec["format"] == "package"
    work = Path(folder, "code")
    work.mkdir()
    options = inductor_options(spec, threads=task["threads"])
    if any(map(is_random, graph_nodes(program))):
        # Inductor's own generator gives other numbers than eager under one seed, so that verify could not tell.
        options.setdefault("fallback_random", True)
    mutated = mutated_tensors(program)
    if mutated:
        # It would fold `counter + 1` into a number, as if the counter always were what it was at first.
        options.setdefault("joint_graph_constant_folding", False)
    tools = task["tools"]
    if tools is not None:
        options = {"cpp.cxx": (None, tools["launcher"]), **known_isa_options(tools["folder"]), **options}
    options["aot_inductor.output_path"] = f"{work}/" if package else f"{work}/model.so"
    args, kwargs = program.example_inputs or ((), {})
    try:
        module = program.module(check_guards=False)
        make_buffers(module, mutated)
        with torch.no_grad(), kept_ranges(program):
            made: Any = torch._inductor.aot_compile(module, args, kwargs, options=options)
        if tools is not None and spec["target"] == "cpu":
            remember_isa(tools["folder"])
    except Exception as error:
        raise classified(error, Kind.COMPILE, "AOTInductor") from error
    if not package:
        _refuse_proxy_calls(work)
        with failing_as(Kind.COMPILE, "keeping the compiled library"):
            shutil.move(str(made), Path(folder, LIBRARY))
        return {"compiled": LIBRARY, "code": None}
    # Inductor lists its files in varying order; the archive needs a fixed one. A program without weights has a blob of
    # 0 bytes, with which torch can't load a package ("mmap() failed"), and without which it can.
    files = sorted(str(file) for file in made if not _is_empty_blob(str(file)))
    with failing_as(Kind.COMPILE, "packing the compiled code"):
        package_pt2(str(Path(folder, PACKAGE)), aoti_files=list(files))
    external = spec["weights"] == "external"
    code = _exchangeable(files, folder, program) if external else None
    if code is not None and "why" not in code:
        code["graph"] = graph_digest(task["exported"])
    return {"compiled": PACKAGE, "code": code}


def _refuse_proxy_calls(work: Path) -> None:
    """Raise StageFailure of kind compile if the generated code needs what only a package holds."""
    if any("aoti_torch_proxy_executor_call_function(proxy" in path.read_text() for path in work.rglob("*.wrapper.cpp")):
        raise StageFailure(
            Kind.COMPILE,
            "the program calls an operator that torch runs through its proxy executor, which a bare library has not",
            'set `format = "package"` in [entry.compile]',
        )


def _is_empty_blob(file: str) -> bool:
    return file.endswith("_weights.blob") and not Path(file).stat().st_size


def _refuse_numbers(program: ExportedProgram) -> None:
    """Raise StageFailure of kind compile for an input that is a number and varies: torch compiles and passes none."""
    names = [
        name for part in pytree.tree_unflatten(_inputs(program), program.call_spec.in_spec) for name in leaf_names(part)
    ]
    for name, spec in zip(names, _inputs(program), strict=True):
        if isinstance(spec, SymIntArgument):
            raise StageFailure(
                Kind.COMPILE,
                f"input{name} is a number that varies, and compiled code takes tensors only",
                'take it from the size of a tensor, write one number for each entry, or set `format = "none"` in '
                "[entry.compile]",
            )


def _inputs(program: ExportedProgram) -> list[Any]:
    return [one.arg for one in program.graph_signature.input_specs if one.kind is InputKind.USER_INPUT]


def _refuse_outputs(program: ExportedProgram) -> None:
    """Raise StageFailure of kind compile for an output that is no tensor: compiled code fails or changes its type."""
    outputs = [one.arg for one in program.graph_signature.output_specs if one.kind in _RETURNED]
    tree = pytree.tree_unflatten(range(len(outputs)), program.call_spec.out_spec)
    for name, output in zip(leaf_names(tree), outputs, strict=True):
        if isinstance(output, TensorArgument) or getattr(output, "value", output) is None:
            continue
        value = getattr(output, "value", None)
        what = f"the {type(value).__name__} {value!r}" if isinstance(output, ConstantArgument) else "a number"
        raise StageFailure(
            Kind.COMPILE,
            f"output{name} is {what}, and compiled code returns tensors only",
            'return a tensor, leave it out, or set `format = "none"` in [entry.compile]',
        )


def _exchangeable(files: list[str], folder: str, program: ExportedProgram) -> dict[str, Any]:
    """Return what packing other weights needs, proved by rebuilding Inductor's blob, or why it can't be done."""
    names = [Path(file).name for file in files]
    blobs = [file for file in files if file.endswith("_weights.blob")]
    wrappers = [file for file in files if file.endswith(".wrapper.cpp")]
    if len(blobs) != 1 or len(wrappers) != 1:
        return {"why": "the package holds no weights of its own" if not blobs else "unknown form of package"}
    layout = read_layout(Path(wrappers[0]).read_text(encoding="utf-8"))
    try:
        with Path(blobs[0]).open("rb") as file:
            view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if Path(blobs[0]).stat().st_size else b""
            frozen = baked_constants(layout, memoryview(view), program)
    except WeightsNotSwappable as error:
        return {"why": str(error)}
    Path(folder, FROZEN).write_bytes(b"".join(frozen.values()))
    return {
        "files": names,
        "blob": Path(blobs[0]).name,
        "wrapper": Path(wrappers[0]).name,
        "frozen": [[index, len(part)] for index, part in frozen.items()],
    }


def inductor_options(spec: Mapping[str, Any], *, threads: int) -> dict[str, Any]:
    """Return Inductor's options for a compile spec; the user's options override ours."""
    options: dict[str, Any] = {
        # Inductor bakes the thread count into loops, so it is the machine's and not this child's share.
        "cpp.threads": threads,
        # Otherwise small tensors become literals in the code, and a weight swap is silently wrong.
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
