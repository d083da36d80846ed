"""What is built is the model that the manifest describes, in the dtype it asks for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch._inductor.exc import CppCompileError

from batchexport.core.errors import Kind
from batchexport.pipeline.build import build
from batchexport.pipeline.failure import StageFailure, classified, of_type, one_line
from support.exporting import Export

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
    spec = {
        "model": "rotary_of_test_build:Rotary",
        "imports": [],
        "args": [],
        "kwargs": {},
        "weights": None,
        "strict": False,
    }
    model = build(
        {**spec, "seed": 0, "method": "forward", "dtype": "float64", "mode": "eval", "ir": "training"}, str(tmp_path)
    )
    state = model.state_dict()
    assert state["scale"].dtype is torch.float64
    assert state["turns"].tolist() == [1 + 2j, 3 - 4j]
    assert state["steps"].dtype is torch.int64


def test_a_message_keeps_the_first_paragraph_of_a_text_and_not_its_style() -> None:
    text = "the width is wrong:\n   63 is no multiple of 2\n\nFor more information, \x1b[1msee\x1b[0m the manual"
    assert one_line(ValueError(text)) == "ValueError: the width is wrong: 63 is no multiple of 2"
    assert one_line(ValueError("\x1b[1mbold\x1b[0m")) == "ValueError: bold"
    assert one_line(ValueError()) == "ValueError"
    compiler = "C++ compile error\n\nCommand:\ng++ a.cpp\n\nOutput:\n/tmp/a.cpp:8:3: error: 'None' was not declared\n"
    assert one_line(ValueError(compiler)) == "ValueError: C++ compile error: error: 'None' was not declared"
    assert len(one_line(ValueError("long " * 200))) == 400


@pytest.mark.parametrize(("value", "words"), [(None, "None"), (1, "an int"), ("a", "a str"), ({}, "a dict")])
def test_a_type_is_named_with_its_article(value: object, words: str) -> None:
    assert of_type(value) == words


SWALLOWING = """
from torch import nn

def stacked(*layers, width=4, **options):
    return nn.Linear(width, 2)

def plain(width=4):
    return nn.Linear(width, 2)

class Swallows(nn.Module):
    def forward(self, x, *masks, scale=1.0, **rest):
        return x * scale
"""


@pytest.mark.parametrize(
    ("model", "kwargs", "message", "remedy"),
    [
        ("swallowing:stacked", "wdith = 5", "would ignore the argument 'wdith'", "did you mean 'width'?"),
        ("swallowing:plain", "wdith = 5", "unexpected keyword argument 'wdith'", "did you mean 'width'?"),
        ("swallowing:plain", "colour = 5", "unexpected keyword argument 'colour'", "it takes width"),
        ("swallowing:stacked", "layers = 5", "would ignore the argument 'layers'", "layers is taken by position only"),
        (
            "transformers:bert",
            "hiden_size = 8",
            "would ignore the argument 'hiden_size'",
            "did you mean 'hidden_size'?",
        ),
        ("transformers:robertta", "hidden_size = 8", "has no model 'robertta'", "did you mean 'transformers:roberta'?"),
        ("transformers:kosmos-2.6", "x = 1", "has no model 'kosmos-2.6'", "did you mean 'transformers:kosmos-2.5'?"),
    ],
)
def test_arguments_are_not_swallowed(
    exported: Export,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    kwargs: str,
    message: str,
    remedy: str,
) -> None:
    (tmp_path / "swallowing.py").write_text(SWALLOWING)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(StageFailure, match=message) as failure:
        exported(f'model = "{model}"\nkwargs = {{ {kwargs} }}\ninputs = {{ x = {{ shape = [3, 4] }} }}')
    assert (failure.value.kind, failure.value.remedy) == (Kind.BUILD, remedy)


def test_inputs_are_not_swallowed(exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "swallowing.py").write_text(SWALLOWING)
    monkeypatch.syspath_prepend(str(tmp_path))
    inputs = "inputs = { x = { shape = [3, 4] }, scael = { shape = [3, 4] } }"
    with pytest.raises(StageFailure, match="Swallows would ignore the input 'scael'") as failure:
        exported(f'model = "swallowing:Swallows"\n{inputs}')
    assert (failure.value.kind, failure.value.remedy) == (Kind.INPUTS, "did you mean 'scale'?")


METHODS = """
from torch import nn

class Scored(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        return self.linear(x)

    def score(self, x):
        return self(x).softmax(-1) + self.forward(x)
"""


def test_a_method_may_call_the_model_itself(exported: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "methods_of_test_build.py").write_text(METHODS)
    monkeypatch.syspath_prepend(str(tmp_path))
    made = exported("""
        model = "methods_of_test_build:Scored"
        method = "score"
        inputs = { x = { shape = ["n", 4] } }
        dims = { n = { min = 1, max = 8 } }
        """)
    made.verify()
    case = made.reference()["calls"][0]
    program = made.program()
    linear = torch.nn.functional.linear(
        case["inputs"]["x"], program.state_dict["linear.weight"], program.state_dict["linear.bias"]
    )
    assert torch.allclose(case["outputs"][0], linear.softmax(-1) + linear)


def test_a_full_disk_that_a_compiler_tells_of_is_told_as_such() -> None:
    said = "cc1plus: fatal error: error writing to /me/a.gch: No space left on device\ncompilation terminated."
    failure = classified(CppCompileError(["g++", "header.h"], said), Kind.COMPILE, "AOTInductor")
    assert failure.kind is Kind.DISK
    assert failure.message == f"AOTInductor: {said.splitlines()[0]}"
    other = classified(CppCompileError(["g++", "a.cpp"], "a.cpp:1: error: nonsense"), Kind.COMPILE, "AOTInductor")
    assert other.kind is Kind.COMPILE
