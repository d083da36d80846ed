"""Make programs that return a loss and its gradients beside the other outputs, and call models to the same effect.

Both return `(outputs, gradients)`, the latter a dict by parameter name, and all outputs are detached. A parameter that
is frozen, or that the loss does not depend on, has no gradient.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.experimental import _export_forward_backward
from torch.export.graph_signature import OutputKind
from torch.utils import _pytree as pytree

from batchexport.pipeline.call_form import Call
from batchexport.pipeline.failure import Kind, StageFailure, failing_as, of_type
from batchexport.pipeline.load import leaf_names
from batchexport.pipeline.model_state import restored
from batchexport.pipeline.wrappers import replaced_forward


@contextmanager
def returning_gradients(model: nn.Module, loss: int | None) -> Iterator[None]:
    """Let calls of a model return the gradients of the output `loss` too; with None, leave it as it is.

    A call raises StageFailure of kind export where that output is no loss.
    """
    if loss is None:
        yield
        return

    def with_gradients(run: Callable[[], Any]) -> Any:
        with torch.enable_grad():
            outputs = run()
            named = _to_train(model)
            value = _loss(outputs, loss, named)
            found: tuple[torch.Tensor | None, ...] = torch.autograd.grad(value, list(named.values()), allow_unused=True)
        gradients = {name: one for name, one in zip(named, found, strict=True) if one is not None}
        return _detached(outputs), gradients

    with replaced_forward(model, _around(model, with_gradients)):
        yield


def _to_train(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: one for name, one in model.named_parameters() if one.requires_grad}


def _loss(outputs: Any, index: int, parameters: Mapping[str, nn.Parameter]) -> torch.Tensor:
    """Return the output that is the loss. Raises StageFailure of kind export if it can't be one."""
    leaves, names = pytree.tree_leaves(outputs), leaf_names(outputs)
    scalars = [number for number, leaf in enumerate(leaves) if _is_scalar(leaf)]
    fitting = [f"loss = {number} for output{names[number]}" for number in scalars]
    remedy = f"write {' or '.join(fitting)}" if fitting else "return the loss as a tensor without dims, such as a mean"
    if index >= len(leaves):
        count = f"{len(leaves)} output{'s' * (len(leaves) != 1)}"
        raise StageFailure(Kind.EXPORT, f"loss = {index}, but the model returns {count}", remedy)
    value = leaves[index]
    if index not in scalars:
        what = f"a tensor of {list(value.shape)} {value.dtype}" if isinstance(value, torch.Tensor) else of_type(value)
        told = f"loss = {index} is output{names[index]}, which is {what}, and no floating-point tensor without dims"
        raise StageFailure(Kind.EXPORT, told, remedy)
    if not parameters:
        message = "no parameter of the model requires a gradient"
        raise StageFailure(Kind.EXPORT, message, "leave requires_grad of the parameters to train as it is")
    if not value.requires_grad:
        message = f"output{names[index]}, the loss, does not depend on a parameter that requires a gradient"
        raise StageFailure(Kind.EXPORT, message, "compute it without torch.no_grad and detach")
    assert isinstance(value, torch.Tensor)
    return value


def _is_scalar(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and not leaf.dim() and leaf.is_floating_point()


def _detached(outputs: Any, but: int | None = None) -> Any:
    leaves, structure = pytree.tree_flatten(outputs)
    detached = [
        leaf.detach() if isinstance(leaf, torch.Tensor) and number != but else leaf
        for number, leaf in enumerate(leaves)
    ]
    return pytree.tree_unflatten(detached, structure)


def _around(model: nn.Module, around: Callable[[Callable[[], Any]], Any]) -> Callable[..., Any]:
    """Return the `forward` of a model with `around`, which gets what runs it with the inputs of a call."""
    own = model.forward

    @functools.wraps(own)
    def forward(*args: Any, **kwargs: Any) -> Any:
        return around(lambda: own(*args, **kwargs))

    return forward


@contextmanager
def prepared_for_joint(model: nn.Module, call: Call, loss: int) -> Iterator[None]:
    """Make a model one that torch derives a joint graph from: all outputs but the loss are detached, and parameters
    that get no gradient in this `call` are frozen. Undone when the block ends.
    """
    args, kwargs = call
    with restored(model), returning_gradients(model, loss), torch.random.fork_rng(devices=[]):
        _, gradients = model(*args, **kwargs)
    frozen = [one for name, one in _to_train(model).items() if name not in gradients]
    with replaced_forward(model, _around(model, lambda run: _detached(run(), but=loss))):
        for parameter in frozen:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in frozen:
                parameter.requires_grad_(True)


def joint_program(model: nn.Module, program: ExportedProgram, loss: int) -> ExportedProgram:
    """Return forward, loss and gradients of a captured program, in core ATen IR. Raises StageFailure of kind lower."""
    for node in program.graph.find_nodes(op="placeholder"):
        if not node.users and isinstance(value := node.meta.get("val"), torch.Tensor) and value.requires_grad:
            # Another name of a tied parameter, whose uses are all those of one name.
            node.meta["val"] = value.detach()
    with failing_as(Kind.LOWER, "making the joint graph"):
        joint = _export_forward_backward(program, joint_loss_index=loss)
        names = _sort_gradients(joint, model)
    signature = joint.module_call_graph[0].signature
    assert signature is not None
    # torch leaves the gradients out of it, so that neither a program nor what is compiled from it could be called.
    outputs = pytree.tree_unflatten([0] * signature.out_spec.num_leaves, signature.out_spec)
    signature.out_spec = pytree.tree_structure((outputs, dict.fromkeys(names, 0)))
    return joint


def _sort_gradients(joint: ExportedProgram, model: nn.Module) -> list[str]:
    """Put the gradients of a program in the order of the model's parameters, and return the names of these.

    A tied parameter has its first name here, and any of them in the program.
    """
    first = {id(one): name for name, one in model.named_parameters()}
    canonical = {name: first[id(one)] for name, one in model.named_parameters(remove_duplicate=False)}
    order = list(first.values())
    specs, output = joint.graph_signature.output_specs, joint.graph.output_node()
    begin = len(specs) - len(gradients := [one for one in specs if one.kind is OutputKind.GRADIENT_TO_PARAMETER])
    rows = zip(gradients, output.args[0][begin:], strict=True)
    ordered = sorted(rows, key=lambda row: order.index(canonical[str(row[0].target)]))
    specs[begin:] = [spec for spec, _ in ordered]
    output.args = ((*output.args[0][:begin], *(node for _, node in ordered)),)
    joint.graph_module.recompile()
    return [canonical[str(spec.target)] for spec, _ in ordered]


def gradient_names(program: ExportedProgram) -> list[str]:
    """Return the parameters whose gradients a program returns, in their order; none where it is no joint program."""
    if program.graph_signature.backward_signature is None:
        return []
    return list(program.call_spec.out_spec.children()[1].context)
