"""Make one call of an artifact, and compare what it does with what the model did in eager mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from batchexport.pipeline.build import seed_everything
from batchexport.pipeline.failure import Kind, StageFailure
from batchexport.pipeline.inputs import unpacked
from batchexport.pipeline.leaves import equal_leaves, scale, wide
from batchexport.pipeline.load import leaf_names
from batchexport.pipeline.reference import where


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one call gave: the leaves of its outputs and their structure, and the leaves of its inputs and the buffers
    after it. `buffers` is empty where an artifact does not show them.
    """

    outputs: Sequence[Any]
    structure: str
    inputs: Sequence[Any]
    buffers: Mapping[str, torch.Tensor]


def make_call(run: Callable[..., Any], call: Mapping[str, Any], seed: int, device: str = "cpu") -> Outcome:
    """Call an artifact with the inputs of a call of the reference, under the seed that eager had.

    Raises whatever the artifact raises.
    """
    args, kwargs = given = _on(device, unpacked(call["inputs"]))
    seed_everything(seed)
    with torch.no_grad():
        outputs = run(*args, **kwargs)
    leaves, structure = pytree.tree_flatten(outputs)
    buffers = dict(run.named_buffers(remove_duplicate=False)) if isinstance(run, torch.nn.Module) else {}
    return Outcome(
        outputs=[_here(leaf) for leaf in leaves],
        structure=str(structure),
        inputs=[_here(leaf) for leaf in pytree.tree_leaves(given)],
        buffers={name: _here(buffers[name]) for name in call["buffers"] if name in buffers},
    )


def _on(device: str, tree: Any) -> Any:
    """Return copies of tensors on a device, as the artifact may write to them."""
    return pytree.tree_map(lambda leaf: leaf.clone().to(device) if isinstance(leaf, torch.Tensor) else leaf, tree)


def _here(leaf: Any) -> Any:
    """Return a copy in main memory, as the next call may change what the artifact returned."""
    return leaf.detach().cpu().clone() if isinstance(leaf, torch.Tensor) else leaf


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The comparison with the `number`-th call of the reference, as `reference.eager_calls` kept it.

    `artifact` is what a message calls the file that was run; `spec` is the verify spec.
    """

    artifact: str
    call: Mapping[str, Any]
    number: int
    spec: Mapping[str, Any]

    @property
    def place(self) -> str:
        """Return dim values and number of the call as text."""
        again = f", call {self.number}" if self.number > 1 else ""
        return f"{where(self.call['point'])}{again}"

    def evidence(self, outcome: Outcome) -> dict[str, Any]:
        """Return dim values, largest difference and scale of the outputs. Raises StageFailure of kind verify."""
        expected = self.call["outputs"]
        if len(outcome.outputs) != len(expected) or outcome.structure != self.call["structure"]:
            message = f"the outputs of {self.artifact} are {outcome.structure}, eager gives {self.call['structure']}"
            raise StageFailure(Kind.VERIFY, f"at {self.place}: {message}")
        names = [f"output{name}" for name in self.call["names"]]
        rows = self._differences(names, outcome.outputs, expected)
        after = self.call["inputs_after"] or self.call["inputs"]["leaves"]
        names = [f"input{name} after the call" for part in unpacked(self.call["inputs"]) for name in leaf_names(part)]
        self._differences(names, outcome.inputs, after)
        kept = [name for name in self.call["buffers"] if name in outcome.buffers]
        self._differences(
            [f"the buffer {name!r} after the call" for name in kept],
            [outcome.buffers[name] for name in kept],
            [self.call["buffers"][name] for name in kept],
        )
        largest = max(map(scale, expected), default=0.0)
        return {"point": dict(self.call["point"]), "max_abs_diff": max(rows, default=0.0), "scale": largest}

    def _differences(self, names: Iterable[str], got: Iterable[Any], want: Iterable[Any]) -> list[float]:
        return [self._difference(*row) for row in zip(names, got, want, strict=True)]

    def _difference(self, name: str, got: Any, want: Any) -> float:
        if not isinstance(want, torch.Tensor) or not isinstance(got, torch.Tensor):
            if type(got) is not type(want) or got != want:
                raise self._failure(f"{name} is {_told(got)}, eager gives {_told(want)}")
            return 0.0
        if got.shape != want.shape or got.dtype != want.dtype:
            raise self._failure(f"{name} is {list(got.shape)} {got.dtype}, eager gives {list(want.shape)} {want.dtype}")
        if not want.numel() or equal_leaves(got, want):
            return 0.0
        difference = _largest_difference(got, want)
        rtol, atol = self.spec["rtol"], self.spec["atol"]
        if not torch.allclose(wide(got), wide(want), rtol=rtol, atol=atol, equal_nan=True):
            message = f"{name} differs from eager by up to {difference:.3g} (rtol={rtol:g}, atol={atol:g})"
            raise self._failure(message, self._remedy)
        return difference

    def _failure(self, message: str, remedy: str | None = None) -> StageFailure:
        return StageFailure(Kind.VERIFY, f"{self.artifact} at {self.place}: {message}", remedy)

    @property
    def _remedy(self) -> str:
        if self.call["loose"]:
            name = self.call["loose"][0]
            return f"each call changes the tensor {name!r}, which is no buffer: make it one with self.register_buffer"
        if self.call["draws"]:
            return (
                "each call draws random numbers, and under the same seed the artifact draws others than eager, so that "
                'the two can\'t be compared: write ir = "training" in [entry.export], without decompose, or '
                'format = "none" in [entry.compile], or let the model draw nothing'
            )
        changed = sorted(self.call["buffers"])
        if self.number == 1 or not (changed or self.call["inputs_after"]):
            return "if this is rounding, raise atol or rtol in [entry.verify]; else the artifact is wrong"
        what = f"the buffer{'s' * (len(changed) > 1)} {', '.join(map(repr, changed))}" if changed else "an input"
        return (
            f"each call changes {what}, and the artifact does not do so as eager does: take it as an input and return "
            'it, or set `format = "none"` in [entry.compile]'
        )


def _told(value: Any) -> str:
    return (
        f"a tensor of {list(value.shape)}"
        if isinstance(value, torch.Tensor)
        else f"the {type(value).__name__} {value!r}"
    )


def _largest_difference(got: torch.Tensor, want: torch.Tensor) -> float:
    return float((wide(got) - wide(want)).abs().nan_to_num(nan=0.0).max())
