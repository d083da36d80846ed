"""Make a model of an archive of torch.export, which takes its inputs as the program was called when it was exported."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn

_Parameter = inspect.Parameter


def load_exported(path: str) -> nn.Module:
    """Load an archive. The signature tells which inputs go by position and which by name, so that either may be given.

    Raises whatever torch.export.load raises.
    """
    module: Any = torch.export.load(path).module()
    tree = module.graph._codegen.pytree_info
    by_position, by_name = tree.in_spec.children()
    names = tree.orig_args[: by_position.num_children]
    parameters = [_Parameter(name, _Parameter.POSITIONAL_ONLY) for name in ("module_", *names)]
    parameters += [_Parameter(name, _Parameter.KEYWORD_ONLY) for name in by_name.context]
    type(module).forward.__signature__ = inspect.Signature(parameters)  # a class of this module alone
    found: nn.Module = module
    return found
