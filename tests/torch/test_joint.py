"""Joint programs: forward, loss and gradients in one, compared with what eager mode gives at every sample."""

from __future__ import annotations

import pytest
import torch

from batchexport.core.errors import Kind
from batchexport.pipeline.failure import StageFailure
from support.exporting import Export
from support.trained import Loss, Tied

pytestmark = pytest.mark.torch

INPUTS = 'inputs = { x = { shape = ["n", 4] }, target = { shape = ["n", 4] } }\ndims = { n = { min = 2, max = 8 } }\n'
JOINT = f'model = "support.trained:Loss"\n{INPUTS}export.ir = "joint"\nexport.loss = 1\n'
NO_LOSS = 'model = "support.trained:NoLoss"\ninputs = { x = { shape = [3, 4] } }\nexport.ir = "joint"\n'
TRAINED = ["linear.weight", "linear.bias", "frozen.bias", "norm.weight", "norm.bias"]


def refusal(exported: Export, entry: str) -> StageFailure:
    with pytest.raises(StageFailure) as caught:
        exported(entry)
    return caught.value


@pytest.mark.parametrize(
    "lines", ["", 'mode = "train"\n', 'mode = "train"\nkwargs.drop = 0.5\n', "export.strict = true\n"]
)
def test_outputs_and_gradients_are_those_of_eager_in_either_mode(exported: Export, lines: str) -> None:
    made = exported(JOINT + lines)
    assert len(made.verify()["samples"]) == (4 if "train" in lines else 2)
    assert made.output["stats"]["gradients"] == TRAINED, "neither what is frozen nor what is unused"
    [*names] = made.reference()["calls"][0]["names"]
    assert names == ["[0]['y']", "[0]['loss']", *(f"[1]['{name}']" for name in TRAINED)]


def test_the_archive_gives_what_backward_gives_in_plain_torch(exported: Export) -> None:
    program = exported(JOINT).program()
    model = Loss().eval()
    model.load_state_dict(program.state_dict)
    x, target = torch.randn(5, 4), torch.randn(5, 4)
    expected = model(x, target)
    expected["loss"].backward()
    outputs, gradients = program.module()(x=x, target=target)
    torch.testing.assert_close(outputs, {name: one.detach() for name, one in expected.items()})
    torch.testing.assert_close(gradients, {name: model.get_parameter(name).grad for name in TRAINED})


def test_a_wrong_gradient_is_found(exported: Export) -> None:
    made = exported(JOINT)
    reference = torch.load(made.folder / "reference.pt", weights_only=True)
    reference["calls"][1]["outputs"][3] *= 1.01
    torch.save(reference, made.folder / "reference.pt")
    with pytest.raises(StageFailure, match=r"output\[1\]\['linear.bias'\] differs from eager"):
        made.verify()


def test_the_parameters_of_the_archive_require_gradients_as_those_of_the_model_do(exported: Export) -> None:
    program = exported(JOINT).program()
    kept = {name: program.state_dict[name].requires_grad for name in program.graph_signature.parameters}
    assert kept == {name: one.requires_grad for name, one in Loss().named_parameters()}


@pytest.mark.parametrize("strict", ["true", "false"])
def test_tied_parameters_have_the_gradient_of_both_uses(exported: Export, strict: str) -> None:
    inputs = "inputs = { x = { shape = [3, 4] } }"
    options = f'export = {{ ir = "joint", loss = 0, strict = {strict} }}'
    entry = f'model = "support.trained:Tied"\n{inputs}\n{options}'
    made = exported(entry)
    made.verify()
    model = Tied()
    model.load_state_dict(made.program().state_dict)
    x = torch.randn(3, 4)
    model(x).backward()
    _, gradients = made.program().module()(x=x)
    torch.testing.assert_close(gradients["inner.weight"], model.inner.weight.grad)


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        (0, "loss = 0 is output['y'], which is a tensor of [3, 4] torch.float32, and no floating-point tensor without"),
        (1, "loss = 1 is output['scores']['best'], which is a tensor of [] torch.int64"),
        (2, "output['scores']['apart'], the loss, does not depend on a parameter"),
        (3, "loss = 3 is output['rows'], which is an int"),
        (9, "loss = 9, but the model returns 5 outputs"),
    ],
)
def test_what_is_no_loss_is_refused_by_name(exported: Export, loss: int, told: str) -> None:
    failure = refusal(exported, f"{NO_LOSS}export.loss = {loss}")
    assert failure.kind is Kind.EXPORT
    assert told in failure.message
    if loss != 2:
        assert "loss = 4 for output['mean']" in (failure.remedy or "")


def test_a_model_without_parameters_to_train_is_refused(exported: Export) -> None:
    failure = refusal(exported, f"{NO_LOSS}export.loss = 4\nkwargs.frozen = true")
    assert failure.message == "no parameter of the model requires a gradient"
