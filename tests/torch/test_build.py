"""What is built is the model that the manifest describes, in the dtype it asks for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from batchexport.pipeline.build import build

pytestmark = pytest.mark.torch

ROTARY = """
import torch
from torch import nn

class Rotary(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))
        self.register_buffer("turns", torch.tensor([1 + 2j, 3 - 4j]))
        self.register_buffer("steps", torch.tensor([1, 2]))

    def forward(self, x):
        return x * self.scale
"""


def test_another_dtype_is_for_floating_point_and_leaves_complex_numbers_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rotary_of_test_build.py").write_text(ROTARY)
    monkeypatch.syspath_prepend(str(tmp_path))
    spec = {"model": "rotary_of_test_build:Rotary", "args": [], "kwargs": {}, "weights": None}
    model = build({**spec, "seed": 0, "method": "forward", "dtype": "float64"}, str(tmp_path))
    state = model.state_dict()
    assert state["scale"].dtype is torch.float64
    assert state["turns"].tolist() == [1 + 2j, 3 - 4j]
    assert state["steps"].dtype is torch.int64
