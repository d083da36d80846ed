"""A model that returns the cache of transformers fails with the line that turns it off."""

from __future__ import annotations

from typing import Any

import pytest

from batchexport.core.errors import Kind
from batchexport.pipeline.failure import StageFailure
from support.exporting import Export

pytestmark = pytest.mark.torch

TINY = "n_layer = 1, n_head = 2, n_embd = 16, vocab_size = 50, n_positions = 32"
IDS = 'input_ids = { shape = ["b", 8], dtype = "int64", range = [0, 50] }'


def manifest(model: str, kwargs: str = "", inputs: str = f"inputs = {{ {IDS} }}") -> str:
    return f'model = "{model}"\n{inputs}\ndims.b = {{ min = 1, max = 4 }}\nkwargs = {{ {kwargs} }}\n'


@pytest.mark.parametrize(
    ("model", "kwargs", "table"),
    [
        pytest.param("transformers:gpt2", TINY, "kwargs", id="a model of the library"),
        pytest.param("support.decoders:with_option", "", "kwargs", id="a factory with the option"),
        pytest.param("support.decoders:without_option", "", "inputs", id="a factory without it, a forward with it"),
    ],
)
def test_the_line_that_turns_the_cache_off_makes_the_next_export_pass(
    exported: Export, model: str, kwargs: str, table: str
) -> None:
    pytest.importorskip("transformers")
    # Those of the library are off unless they are asked for.
    asked = f"{kwargs}, use_cache = true" if model.startswith("transformers:") else kwargs
    text = manifest(model, asked)
    failure = refused(exported, text)
    assert "use_cache = false` in " in (failure.remedy or "")
    assert failure.fix == [{"path": [table, "use_cache"], "value": False}]
    line = "use_cache = false"
    named = ", ".join(filter(None, (kwargs, line)))
    new = {
        "kwargs": manifest(model, named),
        "inputs": text.replace(IDS, f"{IDS}, {line}"),
    }
    exported(new[table]).verify()


def test_a_model_that_takes_no_option_is_left_to_its_author(exported: Export) -> None:
    pytest.importorskip("transformers")
    failure = refused(exported, manifest("support.decoders:Wrapped"))
    assert (failure.remedy, failure.fix) == ("build the model with `use_cache=False` in its config", [])


def refused(exported: Export, text: str) -> Any:
    with pytest.raises(StageFailure) as failure:
        exported(text)
    assert failure.value.kind is Kind.EXPORT
    assert "returns a DynamicCache" in failure.value.message
    return failure.value
