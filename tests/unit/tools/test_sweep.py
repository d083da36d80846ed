"""The sweep over transformers: configurations shrink by name, entries are TOML, and every verdict has its sign."""

from __future__ import annotations

import tomllib
from typing import Any

from sweep.entries import manifest
from sweep.tally import LOST, TOLD, UNTOLD, Tally
from sweep.tiny_configs import shrunk

BERT = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "initializer_range": 0.02,
    "model_type": "bert",
}


def every(_path: str) -> Any:
    return lambda _name: True


def test_numbers_shrink_by_their_names_and_all_else_stays_out() -> None:
    small = {"vocab_size": 128, "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    assert shrunk(BERT, every) == small
    assert shrunk({"text_config": BERT, "bos_token_id": 40000}, every) == {
        "text_config": {**small, "model_type": "bert"},
        "bos_token_id": 126,
    }


def test_what_is_no_argument_of_a_configuration_is_not_given() -> None:
    assert shrunk(BERT, lambda _path: {"vocab_size"}.__contains__) == {"vocab_size": 128}
    assert shrunk({"id2label": {"0": 900}}, lambda path: None if path else (lambda _name: True)) == {}


def test_images_keep_a_whole_number_of_patches_and_those_that_are_halved_their_size() -> None:
    assert shrunk({"image_size": 224, "patch_size": 14}, every) == {"image_size": 56}
    assert shrunk({"image_size": 224, "depths": [2, 2, 6]}, every) == {"depths": [1, 1, 1]}


def test_the_manifest_holds_the_arguments_as_they_are() -> None:
    kwargs = {"a": 1, "b": {"c": [1, 2], "d-e": "x"}, "f": True}
    written = tomllib.loads(manifest({"bert": kwargs}))
    assert written["entry"] == [{"name": "bert", "model": "transformers:bert", "kwargs": kwargs}]
    assert written["defaults"]["compile"] == {"format": "none"}


def refused(remedy: str | None) -> dict[str, Any]:
    return {"ok": False, "error": {"kind": "export", "message": "m", "remedy": remedy}, "warnings": []}


def test_what_torch_exports_is_lost_and_what_has_no_remedy_a_fault() -> None:
    reports = {
        "a": {"ok": True, "error": None, "warnings": []},
        "b": refused("r"),
        "c": refused("r"),
        "d": refused(None),
    }
    tally = Tally(reports=reports, plain={"b": True, "c": "ValueError", "d": "ValueError"}, unbuilt={"e": "x"})
    assert tally.verdicts() == {"a": "delivered", "b": LOST, "c": TOLD, "d": UNTOLD}
    assert tally.faults() == ["b", "d"]
    assert any("4 types build with a tiny configuration, 1 do not" in line for line in tally.lines())
