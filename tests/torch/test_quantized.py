"""Quantized models are delivered where an exported program can hold them, and refused by name elsewhere."""

from __future__ import annotations

import pytest
import torch

from batchexport.core.errors import Kind
from batchexport.pipeline.failure import StageFailure
from batchexport.pipeline.quantized import REMEDY
from support.exporting import Export

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def entry(model: str, more: str = "", name: str = "x") -> str:
    inputs = 'inputs = [ { shape = ["b", 4] } ]\ndims = { b = { min = 1, max = 8 } }'
    return f'model = "support.quantized:{model}"\n{inputs}\n{more}'


@pytest.mark.parametrize("model", ["prepared_for_training", "Whole", "of_subclass"])
def test_what_a_program_can_hold_is_delivered(exported: Export, model: str) -> None:
    made = exported(entry(model))
    assert len(made.verify()["samples"]) >= 3


def test_parameters_of_a_subclass_are_stored_as_what_they_are_made_of(exported: Export) -> None:
    state = exported(entry("of_subclass")).program().state_dict
    assert {name: tensor.dtype for name, tensor in state.items() if "weight" in name} == {
        "0.parametrizations.weight.original0": torch.int8,
        "0.parametrizations.weight.original1": torch.float32,
    }


@pytest.mark.parametrize(
    ("model", "more", "kind", "message", "remedy"),
    [
        ("dynamic", "", Kind.BUILD, "the module 'first' is a quantized Linear of torch.ao", REMEDY),
        ("dynamic", 'args = ["float16"]', Kind.BUILD, "the module 'first' is a quantized Linear", REMEDY),
        ("static", "", Kind.BUILD, "the module 'into' is a quantized Quantize of torch.ao", REMEDY),
        ("scripted_dynamic", "", Kind.EXPORT, "quantized::linear_dynamic .* is quantized", REMEDY),
        ("scripted_static", "", Kind.EXPORT, "aten::quantize_per_tensor .* is quantized", REMEDY),
        ("of_subclass", 'args = ["Unaware"]', Kind.EXPORT, "NotImplemented", "give the class of the parameters"),
    ],
)
def test_what_no_program_can_hold_is_refused_by_name(
    exported: Export, model: str, more: str, kind: Kind, message: str, remedy: str
) -> None:
    with pytest.raises(StageFailure, match=message) as failure:
        exported(entry(model, more))
    assert failure.value.kind is kind
    assert str(failure.value.remedy).startswith(remedy)
