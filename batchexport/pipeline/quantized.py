"""Tell quantized models apart: which torch.export can hold, and in what form."""

from __future__ import annotations

import torch
from torch import nn
from torch._functorch._aot_autograd.subclass_parametrization import unwrap_tensor_subclass_parameters
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from batchexport.pipeline.failure import Kind, StageFailure, failing_as

REMEDY = "export the float model, or keep whole numbers and scales in buffers and multiply them in forward"


def refuse_quantized(model: nn.Module) -> None:
    """Raise StageFailure of kind build for a quantized module of torch.ao, whose weights are packed in C++ objects."""
    for name, part in model.named_modules():
        kind = type(part)
        if kind.__module__.startswith(("torch.ao.", "torch.nn.")) and ".quantized." in f"{kind.__module__}.":
            what = f"the module {name!r}" if name else "the model"
            message = f"{what} is a quantized {kind.__name__} of torch.ao, which no exported program can hold"
            raise StageFailure(Kind.BUILD, message, REMEDY)


def unwrap_subclasses(model: nn.Module) -> None:
    """Replace parameters that are made of other tensors, as torchao's are, by these: an archive stores plain ones.

    Their names are then those of a parametrization: `lin.parametrizations.weight.original0`. Raises StageFailure of
    kind build.
    """
    if any(map(_is_made_of_others, model.parameters())):
        with failing_as(Kind.BUILD, "taking parameters apart that are made of other tensors"):
            unwrap_tensor_subclass_parameters(model)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if _is_made_of_others(tensor):
            message = f"the tensor {name!r} is a {type(tensor).__name__}, which is made of other tensors"
            raise StageFailure(Kind.BUILD, message, "make it a parameter, or keep plain tensors in buffers")


def _is_made_of_others(tensor: torch.Tensor) -> bool:
    return bool(is_traceable_wrapper_subclass(tensor))
