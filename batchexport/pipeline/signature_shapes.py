"""Tell what the tensors of a transformers model look like, by the names of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from batchexport.pipeline.config_facts import ConfigFacts

Node = dict[str, Any]  # shape, dtype, range and value of a tensor
_SAMPLES = 16000  # of audio, one second for most models
_FRAMES = 8  # of a video
_TEXT = ("input_ids", "decoder_input_ids")
# Parameters that are optional and come with every call of a user, beside those that a model can't do without.
_USUAL = ("input_ids", "attention_mask", "pixel_values", "input_values", "input_features", "decoder_input_ids", "bbox",
          "pixel_values_videos")  # fmt: skip
_PLACES = ("image_token_id", "image_token_index", "video_token_id", "audio_token_id", "audio_token_index")


def _tensor(*shape: int | str, dtype: str = "float32", low: int | None = None, high: int | None = None,
            value: int | None = None) -> Node:  # fmt: skip
    bounds = None if high is None else [low or 0, high]
    return {"shape": list(shape), "dtype": dtype, "range": bounds, "value": value}


def known_inputs(main: str, parameters: Mapping[str, Any], kind: str, facts: ConfigFacts) -> dict[str, list[Node]]:
    """Return what the inputs of a model may look like, by name, the most likely first.

    `main` names the main input, and `kind` is the class of the model.
    """
    # Queries ask about states that another model gives.
    usual = (*_USUAL, "encoder_hidden_states") if "query_embeds" in parameters else _USUAL
    names = [name for name in parameters if name in usual or name == main or _is_needed(parameters[name])]
    is_text = "input_ids" in names
    if is_text and main in ("input_ids", "") and facts.has(*_PLACES):
        # Images and sounds take the places of certain tokens, and no range of random tokens has the right number.
        names = [
            name for name in names if name in ("input_ids", "attention_mask", *_TEXT) or _is_needed(parameters[name])
        ]
    if not is_text and "attention_mask" in names:
        names.remove("attention_mask")
    return {name: found for name in names if (found := _nodes(name, kind, facts) or _guess(name, parameters, facts))}


def likely_shape(name: str, facts: ConfigFacts) -> Node:
    """Return what an input may look like, whatever its name."""
    found = _nodes(name, "", facts)
    if "grid" in name:  # of the patches of each image
        return _tensor(1, 3, dtype="int64", value=4)
    if not found and name.endswith("mask"):
        return _tensor("batch", "seq", dtype="int64", value=1)
    return found[0] if found else _tensor("batch", "seq", facts.number("hidden_size", "d_model", default=64))


def _guess(name: str, parameters: Mapping[str, Any], facts: ConfigFacts) -> list[Node]:
    """Return what an input of an unknown name may look like that the model can't do without."""
    is_states = name.endswith(("embeds", "embeddings", "states", "features"))
    return [likely_shape(name, facts)] if is_states and _is_needed(parameters[name]) else []


def _is_needed(parameter: Any) -> bool:
    named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    return named and parameter.default is parameter.empty


def _nodes(name: str, kind: str, facts: ConfigFacts) -> list[Node]:
    make = _MAKERS.get(name)
    return [] if make is None else make(kind, facts)


def _ids(kind: str, facts: ConfigFacts) -> list[Node]:
    low, high = facts.tokens()
    choices = (2,) if kind.endswith("ForMultipleChoice") else ()
    found = [_tensor("batch", *choices, "seq", dtype="int64", low=low, high=high)]
    if facts.has("num_codebooks"):  # a token of each, and in some models one of a text beside them
        books = facts.number("num_codebooks")
        found += [_tensor("batch", "seq", count, dtype="int64", low=low, high=high) for count in (books, books + 1)]
    return found


def _mask(kind: str, facts: ConfigFacts) -> list[Node]:
    return [{**_ids(kind, facts)[0], "range": None, "value": 1}]


def _boxes(_kind: str, _facts: ConfigFacts) -> list[Node]:
    return [_tensor("batch", "seq", 4, dtype="int64", value=1), _tensor("batch", "seq", 4, value=1)]


def _pixels(_kind: str, facts: ConfigFacts) -> list[Node]:
    image, one_of_many = _tensor("batch", *facts.image()), _tensor("batch", 1, *facts.image())
    if not facts.has("num_frames", "frames_per_clip"):
        return [image, one_of_many]
    return [_video(facts), image]


def _videos(_kind: str, facts: ConfigFacts) -> list[Node]:
    return [_video(facts)]


def _video(facts: ConfigFacts) -> Node:
    return _tensor("batch", facts.number("num_frames", "frames_per_clip", default=_FRAMES), *facts.image())


def _sound(_kind: str, facts: ConfigFacts) -> list[Node]:
    bins = facts.number("num_mel_bins", default=80)
    wave, mono = _tensor("batch", _SAMPLES), _tensor("batch", 1, _SAMPLES)
    spectrum = _tensor("batch", facts.number("max_length", default=128), bins)
    if facts.has("max_length") and facts.has("num_mel_bins"):
        return [spectrum, wave, mono]
    return [mono, wave] if facts.has("audio_channels", "codebook_size") else [wave, mono, spectrum]


def _features(_kind: str, facts: ConfigFacts) -> list[Node]:
    bins = facts.number("num_mel_bins", "input_feat_per_channel", "feature_size", "n_mels", default=80)
    width = facts.number("feature_projection_input_dim", "input_dim", default=bins)
    frames = 2 * facts.number("max_source_positions", default=64)
    patches = facts.number("spec_size", default=64)
    return [
        *([_tensor("batch", bins, frames)] if facts.has("max_source_positions") else []),
        _tensor("batch", 128, width),
        _tensor("batch", bins, frames),
        _tensor("batch", 1, 4 * patches, bins),
    ]


def _width(*names: str) -> Callable[[str, ConfigFacts], list[Node]]:
    return lambda _kind, facts: [_tensor("batch", "seq", facts.number(*names, default=1))]


def _past(_kind: str, facts: ConfigFacts) -> list[Node]:
    length = facts.number("context_length", default=32)
    return [_tensor("batch", length, facts.number("num_input_channels", default=1)), _tensor("batch", length)]


_MAKERS: Mapping[str, Callable[[str, ConfigFacts], list[Node]]] = {
    "input_ids": _ids,
    "decoder_input_ids": _ids,
    "input": _ids,
    "attention_mask": _mask,
    "bbox": _boxes,
    "pixel_values": _pixels,
    "pixel_values_videos": _videos,
    "prompt_pixel_values": _pixels,
    "prompt_masks": _pixels,
    "input_values": _sound,
    "input_features": _features,
    "past_values": _past,
    "states": _width("state_dim"),
    "actions": _width("act_dim"),
    "rewards": _width("no_such_name"),
    "returns_to_go": _width("no_such_name"),
    "timesteps": lambda _kind, facts: [_tensor("batch", "seq", dtype="int64", low=0, high=facts.number("max_ep_len"))],
    "inputs": _width("d_model"),
    "inputs_embeds": _width("hidden_size", "d_model"),
    "hidden_states": _width("hidden_size", "d_model"),
    "query_embeds": _width("hidden_size"),
    "encoder_hidden_states": _width("encoder_hidden_size", "hidden_size"),
}
