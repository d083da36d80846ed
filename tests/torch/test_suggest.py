"""Suggested inputs and dims: models are called and exported with them in this very process."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from batchexport.core.job import ExportSpec
from batchexport.pipeline import suggest
from batchexport.pipeline.failure import Kind, StageFailure
from batchexport.pipeline.suggest import suggest_stage

pytestmark = pytest.mark.torch


class Dense(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(16, 8), nn.ReLU())


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.side = nn.Embedding(100, 8), nn.Linear(5, 8)

    def forward(self, tokens: torch.Tensor, side: torch.Tensor, scale: float) -> torch.Tensor:
        return self.embedding(tokens).mean(1) + self.side(side) * scale


class Halves(nn.Module):
    """Takes images from a certain size on only."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 8, 3, 2, 1), nn.ConvTranspose2d(8, 1, 2, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.up(self.down(image))


class Fixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 2, 3), nn.Linear(2 * 26 * 26, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(image).flatten(1))


class Refuses(nn.Module):
    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("never")


def double(x: torch.Tensor) -> torch.Tensor:
    return x * 2


SCRIPTED = torch.jit.script(nn.Sequential(nn.Linear(7, 2)))


def suggested(name: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
    importlib.import_module(__name__)
    spec = ExportSpec(model=f"{__name__}:{name}").to_json()
    return suggest_stage({"spec": spec, "root": str(Path.cwd()), "given": given or {}}, "")


BATCH = "batch = { min = 1, max = 16, example = 3 }"


@pytest.mark.parametrize(
    ("name", "inputs", "dims"),
    [
        ("Dense", ['input = { shape = ["batch", 16], dtype = "float32" }'], [BATCH]),
        (
            "TwoInputs",
            [
                'tokens = { shape = ["batch", "seq"], dtype = "int64", range = [0, 100] }',
                'side = { shape = ["batch", 5], dtype = "float32" }',
                "scale = 0.5",
            ],
            [BATCH, "seq = { min = 1, max = 64, example = 8 }"],
        ),
        (
            "Halves",
            ['image = { shape = ["batch", 3, "height", "width"], dtype = "float32" }'],
            [
                BATCH,
                "height = { min = 3, max = 128, example = 64 }",
                "width = { min = 3, max = 192, example = 96 }",
            ],
        ),
        ("Fixed", ['image = { shape = ["batch", 3, 28, 28], dtype = "float32" }'], [BATCH]),
        ("double", ['x = { shape = ["batch", 16], dtype = "float32" }'], [BATCH]),
        ("SCRIPTED", ['input = { shape = ["batch", 7], dtype = "float32" }'], [BATCH]),
    ],
)
def test_inputs_and_dims_follow_from_the_layers(name: str, inputs: list[str], dims: list[str]) -> None:
    assert suggested(name) == {"inputs": inputs, "dims": dims, "derived": []}


def test_given_inputs_are_taken() -> None:
    node = {"shape": ["rows", 4], "dtype": "float32", "range": None, "value": None}
    assert suggested("double", {"x": node})["dims"] == ["rows = { min = 1, max = 12, example = 6 }"]


def test_a_model_that_refuses_every_guess_names_its_inputs() -> None:
    with pytest.raises(
        StageFailure, match="no guess at its inputs fits; the likeliest was refused: RuntimeError: never"
    ) as caught:
        suggested("Refuses")
    assert caught.value.kind is Kind.INPUTS
    assert caught.value.findings == ["first", "second"]


def test_a_capture_that_fails_leaves_the_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise StageFailure(Kind.EXPORT, "can't be captured")

    monkeypatch.setattr(suggest, "capture", refuse)
    assert suggested("Dense") == {
        "inputs": ['input = { shape = [3, 16], dtype = "float32" }'],
        "dims": [],
        "derived": [],
    }
