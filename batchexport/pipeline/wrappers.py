"""Take off what torch puts around a model to run it faster, and put another `forward` into a model for a time.

Torch's wrappers hide the names of inputs, and rename the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

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


@contextmanager
def replaced_forward(model: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Let calls of a model run `forward` for the time of a block."""
    own, was_set = model.forward, "forward" in vars(model)
    model.forward = forward
    try:
        yield
    finally:
        if was_set:
            model.forward = own
        else:
            del model.forward
