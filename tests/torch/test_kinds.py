"""Modules of every kind are delivered as they are, and computed with as they are called."""

from __future__ import annotations

import pytest

from batchexport.core.errors import Kind
from batchexport.pipeline.failure import StageFailure
from support.exporting import Export

pytestmark = pytest.mark.torch

INPUTS = 'inputs = [ { shape = ["b", 4] } ]\ndims = { b = { min = 1, max = 8 } }'
KINDS = ["Lazy", "Lists", "Calls", "Shared", "Data", "Functional", "OwnForward", "hooked", "parametrized",
         "in_spectral_norm", "symbolic"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_module_of_any_kind_is_delivered(exported: Export, kind: str) -> None:
    made = exported(f'model = "support.kinds:{kind}"\n{INPUTS}')
    evidence = made.verify()
    assert len(evidence["samples"]) >= 3
    assert evidence["not_told_apart"] == []


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("on_meta", "the tensor 'weight' is on the device meta, and has no values"),
        ("a_class", "support.kinds:a_class returned the class Linear, not a model"),
    ],
)
def test_what_is_not_finished_is_refused_by_name(exported: Export, kind: str, message: str) -> None:
    with pytest.raises(StageFailure, match=message) as failure:
        exported(f'model = "support.kinds:{kind}"\n{INPUTS}')
    assert failure.value.kind is Kind.BUILD
