"""An entry exports the method that it names: of the model, of a submodule, static or not; state keeps its names."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from batchexport.core.errors import Kind
from batchexport.manifest.methods import OF_EVERY_MODULE
from batchexport.pipeline.failure import StageFailure
from support.exporting import Export, Exported
from support.functions import Parts

pytestmark = pytest.mark.torch

STRICT = "export = { strict = true }"


def entry(model: str, more: str = "", *, name: str = "x", width: int = 4) -> str:
    inputs = f'inputs = {{ {name} = {{ shape = ["b", {width}] }} }}\ndims = {{ b = {{ min = 1, max = 8 }} }}'
    return f'model = "support.functions:{model}"\n{inputs}\n{more}'


def called(made: Exported, **inputs: Any) -> tuple[Any, Parts]:
    """What the archive gives, and a model with its weights."""
    program = made.program()
    width = program.state_dict["encoder.weight"].shape[0]
    model = Parts(width)
    model.load_state_dict(program.state_dict)
    return program.module()(**inputs), model


@pytest.mark.parametrize("strict", ["", STRICT], ids=["non-strict", "strict"])
@pytest.mark.parametrize("method", ["encode", "quiet", "inferred", "double", "named", "head.step"])
def test_every_kind_of_method_is_exported_with_the_state_of_the_whole_model(
    exported: Export, method: str, strict: str
) -> None:
    of_head = method.startswith("head")
    name, width = ("h", 3) if of_head else ("x", 4)
    made = exported(entry("Parts", f'method = "{method}"\n{strict}', name=name, width=width))
    made.verify()
    assert made.output["warnings"] == []
    x = torch.randn(5, width)
    found, model = called(made, **{name: x})
    run = model.head.step if of_head else getattr(model, method)
    assert torch.allclose(found, run(x))


@pytest.mark.parametrize("method", ["half", "fast"])
def test_methods_under_autocast_and_compiled_ones_are_exported(exported: Export, method: str) -> None:
    exported(entry("Parts", f'method = "{method}"')).verify()


@pytest.mark.parametrize(
    ("model", "state"),
    [
        ("PARTS.encode", "encoder.weight"),
        ("PARTS.head.step", "linear.weight"),
        ("method", "linear.weight"),
        ("Parts.wide", "encoder.weight"),
        ("Parts.double", None),
    ],
)
def test_a_reference_may_name_what_is_inside_a_class_or_object(exported: Export, model: str, state: str | None) -> None:
    of_head = state == "linear.weight"
    made = exported(entry(model, name="h" if of_head else "x", width=3 if of_head else 4))
    made.verify()
    assert state is None or state in made.program().state_dict


@pytest.mark.parametrize(
    ("model", "method", "message", "remedy"),
    [
        ("Parts", "encoed", "Parts has no method 'encoed'", "did you mean 'encode'?"),
        ("Parts", "duoble", "Parts has no method 'duoble'", "did you mean 'double'?"),
        ("Parts", "zzz", "Parts has no method 'zzz'", None),
        ("Parts", "settled", "'settled' of Parts is a property", "write it as a method: def settled(self, …)"),
        ("Parts", "head", "'head' of Parts is a submodule", 'write method = "head.forward"'),
        ("Parts", "training", "'training' of Parts is a bool", "write it as a method: def training(self, …)"),
        ("Parts", "haed.step", "Parts has no submodule 'haed'", "did you mean 'head'?"),
        ("Parts", "head.stop", "Head has no method 'stop'", "did you mean 'step'?"),
        ("PARTS.encode", "quiet", "the method 'quiet' is named beside the model", "leave method out"),
        (
            "Parts.encode",
            "forward",
            "Parts.encode is a method of a class, and of no object",
            'write model = "support.functions:Parts" and method = "encode"',
        ),
    ],
)
def test_what_is_no_method_is_refused_by_name(
    exported: Export, model: str, method: str, message: str, remedy: str | None
) -> None:
    with pytest.raises(StageFailure, match=message) as failure:
        exported(entry(model, f'method = "{method}"'))
    assert (failure.value.kind, failure.value.remedy) == (Kind.BUILD, remedy)


def test_the_methods_of_every_module_are_known_to_the_manifest() -> None:
    assert {name for name in dir(torch.nn.Module) if name[0] != "_"} <= OF_EVERY_MODULE
