"""The names of ATen operators, read from torch's list without importing torch."""

from __future__ import annotations

from pathlib import Path

from batchexport.toolchain import probe
from batchexport.toolchain.operators import names_in, operator_names

LIST = """
# - func: commented_out(Tensor self) -> Tensor
- func: silu(Tensor self) -> Tensor
  structured_delegate: silu.out
- func: add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor
  autogen: add.Scalar_out, mul.out  # both
"""


def test_declared_and_generated_operators_have_names_with_and_without_overload() -> None:
    names = names_in(LIST)
    assert names is not None
    assert {"aten.silu", "aten.silu.default", "aten.add", "aten.add.Tensor"} <= names
    assert {"aten.add.Scalar_out", "aten.mul", "aten.mul.out"} <= names
    assert not names & {"aten.commented_out", "aten.add.default", "aten.mul.default"}


def test_a_list_of_an_unknown_form_has_no_names_rather_than_too_few() -> None:
    assert names_in("functions: {silu: {}}") is None


def test_without_torch_there_are_no_names(tmp_path: Path) -> None:
    assert operator_names((str(tmp_path),)) is None


def test_the_installed_torch_is_read() -> None:
    names = operator_names(tuple(probe.import_path()))
    assert names is not None
    assert {"aten.silu", "aten.gelu.default", "aten.add.Tensor", "aten.linear.default"} <= names
    assert "aten.siluu" not in names
