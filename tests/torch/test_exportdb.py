"""What torch's exportdb calls supported is exported and verified; what it does not fails, and its case is named."""

from __future__ import annotations

import pytest
from exportdb.cases import CASES, SUPPORTED, UNSUPPORTED, entry
from torch._dynamo.exc import UserError, UserErrorType

from batchexport.core.errors import Kind
from batchexport.pipeline.exportdb import classify
from batchexport.pipeline.failure import StageFailure
from support.exporting import Export

pytestmark = pytest.mark.torch


def test_exportdb_is_there() -> None:
    assert len(SUPPORTED) >= 30
    assert len(SUPPORTED) + len(UNSUPPORTED) == len(CASES)


@pytest.mark.parametrize("name", SUPPORTED)
def test_a_supported_case_is_exported_and_verified(exported: Export, name: str) -> None:
    exported(entry(name, "exportdb.cases")).verify()


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_an_unsupported_case_fails_and_is_named(exported: Export, name: str) -> None:
    with pytest.raises(StageFailure) as failure:
        exported(entry(name, "exportdb.cases"))
    assert failure.value.kind is Kind.EXPORT
    assert f"torch's exportdb case {name}" in failure.value.message
    assert failure.value.error_class == name


def test_another_model_that_fails_in_the_way_of_a_case_is_told_which(exported: Export) -> None:
    inputs = '[entry.inputs]\nx = { shape = ["n", 2] }\n[entry.dims]\nn = { min = 2, max = 9, example = 4 }\n'
    with pytest.raises(StageFailure) as failure:
        exported(f'model = "support.shaped:RoundsItsRows"\n{inputs}')
    assert "torch's exportdb case dynamic_shape_round" in failure.value.message
    assert failure.value.remedy is not None
    assert "or fix the size: `n = 4` in [entry.dims]" in failure.value.remedy
    exported(f'model = "support.shaped:RoundsItsRows"\n{inputs.replace("{ min = 2, max = 9, example = 4 }", "4")}')


def test_a_case_that_torch_names_is_told_from_a_name_that_is_none() -> None:
    kind = UserErrorType.ANTI_PATTERN
    assert str(classify(UserError(kind, "no", case_name="cond_operands"))) == " (torch's exportdb case cond_operands)"
    assert str(classify(UserError(kind, "no", case_name="not_there"))) == " (torch's error type ANTI_PATTERN)"
    assert str(classify(RuntimeError("no"))) == ""


def test_torch_says_what_sort_of_error_it_is(exported: Export) -> None:
    with pytest.raises(StageFailure) as failure:
        exported('model = "support.shaped:BranchesOnValues"\nexport.strict = true\ninputs.x = { shape = [3, 2] }\n')
    assert failure.value.kind is Kind.EXPORT
    assert failure.value.message.endswith("(torch's error type Data-dependent branching)")
