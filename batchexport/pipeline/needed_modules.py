"""Find the modules that must be imported before an archive is loaded or its code is run."""

from __future__ import annotations

from typing import Any

import torch
from torch._library.custom_ops import OPDEFS
from torch.export import ExportedProgram

from batchexport.pipeline.identity import graph_nodes

# The namespaces of operators that torch registers when it is imported.
_OF_TORCH = frozenset(
    ["aten", "prim", "prims", "inductor", "rngprims", "profiler", "quantized", "quantized_decomposed", "_quantized",
     "mkldnn", "mkl", "mkldnn_prepacked", "onednn", "sparse", "xnnpack", "prepacked", "c10d", "c10d_functional",
     "_c10d_functional", "_c10d_functional_autograd", "symm_mem", "streams", "export", "higher_order"]
)  # fmt: skip


def container_modules(program: ExportedProgram) -> set[str]:
    """Return the modules that define container types of inputs and outputs."""
    found: set[str] = set()

    def visit(spec: Any) -> None:
        # The node type of a named tuple is `namedtuple`; its class is the context.
        context = getattr(spec, "context", None)
        kind = context if isinstance(context, type) else getattr(spec, "type", None)
        module = getattr(kind, "__module__", "builtins")
        if module not in ("builtins", "collections"):
            found.add(module)
        children = spec.children() if hasattr(spec, "children") and callable(spec.children) else spec.children_specs
        for child in children:
            visit(child)

    visit(program.call_spec.in_spec)
    visit(program.call_spec.out_spec)
    return found


def operator_modules(program: ExportedProgram, model: str) -> set[str]:
    """Return the modules that register operators and C++ classes of the program which torch does not have.

    The module of an operator made by `torch.library.custom_op` is known. All others are taken to be registered by what
    `model` (a reference, `module:attribute`) imports; a file imports nothing, so that `imports` has to name them.
    """
    found: set[str] = set()
    own = {model.partition(":")[0]} if ":" in model else set()
    classes = [
        one._type().qualified_name() for one in program.constants.values() if isinstance(one, torch.ScriptObject)
    ]
    if any(name.removeprefix("__torch__.torch.classes.").partition(".")[0] not in _OF_TORCH for name in classes):
        found |= own
    for target in {node.target for node in graph_nodes(program)}:
        if isinstance(target, torch._ops.OpOverload) and target.namespace not in _OF_TORCH:
            definition = OPDEFS.get(target._schema.name)
            registered = getattr(getattr(definition, "_init_fn", None), "__module__", None)
            found |= {registered} if registered else own
    return {name for name in found if not name.startswith("torch.")}
