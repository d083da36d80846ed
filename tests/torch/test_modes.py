"""Models in the mode that an entry names: eval for inference, train with dropout, batch statistics and gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from batchexport.core.errors import Kind
from batchexport.pipeline.failure import StageFailure
from support.exporting import Export, Exported
from support.trained import Net

pytestmark = pytest.mark.torch

NET = 'model = "support.trained:Net"\ninputs = { x = { shape = ["n", 4] } }\ndims = { n = { min = 2, max = 8 } }\n'
TRAIN = f'{NET}mode = "train"\n'
RECURRENT = 'model = "support.trained:Recurrent"\ninputs = { x = { shape = [3, 4] } }\nmode = "train"\n'


def gradients(made: Exported) -> dict[str, bool]:
    """Which parameters of the delivered archive require a gradient."""
    program = made.program()
    return {name: program.state_dict[name].requires_grad for name in program.graph_signature.parameters}


@pytest.mark.parametrize("ir", ["training", "inference", "core-aten"])
def test_train_mode_keeps_dropout_and_batch_statistics_and_is_compared_under_one_seed(
    exported: Export, ir: str
) -> None:
    made = exported(f'{TRAIN}export.ir = "{ir}"')
    assert len(made.verify()["samples"]) == 4, "a model that changes its buffers is called four times"
    calls = made.reference()["calls"]
    assert all({"norm.running_mean", "norm.num_batches_tracked"} <= call["buffers"].keys() for call in calls)
    assert all((call["outputs"][0] == 0).any() for call in calls), "something was dropped"
    assert any("dropout" in line for line in made.output["warnings"])


def test_train_mode_keeps_which_parameters_require_a_gradient(exported: Export) -> None:
    kept = gradients(exported(TRAIN))
    assert kept.pop("frozen.weight") is False
    assert all(kept.values())
    assert not any(gradients(exported(NET)).values())


def test_eval_mode_drops_nothing(exported: Export) -> None:
    made = exported(NET)
    assert made.output["warnings"] == []
    assert not made.reference()["calls"][0]["buffers"]


def test_the_program_is_as_the_model_is_after_it_was_loaded_with_weights(exported: Export, tmp_path: Path) -> None:
    torch.manual_seed(5)
    state = {name: tensor.detach().clone() for name, tensor in Net().state_dict().items()}
    state["norm.running_mean"] = torch.full((4,), 3.0)
    save_file(state, tmp_path / "w.safetensors")
    made = exported(f'{TRAIN}weights = "w.safetensors"')
    made.verify()
    assert torch.equal(made.program().state_dict["norm.running_mean"], torch.full((4,), 3.0)), "no call has changed it"


def test_other_draws_than_those_of_eager_are_refused_and_told_as_such(exported: Export) -> None:
    exported(RECURRENT).verify()
    with pytest.raises(StageFailure) as caught:
        exported(f'{RECURRENT}export.ir = "core-aten"').verify()
    assert caught.value.kind is Kind.VERIFY
    assert "under the same seed the artifact draws others than eager" in (caught.value.remedy or "")


def test_the_buffers_of_compiled_code_are_compared(exported: Export) -> None:
    made = exported(TRAIN)
    package = made.compile()
    assert len(made.verify(package)["samples"]) == 4
    path = made.folder / "reference.pt"
    original = path.read_bytes()
    for name in ("norm.running_mean", "norm.num_batches_tracked"):
        path.write_bytes(original)
        reference = torch.load(path, weights_only=True)
        reference["calls"][2]["buffers"][name] += 1
        torch.save(reference, path)
        with pytest.raises(
            StageFailure, match=f"compiled.pt2 at n=., call 3: the buffer '{name}' after the call differs"
        ):
            made.verify(package)
