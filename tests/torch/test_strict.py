"""Strict capture, where it is asked for and where `strict = "auto"` comes to it; the report says which it was."""

from __future__ import annotations

import pytest
import torch

from batchexport.core.errors import Kind
from batchexport.pipeline.failure import StageFailure
from support.exporting import Export

pytestmark = pytest.mark.torch

INPUTS = 'inputs = { x = { shape = ["n", 4] } }\n'
DIMS = "dims = { n = { min = 2, max = 8 } }\n"
AUTO = 'export.strict = "auto"\n'


def test_what_non_strict_capture_takes_is_captured_so(exported: Export) -> None:
    made = exported(f'model = ":Affine"\n{INPUTS}{DIMS}{AUTO}')
    assert made.output["stats"]["strict"] is False
    plain = exported(f'model = ":Affine"\n{INPUTS}{DIMS}')
    assert made.output["program"] == plain.output["program"]
    assert made.output["likeness"] == plain.output["likeness"]


def test_strict_capture_is_tried_where_the_other_fails(exported: Export) -> None:
    made = exported(f'model = "support.one_mode:Numpy"\n{INPUTS}{DIMS}{AUTO}')
    assert made.output["stats"]["strict"] is True
    assert made.output["likeness"] is None, "what Dynamo branched on is not known"
    made.verify()
    run = made.program().module()
    assert run(x=torch.ones(5, 4)).shape == (5, 4)


@pytest.mark.parametrize(
    ("model", "first", "other", "remedy"),
    [
        ("Neither", "GuardOnDataDependentSymNode", "Unsupported: Data-dependent branching", "torch.cond"),
        ("SizeAsKey", "unhashable type: non-nested Sym", "the model fixes n at 2", "don't use a size as the key"),
    ],
)
def test_where_both_fail_the_first_is_told_and_then_the_other(
    exported: Export, model: str, first: str, other: str, remedy: str
) -> None:
    with pytest.raises(StageFailure) as caught:
        exported(f'model = "support.one_mode:{model}"\n{INPUTS}{DIMS}{AUTO}')
    assert caught.value.kind is Kind.EXPORT
    told = caught.value.message.partition("; with strict = true: ")
    assert first in told[0]
    assert other in told[2]
    assert remedy in (caught.value.remedy or "")


def test_shapes_that_a_model_does_not_take_are_not_tried_in_strict_mode(
    exported: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    own = torch.export.export

    def spy(*args: object, **kwargs: object) -> object:
        modes.append(kwargs["strict"])
        return own(*args, **kwargs)

    monkeypatch.setattr(torch.export, "export", spy)
    inputs = 'inputs = { x = { shape = ["n", 4] }, y = { shape = [2] } }\n'
    with pytest.raises(StageFailure) as caught:
        exported(f'model = "support.shaped:Branches"\nkwargs = {{ when = "n > 4" }}\n{inputs}{DIMS}{AUTO}')
    assert caught.value.kind is Kind.SHAPES
    assert True not in modes


def test_strict_capture_is_told_where_it_is_asked_for(exported: Export) -> None:
    entry = 'model = ":Affine"\ninputs = { x = { shape = [3, 4] } }\n'
    assert exported(f"{entry}export.strict = true").output["stats"]["strict"] is True
    assert exported(entry).output["stats"]["strict"] is False
