"""Keep the ranges of a program while Inductor compiles it.

Inductor asks questions about sizes that are true of the example only ("is the batch below 16?", to choose a backend for
a convolution). torch then narrows the range of the size to where the answer holds, and Inductor both simplifies the
code by that and lets it refuse every other size, though the code must hold for the whole range of the manifest.
Loading an archive asks such questions, too: a size that may be 1 comes back as one of at least 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.export import ExportedProgram
from torch.utils import _pytree as pytree
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges


@contextmanager
def kept_ranges(program: ExportedProgram) -> Iterator[None]:
    """Give the sizes of the inputs of `program` the ranges of its signature, and let nothing narrow them.

    Values that only data tell may be narrowed.
    """
    environments = {id(environment): environment for environment in _environments(program)}
    for environment in environments.values():
        update = _Update(environment)
        for symbol, span in _declared(program).items():
            if symbol in update.kept and symbol in environment.var_to_range:
                environment.var_to_range[symbol] = span
        environment._update_version_counter()  # else torch may answer by the ranges from before
        environment._update_var_to_range = update
    try:
        yield
    finally:
        for environment in environments.values():
            del environment._update_var_to_range


def _declared(program: ExportedProgram) -> dict[Any, ValueRanges[Any]]:
    """Return the widest range that the signature gives each symbol, by itself or inside of a size (`2*s0 + 1`).

    torch gives `s0` at least 2 where `2*s0` may be 2.
    """
    found: dict[Any, ValueRanges[Any]] = {}
    for size, span in program.range_constraints.items():
        symbols = size.free_symbols
        if len(symbols) != 1:
            continue
        (symbol,) = symbols
        factor, offset = size.coeff(symbol), size.subs(symbol, 0)
        if size != factor * symbol + offset or not factor > 0:
            continue
        own = ValueRanges(
            *(end if end in (int_oo, -int_oo) else (end - offset) / factor for end in (span.lower, span.upper))
        )
        found[symbol] = found[symbol] | own if symbol in found else own
    return found


class _Update:
    """`ShapeEnv._update_var_to_range` of one environment, for other symbols than those of input sizes."""

    def __init__(self, environment: Any) -> None:
        self._update = environment._update_var_to_range
        # Named var_to_val before torch 2.12.
        values = getattr(environment, "backed_var_to_val", None)
        self.kept = set(environment.var_to_val if values is None else values)

    def __call__(self, symbol: Any, *args: Any, **kwargs: Any) -> None:
        if symbol not in self.kept:
            self._update(symbol, *args, **kwargs)


def _environments(program: ExportedProgram) -> Iterator[Any]:
    for node in program.graph.nodes:
        if node.op == "placeholder":
            for leaf in pytree.tree_leaves(node.meta.get("val")):
                for size in (leaf, *getattr(leaf, "shape", ())):
                    if hasattr(size, "node"):
                        yield size.node.shape_env
