"""The oracle is the model in eager mode, built from its source and a card alone, and called a few times."""

from __future__ import annotations

import copy
import importlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

CALLS = 5
Card = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call: sizes of the dims, seed, inputs, and what eager gave: outputs and inputs afterwards.

    `free`: the sizes are such as the manifest promises nothing of, so that a refusal is right.
    """

    point: Mapping[str, int]
    seed: int
    inputs: Mapping[str, Any]
    outputs: Any
    after: Mapping[str, Any]
    free: bool


def build(card: Card) -> nn.Module:
    """The model, as a manifest describes it: under its seed, with its dtype, in eval mode, with its method."""
    module = importlib.import_module(card["module"])
    seed_all(card["seed"])
    model: nn.Module = module.Model()
    if card["dtype"] != "keep":
        dtype = getattr(torch, card["dtype"])
        model._apply(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)
    model.eval()
    model.requires_grad_(False)
    return model


def seed_all(seed: int) -> None:
    """Seed all global generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def method_of(model: nn.Module, card: Card) -> Callable[..., Any]:
    """What is called: the model, or the method that is exported, with the model's hooks."""
    if card["method"] == "forward":
        return model
    chosen, own, inside = getattr(model, card["method"]), model.forward, []

    def forward(*args: Any, **kwargs: Any) -> Any:
        if inside:
            return own(*args, **kwargs)
        inside.append(True)
        try:
            return chosen(*args, **kwargs)
        finally:
            inside.pop()

    model.forward = forward
    return model


def calls(card: Card, points: list[dict[str, int]]) -> list[Call]:
    """Call a fresh model at each point in turn."""
    run = method_of(build(card), card)
    made = []
    for number, point in enumerate(points):
        seed = 1000 * (card["seed"] + 1) + number
        given = inputs(card, point, seed)
        used = copy.deepcopy(given)
        outputs = called(run, used, seed, card["positional"])
        free = any(dim["auto"] and point[name] != dim["example"] for name, dim in card["dims"].items())
        made.append(Call(point=point, seed=seed, inputs=given, outputs=copied(outputs), after=copied(used), free=free))
    return made


def called(run: Callable[..., Any], given: Mapping[str, Any], seed: int, positional: Sequence[str] = ()) -> Any:
    """Make one call under a seed, by name but for what is taken by position only."""
    seed_all(seed)
    rest = {name: value for name, value in given.items() if name not in positional}
    with torch.no_grad():
        return run(*(given[name] for name in positional), **rest)


def copied(tree: Any) -> Any:
    """A copy of a tree of outputs, whatever classes are in it."""
    if isinstance(tree, torch.Tensor):
        return tree.detach().clone()
    return copy.deepcopy(tree) if not isinstance(tree, tuple | list | dict) else _copied_container(tree)


def _copied_container(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: copied(item) for key, item in tree.items()}
    items = [copied(item) for item in tree]
    if isinstance(tree, list):
        return items
    return type(tree)(*items) if hasattr(tree, "_fields") else tuple(items)


# ── sizes and inputs ─────────────────────────────────────────────────────────────────────────


def points(card: Card, count: int = CALLS) -> list[dict[str, int]]:
    """Sizes to call at: other ones than the example, first at random, then at either end, then at random."""
    rng = random.Random(f"points {card['seed']}")
    found = []
    for number in range(count):
        point = {}
        for name, dim in card["dims"].items():
            allowed = list(range(-(-dim["min"] // _step(dim)) * _step(dim), dim["max"] + 1, _step(dim)))
            others = [size for size in allowed if size != dim["example"]] or allowed
            if dim["auto"]:
                point[name] = dim["example"] if number < count - 1 else rng.choice(others)
            else:
                point[name] = {1: allowed[0], 2: allowed[-1]}.get(number) or rng.choice(others)
        found.append(point)
    return found


def example(card: Card) -> dict[str, int]:
    """The sizes that the model is exported at."""
    return {name: dim["example"] for name, dim in card["dims"].items()}


def _step(dim: Mapping[str, Any]) -> int:
    return int(dim.get("multiple_of", 1))


def inputs(card: Card, point: Mapping[str, int], seed: int) -> dict[str, Any]:
    """Fresh inputs for these sizes."""
    generator = torch.Generator().manual_seed(seed)
    return {name: _made(tree, point, generator) for name, tree in card["inputs"].items()}


def _made(tree: Mapping[str, Any], point: Mapping[str, int], generator: torch.Generator) -> Any:
    if "list" in tree:
        return [_made(item, point, generator) for item in tree["list"]]
    if "table" in tree:
        return {key: _made(item, point, generator) for key, item in tree["table"].items()}
    if "value" in tree:
        return tree["value"]
    tensor = tree["tensor"]
    shape = [size if isinstance(size, int) else size[0] * point[size[1]] + size[2] for size in tensor["shape"]]
    dtype: torch.dtype = getattr(torch, tensor["dtype"])
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=torch.float32).to(dtype)
    low, high = tensor["range"] or (0, 2)
    return torch.randint(int(low), int(high), shape, generator=generator).to(dtype)
