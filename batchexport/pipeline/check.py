"""Check a captured program against its model, and take out of it what differs from run to run."""

from __future__ import annotations

import torch
from torch import nn
from torch.export import ExportedProgram

from batchexport.pipeline.failure import Kind, StageFailure, failing_as, of_type
from batchexport.pipeline.identity import graph_nodes


def forget_positions(program: ExportedProgram) -> None:
    """Drop file names, line numbers and addresses, so that equal models give equal archives.

    Strict capture names the modules that a node lies in by their addresses.
    """
    numbers: dict[str, str] = {}
    for node in graph_nodes(program):
        stack = node.meta.get("nn_module_stack")
        if stack:
            node.meta["nn_module_stack"] = {
                numbers.setdefault(key, str(len(numbers))) if key.isdecimal() else key: place
                for key, place in stack.items()
            }
        for key in ("stack_trace", "source_fn_stack", "from_node"):
            node.meta.pop(key, None)


def check(model: nn.Module, program: ExportedProgram) -> None:
    """Check that torch's verifier passes, that the state has the model's names, and that keys can cover it.

    Raises StageFailure of kind export.
    """
    with failing_as(Kind.EXPORT, "torch's verifier"):
        program.validate()  # type: ignore[no-untyped-call]
    extra = sorted(set(program.state_dict) - set(model.state_dict(keep_vars=True)))
    named = {name for name, _ in model.named_buffers(remove_duplicate=False)}
    extra = [name for name in extra if name not in named]
    if extra:
        raise StageFailure(Kind.EXPORT, f"the exported program has the tensor {extra[0]!r}, which the model has not")
    for value in program.constants.values():
        if not isinstance(value, torch.Tensor | torch.ScriptObject):
            remedy = "draw from torch's global generator" if isinstance(value, torch.Generator) else None
            message = f"the exported program holds {of_type(value)} of the model, which torch stores in no stable form"
            raise StageFailure(Kind.EXPORT, message, remedy)
