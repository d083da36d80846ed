"""The exported program is called as the model was: at each end of each range, and its values go to verify."""

from __future__ import annotations

import pytest
import torch

from batchexport.core.errors import Kind
from batchexport.pipeline.failure import StageFailure
from support.exporting import Export
from support.pasting import pasted


def entry(model: str, dim: str, inputs: str = 'x = { shape = ["n", 3] }') -> str:
    return f'model = "support.shaped:{model}"\ninputs = {{ {inputs} }}\ndims = {{ n = {dim} }}'


DEFERRED = "export = { prefer_deferred_runtime_asserts = true }"


@pytest.mark.parametrize(
    ("model", "dim", "refused", "bound"),
    [
        (
            "InGroups",
            "{ min = 4, max = 64, example = 12, multiple_of = 4 }",
            "n=4",
            "{ min = 8, max = 64, example = 12, multiple_of = 4 }",
        ),
        (
            "OtherAtTheTop",
            f"{{ min = 1, max = 64, example = 3 }} }}\n{DEFERRED} #",
            "n=64",
            "{ min = 1, max = 63, example = 3 }",
        ),
    ],
)
def test_a_program_that_refuses_a_size_of_its_range_is_not_delivered(
    exported: Export, model: str, dim: str, refused: str, bound: str
) -> None:
    with pytest.raises(StageFailure, match=f"the exported program refuses {refused}, which the manifest allows") as one:
        exported(entry(model, dim))
    assert one.value.kind is Kind.SHAPES
    assert one.value.remedy == f"write `n = {bound}` in [entry.dims]"
    exported(pasted(entry(model, dim), one.value.remedy)).verify()


def test_a_model_that_refuses_a_size_itself_is_told_with_the_bound_to_write(exported: Export) -> None:
    with pytest.raises(StageFailure, match="in eager mode at n=1: ValueError: a variance needs three rows") as one:
        exported(entry("NotAlone", "{ min = 1, max = 40, example = 9 }"))
    remedy = "write `n = { min = 3, max = 40, example = 9 }` in [entry.dims]"
    assert (one.value.kind, one.value.remedy) == (Kind.SHAPES, remedy)
    exported(entry("NotAlone", "{ min = 3, max = 40, example = 9 }")).verify()


def test_state_that_an_earlier_call_left_is_not_taken_for_a_wrong_size(exported: Export) -> None:
    with pytest.raises(StageFailure, match="KeepsHidden keeps state in the attribute 'hidden'") as one:
        exported(entry("KeepsHidden", "{ min = 1, max = 8, example = 3 }"))
    assert one.value.kind is Kind.EXPORT
    assert "a call at n=1 fails after one at n=3, and not as the first one" in one.value.message


def test_sizes_that_must_be_equal_are_told_as_such(exported: Export) -> None:
    dims = "{ min = 2, max = 8, example = 5 }, m = { min = 2, max = 8, example = 5 }"
    with pytest.raises(StageFailure) as one:
        exported(entry("SameSizes", dims, 'x = { shape = ["n"] }, y = { shape = ["m"] }'))
    assert one.value.kind is Kind.SHAPES
    assert one.value.remedy == 'write "n" in place of "m" in y, and leave `m` out of [entry.dims]'


def test_writes_through_data_are_told(exported: Export) -> None:
    with pytest.raises(StageFailure) as one:
        exported(entry("WritesData", "{ min = 2, max = 8, example = 3 }"))
    assert "writes through `.data`" in str(one.value.remedy)


def test_a_bound_may_be_the_example(exported: Export) -> None:
    with pytest.raises(StageFailure) as one:
        exported(entry("InGroups", "{ min = 4, max = 64, example = 8, multiple_of = 4 }"))
    assert one.value.remedy == "write `n = { min = 8, max = 64, multiple_of = 4 }` in [entry.dims]"


def test_a_size_as_a_key_is_told(exported: Export) -> None:
    with pytest.raises(StageFailure, match="unhashable type") as one:
        exported(entry("RemembersBySize", "{ min = 2, max = 8, example = 3 }"))
    assert one.value.remedy == "don't use a size as the key of a dict or set"


def test_a_program_that_is_wrong_where_two_dims_are_small_fails_verification(exported: Export) -> None:
    dims = "{ min = 1, max = 9, example = 3 }, m = { min = 1, max = 9, example = 4 }"
    made = exported(entry("OtherWhereBothAreSmall", dims, 'x = { shape = ["n"] }, y = { shape = ["m"] }'))
    with pytest.raises(StageFailure, match=r"exported.pt2 at n=1, m=1, call 6: output differs from eager"):
        made.verify()


def test_what_the_exported_program_gives_is_compared_too(exported: Export) -> None:
    made = exported(entry("Tanh", "{ min = 1, max = 8, example = 3 }"))
    assert all(call["exported"] is None for call in made.reference()["calls"]), "it is eager's to the bit"
    path = made.folder / "reference.pt"
    reference = torch.load(path, weights_only=True)
    call = reference["calls"][2]
    call["exported"] = {
        "outputs": [call["outputs"][0] + 1],
        "structure": call["structure"],
        "inputs": call["inputs"]["leaves"],
        "buffers": {},
    }
    torch.save(reference, path)
    with pytest.raises(StageFailure, match=r"exported.pt2 at n=8, call 3: output differs from eager by up to 1"):
        made.verify()
