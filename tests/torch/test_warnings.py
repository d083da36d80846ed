"""Warnings of delivered jobs: random operators, assigned attributes, outputs that verification can't tell apart."""

from __future__ import annotations

import pytest
import torch

from support.exporting import Export

STATIC = "inputs = { x = { shape = [3, 4] } }"


def test_random_operators_are_named_with_their_place_and_compared_under_one_seed(exported: Export) -> None:
    made = exported(f'model = "support.stateful:DrawsInEval"\n{STATIC}')
    [line] = made.output["warnings"]
    assert line.startswith("each call draws random numbers: aten.dropout.default (stateful.py, line ")
    assert all(call["exported"] is None for call in made.reference()["calls"]), "it is eager's to the bit"
    made.verify()


def test_attributes_that_torch_warns_of_are_named(exported: Export) -> None:
    [line] = exported(f'model = "support.stateful:RemembersTheLast"\n{STATIC}').output["warnings"]
    assert line.startswith("torch.export: The tensor attribute self.last was assigned")
    assert "registered as buffers" in line


@pytest.mark.parametrize("strict", ["false", "true"])
def test_dropout_that_drops_nothing_is_not_told_as_random(exported: Export, strict: str) -> None:
    made = exported(f'model = "support.stateful:DropsNothing"\n{STATIC}\nexport = {{ strict = {strict} }}')
    assert {"dropout", "scaled_dot_product_attention", "gru"} <= {
        operator.partition(".")[2].partition(".")[0] for operator in made.output["stats"]["ops"]
    }
    assert made.output["warnings"] == []


def test_a_dim_that_torch_fixes_without_a_word_is_told(exported: Export) -> None:
    inputs = 'x = { shape = ["n", 4] }, table = { ids = { shape = ["m", 4] } }, flag = true'
    made = exported(f'model = "support.shaped:FixesItsSteps"\ninputs = {{ {inputs} }}\ndims = {{ n = "auto" }}')
    [line] = made.output["warnings"]
    size = made.points()[0]["n"]
    assert line.startswith(f"torch has fixed the dim n at {size}, and the artifacts hold for that size only")


@pytest.mark.parametrize(
    ("model", "rtol"),
    [("Linear", 1e-4), ("MixedDtypes", 1e-4), ("RoundsInside", 2e-2), ("InDoubles", 1e-7), ("MarksItsInput", 1e-4)],
)
def test_the_tolerance_is_that_of_the_dtype_that_rounds_most(exported: Export, model: str, rtol: float) -> None:
    doubles = ', dtype = "float64"' if model == "InDoubles" else ""
    lines = f'model = "support.stateful:{model}"\ninputs = {{ x = {{ shape = [3, 4]{doubles} }} }}'
    assert exported(lines).verify()["rtol"] == rtol
    assert exported(f"{lines}\nverify.rtol = 0.5").verify()["rtol"] == 0.5


def test_a_plain_model_has_no_warnings(exported: Export) -> None:
    made = exported(f'model = "support.stateful:Linear"\n{STATIC}')
    assert made.output["warnings"] == []
    assert made.verify()["not_told_apart"] == []


def test_inputs_are_drawn_larger_where_outputs_are_near_zero_and_what_is_still_one_number_is_told(
    exported: Export,
) -> None:
    made = exported(f'model = "support.stateful:AlmostNothing"\n{STATIC}')
    first = made.reference()["calls"][0]
    assert first["inputs"]["x"].std() > 5
    assert first["outputs"][0].abs().max() > 1e-5
    assert made.verify()["not_told_apart"] == ["output['half']"]


def test_outputs_that_are_not_numbers_tell_nothing(exported: Export) -> None:
    made = exported(f'model = "support.stateful:broken"\n{STATIC}')
    assert made.verify()["not_told_apart"] == ["output"]


def test_given_ranges_are_kept_though_outputs_are_near_zero(exported: Export) -> None:
    made = exported(
        'model = "support.stateful:AlmostNothing"\ninputs = { x = { shape = [3, 4], range = [-1.0, 1.0] } }'
    )
    assert made.reference()["calls"][0]["inputs"]["x"].abs().max() <= 1
    assert made.verify()["not_told_apart"] == ["output['y']", "output['half']"]


@pytest.mark.parametrize("ir", ["training", "inference", "core-aten"])
def test_random_operators_agree_with_eager_in_every_ir(exported: Export, ir: str) -> None:
    made = exported(f'model = "support.stateful:DrawsInEval"\n{STATIC}\nexport = {{ ir = "{ir}" }}')
    evidence = made.verify()
    assert all(sample["max_abs_diff"] < 1e-5 for sample in evidence["samples"])
    assert not torch.equal(*(call["outputs"][0] for call in made.reference()["calls"][:2]))
