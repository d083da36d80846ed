"""Running a model may change it; what is exported is the model as it was built."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Take back what the block's runs do to the model: buffers written to, attributes and buffers set anew."""
    attributes = [(module, type(module), dict(vars(module)), dict(module._buffers)) for module in model.modules()]
    tensors = {id(buffer): buffer for buffer in model.buffers()}
    for _, _, own, _ in attributes:
        tensors.update((id(value), value) for value in own.values() if isinstance(value, torch.Tensor))
    contents = [(one, one._version, one.detach().clone()) for one in tensors.values() if not one.is_inference()]
    try:
        yield
    finally:
        for module, kind, own, buffers in attributes:
            if type(module) is not kind:  # a lazy module, which its first run has made what it is
                continue
            # What a first run adds stays: the hooks that libraries install then stay too, and must stay known.
            vars(module).update(own)
            module._buffers.clear()
            module._buffers.update(buffers)
        with torch.no_grad():
            for tensor, version, content in contents:
                if tensor._version != version:
                    tensor.copy_(content)
