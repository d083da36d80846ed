"""Restore the example values of symbols in a loaded program.

torch.export.load restores the value of a symbol that is itself a size of an input, but not of one that only occurs
inside a size (`8*s0`, from `multiple_of`); Inductor then fails with "unexpected None!".
"""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree


def restore_hints(program: ExportedProgram) -> None:
    """Give each symbol without a value the one that the stored example inputs imply."""
    if program.example_inputs is None:
        return
    examples = pytree.tree_leaves(program.example_inputs)
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    names = program.graph_signature.user_inputs
    for name, example in zip(names, examples, strict=False):
        value = nodes[name].meta.get("val") if isinstance(name, str) and name in nodes else None
        if isinstance(value, torch.Tensor) and isinstance(example, torch.Tensor):
            for size, known in zip(value.shape, example.shape, strict=True):
                if hasattr(size, "node"):
                    _restore(size, known)


def _restore(size: Any, known: int) -> None:
    environment, expression = size.node.shape_env, size.node.expr
    values = getattr(environment, "backed_var_to_val", None)  # named var_to_val before torch 2.12
    add = environment.add_var_to_val if values is None else environment.add_backed_var_to_val
    missing = [symbol for symbol in expression.free_symbols if symbol not in (values or environment.var_to_val)]
    if len(missing) != 1:
        return
    (symbol,) = missing
    factor, offset = expression.coeff(symbol), expression.subs(symbol, 0)
    if factor != 0 and (known - offset) % factor == 0:
        add(symbol, int((known - offset) / factor))
