"""Several calls in a row: what a model changes is compared, what an export would lose is refused, and it is undone."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor, nn

from batchexport.core.errors import Kind
from batchexport.pipeline.failure import StageFailure
from batchexport.pipeline.model_state import ModelState, restored
from support import stateful
from support.exporting import Export

STATIC = "inputs = { x = { shape = [3, 4] } }"
DYNAMIC = 'inputs = { x = { shape = ["n", 4] } }\ndims = { n = { min = 1, max = 8, example = 3 } }'


@pytest.mark.parametrize(
    ("model", "attribute"),
    [("CountsInPython", "calls"), ("KeepsAList", "seen"), ("KeepsHidden", "inner.hidden"), ("KeepsADict", "seen")],
)
@pytest.mark.parametrize("shape", [STATIC, DYNAMIC])
def test_state_in_python_is_refused_by_name(exported: Export, model: str, attribute: str, shape: str) -> None:
    with pytest.raises(StageFailure, match=f"{model} keeps state in the attribute '{attribute}'") as failure:
        exported(f'model = "support.stateful:{model}"\n{shape}')
    assert failure.value.kind is Kind.EXPORT
    assert "register_buffer" in str(failure.value.remedy)


def test_randomness_of_its_own_is_refused(exported: Export) -> None:
    with pytest.raises(StageFailure, match="OwnRandomness gives other outputs when it is called again with the same"):
        exported(f'model = "support.stateful:OwnRandomness"\n{STATIC}')


@pytest.mark.parametrize(
    ("model", "operator"),
    [
        ("CountsInPython", "aten.add.Tensor"),
        ("CountsInItsClass", "aten.add.Tensor"),
        ("OwnRandomness", "aten.mul.Tensor"),
        ("OwnGenerator", "aten.rand.generator"),
        ("DrawsFromNumPy", "aten.add.Tensor"),
    ],
)
def test_the_operator_and_line_that_give_another_result_are_named(exported: Export, model: str, operator: str) -> None:
    lines, first = inspect.getsourcelines(getattr(stateful, model))
    with pytest.raises(StageFailure) as failure:
        exported(f'model = "support.stateful:{model}"\n{STATIC}')
    place = f"{operator} (stateful.py, line {first + len(lines) - 1}) is the first operator to give another result"
    assert failure.value.message.endswith(place)


@pytest.mark.parametrize("model", ["MakesATable", "RemembersTheLast", "AssignsABuffer", "ReturnsItsBuffer"])
@pytest.mark.parametrize("shape", [STATIC, DYNAMIC])
def test_what_an_export_keeps_is_delivered(exported: Export, model: str, shape: str) -> None:
    made = exported(f'model = "support.stateful:{model}"\n{shape}')
    made.verify()


@pytest.mark.parametrize(("model", "calls"), [("AssignsABuffer", 4), ("MarksItsInput", 4), ("MakesATable", 2)])
def test_what_changes_anything_is_called_four_times_and_else_twice(exported: Export, model: str, calls: int) -> None:
    made = exported(f'model = "support.stateful:{model}"\n{STATIC}')
    assert len(made.verify()["samples"]) == calls
    inputs = [call["inputs"]["x"] for call in made.reference()["calls"]]
    assert not any(torch.equal(one, inputs[0]) for one in inputs[1:]), "other inputs where the shape is the same"


def test_the_inputs_and_buffers_after_a_call_are_compared(exported: Export) -> None:
    made = exported(f'model = "support.stateful:MarksItsInput"\n{STATIC}')
    calls = made.reference()["calls"]
    assert all(torch.equal(call["inputs_after"][0], call["inputs"]["x"] + 1) for call in calls)
    path = made.folder / "reference.pt"
    original = path.read_bytes()
    for change, said in (
        (lambda call: call["inputs_after"][0].add_(1), r"input\['x'\] after the call differs"),
        (lambda call: call["buffers"]["calls"].add_(1), "the buffer 'calls' after the call differs"),
    ):
        path.write_bytes(original)
        reference = torch.load(path, weights_only=True)
        change(reference["calls"][1])
        torch.save(reference, path)
        with pytest.raises(StageFailure, match=f"at the example, call 2: {said}"):
            made.verify()


def test_structure_and_types_of_outputs_are_compared(exported: Export) -> None:
    made = exported(f'model = "support.stateful:ReturnsNumbers"\n{STATIC}')
    made.verify()
    path = made.folder / "reference.pt"
    reference = torch.load(path, weights_only=True)
    outputs = reference["calls"][0]["outputs"]
    outputs[[type(leaf) for leaf in outputs].index(int)] = 3.0
    torch.save(reference, path)
    with pytest.raises(StageFailure, match=r"output\['rows'\] is the int 3, eager gives the float 3.0"):
        made.verify()


def test_outputs_of_any_dtype_are_compared(exported: Export) -> None:
    made = exported(f'model = "support.stateful:ReturnsManyDtypes"\n{STATIC}')
    assert all(sample["scale"] > 1 for sample in made.verify()["samples"])


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("ReturnsText", "returns the text 'cat'"),
        ("ReturnsAnObject", "returns an Answer, which torch.export can't return"),
    ],
)
def test_outputs_that_no_program_returns_are_refused(exported: Export, model: str, said: str) -> None:
    with pytest.raises(StageFailure, match=said):
        exported(f'model = "support.stateful:{model}"\n{STATIC}')


def test_the_dtypes_of_the_author_stay(exported: Export) -> None:
    kept = exported(f'model = "support.stateful:MixedDtypes"\n{STATIC}')
    assert {str(tensor.dtype) for tensor in kept.program().state_dict.values()} == {"torch.float32", "torch.float64"}
    kept.verify()


def test_a_cast_tells_what_it_cast(exported: Export, capsys: pytest.CaptureFixture[str]) -> None:
    exported(f'model = "support.stateful:MixedDtypes"\n{STATIC}\ndtype = "float64"')
    assert capsys.readouterr().out == "cast to float64: linear.weight (float32), linear.bias (float32)\n"


class Touches(nn.Module):
    """Changes all that a call can change, without a version counter where torch has such a way."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.table = nn.Embedding(5, 4, max_norm=0.1)
        self.register_buffer("count", torch.zeros(()))
        self.plain = torch.zeros(2)
        self.seen: list[int] = []
        self.generator = torch.Generator().manual_seed(3)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.norm.weight.data.add_(1)
        self.count = self.count + 1
        self.plain.add_(1)
        self.seen.append(1)
        self.calls += 1
        noise = torch.rand(4, generator=self.generator)
        return self.norm(x) + self.table(torch.tensor(1)) + noise


