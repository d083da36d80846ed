"""Guess what a parameter of a model takes: by its name, its annotation, and the layers of the model."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

Node = dict[str, Any]  # a tensor of [entry.inputs], or the `value` of a scalar
# Sizes that differ, so that none is taken for another, and that layers can halve some times.
EXAMPLES: Mapping[Any, int] = {"batch": 3, "seq": 8, "length": 64, "height": 64, "width": 96, "depth": 32}
_SPATIAL = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
_SQUARES = (224, 32, 28, 64)  # what models that end in a layer of a certain width mostly take
_IDS = re.compile(r"(^|_)(ids?|tokens?|index|indices|idx|labels?|words?|src|tgt|users?|items?)(_|$)")
_MASK = re.compile(r"mask")
_SCALARS: Mapping[Any, Any] = {int: 2, float: 0.5, bool: True, "int": 2, "float": 0.5, "bool": True}


def likely_inputs(parameter: inspect.Parameter, model: nn.Module) -> list[Node]:
    """Return guesses at a parameter, the likeliest first."""
    if parameter.annotation in _SCALARS:
        return [{"value": _SCALARS[parameter.annotation]}]
    found = [*_by_layers(model), *_by_weights(model)]
    found += [_tensor("batch", 16), _tensor("batch", "seq", 16), _tensor("batch", 3, "height", "width")]
    found += [_tensor("batch", 3, 224, 224), _ids(2), _tensor("batch", "seq"), _tensor("batch")]
    if _MASK.search(parameter.name):
        mask = {"dtype": "bool", "range": None, "value": True}
        found = [{"shape": ["batch", "seq"], **mask}, {"shape": ["seq", "seq"], **mask}, *found]
    elif _IDS.search(parameter.name):
        found.sort(key=lambda node: node["dtype"] != "int64")
    return [node for index, node in enumerate(found) if node not in found[:index]]


def _by_layers(model: nn.Module) -> Iterator[Node]:
    for layer in model.modules():
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
            yield _ids(layer.num_embeddings)
            yield {**_ids(layer.num_embeddings), "shape": ["batch"]}
        elif isinstance(layer, nn.modules.conv._ConvNd):
            yield from _images(layer.in_channels, len(layer.kernel_size))
        elif isinstance(layer, nn.modules.batchnorm._NormBase):
            yield _tensor("batch", layer.num_features)
        elif isinstance(layer, nn.RNNBase):
            yield _tensor("batch", "seq", layer.input_size)
        elif isinstance(layer, nn.MultiheadAttention):
            yield _tensor("batch", "seq", layer.embed_dim)
        elif isinstance(layer, nn.LayerNorm):
            yield _tensor("batch", "seq", *layer.normalized_shape)
            yield _tensor("batch", *layer.normalized_shape)
        elif isinstance(layer, nn.Linear):
            yield _tensor("batch", layer.in_features)
            yield _tensor("batch", "seq", layer.in_features)


def _by_weights(model: nn.Module) -> Iterator[Node]:
    """Yield what weights are likely to be multiplied with; scripted layers have no other attributes."""
    for name, weight in model.state_dict().items():
        if name.endswith("weight") and weight.dim() == 2:
            yield _tensor("batch", weight.shape[1])
            yield _tensor("batch", "seq", weight.shape[1])
            yield _ids(len(weight))
        elif name.endswith("weight") and weight.dim() > 2:
            yield from _images(weight.shape[1], weight.dim() - 2)


def _images(channels: int, axes: int) -> Iterator[Node]:
    if axes in _SPATIAL:
        yield _tensor("batch", channels, *_SPATIAL[axes])
        for size in _SQUARES:
            yield _tensor("batch", channels, *[size] * axes)


def _tensor(*shape: int | str) -> Node:
    return {"shape": list(shape), "dtype": "float32", "range": None, "value": None}


def _ids(count: int) -> Node:
    return {"shape": ["batch", "seq"], "dtype": "int64", "range": [0, count], "value": None}
