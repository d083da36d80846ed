"""Find the tensors that a program changes, and make them what AOTInductor expects to be changed: buffers."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.export import ExportedProgram
from torch.fx import Node

from batchexport.pipeline.identity import graph_nodes


def mutated_tensors(program: ExportedProgram) -> set[str]:
    """Return the names of the parameters, buffers and constants that an operator writes to, or to a view of.

    Where a sub-graph writes to anything, so are those that it is given.
    """
    signature = program.graph_signature
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    owners = {node: names[node.name] for node in program.graph.nodes if node.op == "placeholder" and node.name in names}
    writes = any(getattr(_schema(node), "is_mutable", False) for node in graph_nodes(program))
    found = set(signature.buffers_to_mutate.values())  # in a functional graph, as of the IR "inference"
    for node in program.graph.nodes if writes else ():
        schema = _schema(node)
        if schema is None:
            found.update(owners[one] for one in node.all_input_nodes if one in owners)
            continue
        given = dict(zip((argument.name for argument in schema.arguments), node.args, strict=False)) | node.kwargs
        for argument in schema.arguments:
            value = given.get(argument.name)
            if isinstance(value, Node) and value in owners and argument.alias_info is not None:
                owners[node] = owners[value]  # what is returned may be a view
                if argument.alias_info.is_write:
                    found.add(owners[value])
    return found


def make_buffers(module: nn.Module, names: set[str]) -> None:
    """Turn the parameters and plain tensors of these names into buffers, in place."""
    for name in names:
        owner, _, attribute = name.rpartition(".")
        part = module.get_submodule(owner)
        if attribute in part._buffers:
            continue
        tensor = getattr(part, attribute).detach()
        delattr(part, attribute)
        part.register_buffer(attribute, tensor)


def _schema(node: Node) -> Any:
    return getattr(node.target, "_schema", None) if node.op == "call_function" else None
