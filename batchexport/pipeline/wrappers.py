"""Take off what torch puts around a model to run it faster: it hides the names of inputs, and renames the weights."""

from __future__ import annotations

from torch import nn
from torch._dynamo.eval_frame import OptimizedModule

_INNER: dict[type, str] = {
    nn.DataParallel: "module",
    nn.parallel.DistributedDataParallel: "module",
    OptimizedModule: "_orig_mod",  # what torch.compile makes of a module
}


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module that is called in the end, to be run as it is written; a wrapper with hooks does more."""
    while type(model) in _INNER and not (model._forward_hooks or model._forward_pre_hooks):
        model = getattr(model, _INNER[type(model)])
    for module in model.modules():
        if module._compiled_call_impl is not None:  # as `module.compile()` leaves it
            module._compiled_call_impl = None
    return model