def test_a_model_is_as_it_was_built_after_its_calls() -> None:
    model = Touches().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad(), restored(model) as state:
        first = model(torch.ones(3, 4))
        changed = {"norm.weight", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked", "count"}
        assert state.changed_tensors() == {*changed, "table.weight", "plain"}
        assert set(state.changed_attributes()) == {"seen", "generator", "calls"}
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert (model.seen, model.calls, model.plain.tolist()) == ([], 0, [0.0, 0.0])
    with torch.no_grad():
        assert torch.equal(model(torch.ones(3, 4)), first)
    assert not ModelState(model).changed_tensors()


def test_a_named_tuple_that_no_archive_can_hold_is_refused_with_the_line_that_registers_it(exported: Export) -> None:
    with pytest.raises(StageFailure, match="ReturnsAPair returns the named tuple Pair") as failure:
        exported(f'model = "support.stateful:ReturnsAPair"\n{STATIC}')
    assert failure.value.kind is Kind.EXPORT
    line = '_register_namedtuple(Pair, serialized_type_name="support.stateful.Pair")'
    assert line in str(failure.value.remedy)


@pytest.mark.parametrize(
    ("model", "message", "remedy"),
    [
        ("ReturnsSparse", "ReturnsSparse returns a sparse_coo tensor", "return a dense one"),
        ("ReturnsNothing", "ReturnsNothing returns nothing", "return a tensor"),
        ("ReturnsAnArray", "ReturnsAnArray returns a ndarray", "return tensors, numbers, or lists"),
        ("ReturnsTopK", "ReturnsTopK returns a torch.return_types.topk", "tuple(result)"),
        ("ReturnsByPair", "ReturnsByPair returns a dict with keys that torch can't write", "use texts or numbers"),
        ("ReturnsANode", "registered without serialized_type_name", 'serialized_type_name="support.stateful.Box"'),
    ],
)
def test_outputs_that_no_archive_can_hold_are_refused(exported: Export, model: str, message: str, remedy: str) -> None:
    with pytest.raises(StageFailure, match=message) as failure:
        exported(f'model = "support.stateful:{model}"\n{STATIC}')
    assert failure.value.kind is Kind.EXPORT
    assert remedy in str(failure.value.remedy)


@pytest.mark.parametrize(
    ("model", "source"), [("DrawsFromPython", "Python's random"), ("DrawsFromNumPy", "numpy.random")]
)
def test_a_draw_that_capture_would_freeze_is_refused(exported: Export, model: str, source: str) -> None:
    with pytest.raises(StageFailure, match=f"{model} draws from {source} when it is called") as failure:
        exported(f'model = "support.stateful:{model}"\n{STATIC}')
    assert failure.value.kind is Kind.EXPORT


@pytest.mark.parametrize("strict", ["true", "false"])
def test_two_exports_of_a_model_are_equal_byte_for_byte_with_and_without_eager_calls(
    exported: Export, monkeypatch: pytest.MonkeyPatch, strict: str
) -> None:
    for model in ("AssignsABuffer", "ReturnsItsBuffer", "MarksItsInput", "DrawsInEval", "MakesATable"):
        text = f'model = "support.stateful:{model}"\n{DYNAMIC}\nexport = {{ strict = {strict} }}'
        with_calls = exported(text).path.read_bytes()
        with monkeypatch.context() as patched:
            patched.setattr("batchexport.pipeline.export.eager_calls", lambda *_, **__: [])
            assert exported(text).path.read_bytes() == with_calls, model


@pytest.mark.parametrize("ir", ["training", "inference"])
def test_a_program_that_holds_a_generator_is_refused(exported: Export, ir: str) -> None:
    with pytest.raises(StageFailure, match="the exported program holds a Generator of the model") as failure:
        exported(f'model = "support.stateful:DrawsInVain"\n{STATIC}\nexport.ir = "{ir}"')
    assert failure.value.remedy == "draw from torch's global generator"


def test_a_changed_tensor_that_is_no_buffer_is_named_where_the_archive_differs(exported: Export) -> None:
    made = exported(f'model = "support.stateful:AddsToATensor"\n{STATIC}')
    reference = torch.load(made.folder / "reference.pt", weights_only=True)
    reference["calls"][1]["outputs"][0] += 1
    torch.save(reference, made.folder / "reference.pt")
    with pytest.raises(StageFailure) as failure:
        made.verify()
    assert "the tensor 'total', which is no buffer" in str(failure.value.remedy)


def test_float8_outputs_are_compared(exported: Export) -> None:
    exported(f'model = "support.stateful:ReturnsFloat8"\n{STATIC}').verify()


def test_a_factory_that_gives_the_same_tensors_again_is_given_back_what_a_call_changed(exported: Export) -> None:
    made = exported('model = "support.stateful:MarksItsInput"\ninputs = "support.stateful:the_same_inputs"')
    assert stateful.THE_SAME.count_nonzero() == 0
    made.verify()
