"""Find what the report should say of a program that is delivered: what torch warned of, and random operators."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from batchexport.pipeline.identity import graph_nodes

# What torch says, in either mode of capture, of attributes that the model sets when it is called.
_ASSIGNED = re.compile(r"assigned during export|side effects happened")
# Where torch's recurrent layers list their own weights, which says nothing of the model.
_FLAT_WEIGHTS = re.compile(r"self[\w.]*\._flat_weights\[\d+\](, )?")
# Where strict capture sees that `methods.run` keeps track of a call.
_OWN_FORWARD = re.compile(r"\"L\['self'\]\._modules\['_export_root'\]\.forward\.__closure__\[\d\]\.cell_contents\"")
# How the operators that apply dropout name its probability; others call their own numbers `p` (`bernoulli`).
_PROBABILITIES = ("dropout_p", "dropout")
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in ')


@contextmanager
def recorded_warnings() -> Iterator[list[str]]:
    """Collect torch's warnings about assigned attributes; all warnings are printed as usual when the block ends."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        yield found
    for one in caught:
        sys.stderr.write(warnings.formatwarning(one.message, one.category, one.filename, one.lineno, one.line))
        text = _OWN_FORWARD.sub("", _FLAT_WEIGHTS.sub("", str(one.message)))
        if (
            _ASSIGNED.search(text)
            and not text.endswith(": []")
            and ("self." in text or "self." not in str(one.message))
        ):
            found.append(f"torch.export: {text.partition('(http')[0].strip()}")


def is_random(node: Node) -> bool:
    """Return True if a node calls an operator that draws random numbers, and does so in this call.

    Operators of dropout draw none outside training, nor where the probability is 0.
    """
    if node.op != "call_function" or torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
        return False
    operator: Any = node.target
    given = {argument.name: argument.default_value for argument in operator._schema.arguments}
    given |= dict(zip(given, node.args, strict=False)) | node.kwargs
    training = given.get("train", given.get("training", True))
    probability = next((given[name] for name in _PROBABILITIES if name in given), None)
    return training is not False and probability != 0


def random_operators(program: ExportedProgram) -> list[str]:
    """Return a line for each operator of the program that draws random numbers, with the place in the model's code."""
    found = []
    for node in graph_nodes(program):
        if is_random(node):
            frames = _FRAME.findall(node.meta.get("stack_trace") or "")
            place = f" ({frames[-1][0].rpartition('/')[2]}, line {frames[-1][1]})" if frames else ""
            found.append(f"each call draws random numbers: {node.target}{place}")
    return list(dict.fromkeys(found))
