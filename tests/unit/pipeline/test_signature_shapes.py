"""What the inputs of a model look like follows from the names of its parameters and the sizes in its configuration."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from batchexport.pipeline.config_facts import ConfigFacts, widest_gap
from batchexport.pipeline.signature_shapes import known_inputs


class Config:
    """Stands for a configuration of transformers."""

    model_type = "any"

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)

    def to_dict(self) -> dict[str, Any]:
        return vars(self)


def inputs(forward: Callable[..., Any], main: str, kind: str = "Model", **config: Any) -> dict[str, list[Any]]:
    """The first shape of each input, with its range or value."""
    parameters = inspect.signature(forward).parameters
    found = known_inputs(main, parameters, kind, ConfigFacts(config=Config(**config), positions=8))
    return {name: [nodes[0]["shape"], nodes[0]["range"] or nodes[0]["value"]] for name, nodes in found.items()}


def text(input_ids: Any = None, attention_mask: Any = None, position_ids: Any = None) -> None: ...
def image(pixel_values: Any = None, attention_mask: Any = None) -> None: ...
def both(input_ids: Any = None, pixel_values: Any = None, attention_mask: Any = None) -> None: ...
def sound(input_features: Any, attention_mask: Any = None, decoder_input_ids: Any = None) -> None: ...
def states(noise_embeds: Any, grid: Any) -> None: ...


TEXT = [["batch", "seq"], [1, 99]]
MASK = [["batch", "seq"], 1]


def test_text_is_tokens_without_meaning_and_a_mask_of_ones() -> None:
    assert inputs(text, "input_ids", vocab_size=99, pad_token_id=0) == {"input_ids": TEXT, "attention_mask": MASK}


def test_a_choice_has_a_dim_of_its_own() -> None:
    found = inputs(text, "input_ids", "BertForMultipleChoice", vocab_size=99, pad_token_id=0)
    assert found["input_ids"][0] == found["attention_mask"][0] == ["batch", 2, "seq"]


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        ({"image_size": 32, "num_channels": 1}, ["batch", 1, 32, 32]),
        ({"image_size": [32, 64]}, ["batch", 3, 32, 64]),
        ({"image_size": {"height": 16, "width": 8}}, ["batch", 3, 16, 8]),
        ({"image_size": 64, "vision_config": Config(image_size=32)}, ["batch", 3, 32, 32]),
        ({}, ["batch", 3, 224, 224]),
        ({"image_size": 32, "num_frames": 4}, ["batch", 4, 3, 32, 32]),
    ],
)
def test_images_have_the_size_of_the_configuration(config: dict[str, Any], shape: list[Any]) -> None:
    assert inputs(image, "pixel_values", **config) == {"pixel_values": [shape, None]}


def test_images_in_place_of_tokens_are_left_out_and_those_beside_a_text_are_not() -> None:
    assert list(inputs(both, "input_ids", vocab_size=99)) == ["input_ids", "pixel_values", "attention_mask"]
    assert list(inputs(both, "input_ids", vocab_size=99, image_token_id=5)) == ["input_ids", "attention_mask"]


def test_sounds_have_as_many_frames_as_the_encoder_takes() -> None:
    found = inputs(sound, "input_features", num_mel_bins=80, max_source_positions=16, vocab_size=99, pad_token_id=0)
    assert found == {"input_features": [["batch", 80, 32], None], "decoder_input_ids": TEXT}


def test_states_that_a_model_needs_are_guessed_and_other_unknown_inputs_are_not() -> None:
    assert inputs(states, "noise_embeds", hidden_size=32) == {"noise_embeds": [["batch", "seq", 32], None]}


@pytest.mark.parametrize(
    ("size", "taken", "gap"),
    [
        (99, set(), (0, 99)),
        (99, {0}, (1, 99)),
        (99, {0, 90, 98}, (1, 90)),
        (99, {200, -1}, (0, 99)),
        (3, {0, 1, 2}, (0, 3)),
    ],
)
def test_tokens_are_drawn_from_the_longest_run_without_a_special_one(
    size: int, taken: set[int], gap: tuple[int, int]
) -> None:
    assert widest_gap(size, taken) == gap
