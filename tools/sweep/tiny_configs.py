"""Shrink configurations of transformers, by the names of their numbers alone, until their models are tiny."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

WIDTH, HEADS, HEAD, LAYERS, VOCABULARY, IMAGE, POSITIONS = 64, 4, 16, 1, 128, 64, 256

Rule = tuple[str, Callable[[Any], Any]]  # a pattern for names, and what a number of such a name becomes


def _at_most(limit: int) -> Callable[[Any], Any]:
    return lambda value: min(value, limit) if isinstance(value, int) else value


def _each(limit: int) -> Callable[[Any], Any]:
    return lambda value: [min(one, limit) for one in value] if isinstance(value, list) else min(value, limit)


# The first pattern that is found in a name decides; these leave most configurations consistent.
_RULES: tuple[Rule, ...] = (
    (r"image_size|patch_size|kernel|stride|window|dilation|type_vocab|ratio|factor|downsample|crop", lambda same: same),
    (r"(^|_)vocab_size$|^n_vocab|n_positions_vocab|num_embeddings$", _at_most(VOCABULARY)),
    (r"(^|_)depths$|layers_per_stage|num_layers_list", _each(1)),
    (r"experts_per_tok|top_k|topk$|moe_topk", _at_most(2)),
    (r"n_group$|topk_group$|num_expert_groups", _at_most(1)),
    (r"n_shared_experts|num_shared", _at_most(1)),
    (r"experts", _at_most(4)),
    (r"(key_value|kv)_heads|num_key_value|multi_query_group|num_kv", _at_most(HEADS)),
    (r"heads?$|n_head|attention_heads", _at_most(HEADS)),
    (r"^coordinate_size$", _at_most(10)),  # four of them and two shapes make the width
    (r"^shape_size$", _at_most(12)),
    (r"^qk_head_dim$", _at_most(2 * HEAD)),
    (r"^d_kv$|head_dim$|head_size$|head_width", _at_most(HEAD)),
    (r"lora_rank|_rank$|rotary_dim$", _at_most(HEAD)),
    (r"layers$|n_layers?$|num_blocks|^depth$|_depth$|num_hidden_groups", _at_most(LAYERS)),
    (r"num_queries|num_latents|num_query_tokens|num_object_queries", _at_most(8)),
    (r"max_(source|target)_positions|max_position|n_positions|n_ctx|max_seq_len", _at_most(POSITIONS)),
    (r"^conv_dim$|^hidden_dims$", _each(32)),
    (r"size$|d_model|d_ff$|n_embd|n_inner|intermediate|ffn|dim$|units$|channels$|hidden$|width$", _at_most(WIDTH)),
)  # fmt: skip
_STAGED = ("embed_dim", "hidden_size", "window_size")  # each stage has its own multiple and number of heads
_IMAGES = ("image_size", "max_image_size", "input_size")
_HALVED = ("depths", "hidden_sizes", "window_size", "encoder_stride")  # models that halve images often need large ones
_TOKEN = re.compile(r"(token_id|token_index|_idx|_token|start_id|end_id|_id)$")


def shrunk(config: Mapping[str, Any], fields: Callable[[str], Callable[[str], Any] | None]) -> dict[str, Any]:
    """Return the arguments that make a tiny model of the configuration with these default values.

    `fields` returns, for the name of a nested configuration (`""` for the whole), whether a name is one of its
    arguments; None where it is no configuration.
    """
    return _shrunk(config, "", fields, _free_tokens())


def _free_tokens() -> Iterator[int]:
    yield from range(VOCABULARY - 2, 8, -1)


def _shrunk(config: Mapping[str, Any], path: str, fields: Any, tokens: Iterator[int]) -> dict[str, Any]:
    is_field = fields(path)
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            inner = f"{path}.{name}".lstrip(".")
            if "mrope_section" in value:  # parts of a half of each head
                found[name] = {**value, "mrope_section": [HEAD // 2 - 2 * (HEAD // 6), HEAD // 6, HEAD // 6]}
            elif fields(inner) is not None and (nested := _shrunk(value, inner, fields, tokens)):
                found[name] = nested | ({"model_type": value["model_type"]} if "model_type" in value else {})
        elif is_field(name) and (less := _less(name, value, config, tokens)) != value:
            found[name] = less
    return found


def _less(name: str, value: Any, config: Mapping[str, Any], tokens: Iterator[int]) -> Any:
    numbers = value if isinstance(value, list) else [value]
    if not numbers or any(type(one) is not int for one in numbers):
        return value
    if _TOKEN.search(name):
        return next(tokens) if isinstance(value, int) and value >= VOCABULARY else value
    if "depths" in config and name in _STAGED:
        return value
    if name in _IMAGES and isinstance(value, int):
        if any(key in config for key in _HALVED):
            return value
        patch = config.get("patch_size")
        return patch * 4 if isinstance(patch, int) and value % patch == 0 and patch >= 8 else min(value, IMAGE)
    for pattern, change in _RULES:
        if re.search(pattern, name):
            return change(value)
    return value
