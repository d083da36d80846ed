"""The verify stage: run the file that will be delivered in a fresh process and compare it with eager's outputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from batchexport.core.errors import Kind
from batchexport.pipeline.compile import import_modules, load_program, on_target
from batchexport.pipeline.failure import StageFailure, classified, failing_as
from batchexport.pipeline.inputs import unpacked
from batchexport.pipeline.load import leaf_names, load_compiled
from batchexport.pipeline.reference import scale, where


def verify_stage(task: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Make the calls of the reference and compare what comes back. Returns the evidence: a row per call.

    `task` holds compiled (path, or None to verify the exported program), exported, skeleton, modules,
    reference (path), spec (the verify spec) and target. Raises StageFailure of kind verify.
    """
    # Without it a static batch of 4 silently accepts 9. It is read when the code runs.
    os.environ["AOTI_RUNTIME_CHECK_INPUTS"] = "1"
    spec = task["spec"]
    device = "cuda" if task["target"].startswith("cuda") else "cpu"
    with failing_as(Kind.VERIFY, "loading the reference outputs"):
        reference = torch.load(task["reference"], weights_only=True)
    run = _artifact(task, device)
    evidence = [
        _Call(call=call, number=number, spec=spec).compare(run, device)
        for number, call in enumerate(reference["calls"], 1)
    ]
    refused = reference["refused"] if spec["negative"] else None
    return {"samples": evidence, "refused": _refuse(run, refused, device) if refused else None}


def _artifact(task: Mapping[str, Any], device: str) -> Callable[..., Any]:
    if task["compiled"] is None:
        return on_target(load_program(task), task["target"]).module()
    import_modules(task["modules"], Kind.VERIFY)
    with failing_as(Kind.VERIFY, "loading the compiled artifact"):
        return load_compiled(task["compiled"], device)


def _on(device: str, tree: Any) -> Any:
    """Return copies of tensors on a device, as the artifact may write to them."""
    return pytree.tree_map(lambda leaf: leaf.clone().to(device) if isinstance(leaf, torch.Tensor) else leaf, tree)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One call of the reference, the `number`-th, as `reference.eager_calls` kept it."""

    call: Mapping[str, Any]
    number: int
    spec: Mapping[str, Any]

    def compare(self, run: Callable[..., Any], device: str) -> dict[str, Any]:
        """Make the call and return its evidence. Raises StageFailure."""
        given = _on(device, unpacked(self.call["inputs"]))
        try:
            with torch.no_grad():
                outputs = run(**given)
        except Exception as error:
            raise classified(error, Kind.VERIFY, f"running the artifact at {self._place}") from error
        leaves, structure = pytree.tree_flatten(outputs)
        expected = self.call["outputs"]
        if len(leaves) != len(expected) or str(structure) != self.call["structure"]:
            message = f"at {self._place}: the outputs are {structure}, eager gives {self.call['structure']}"
            raise StageFailure(Kind.VERIFY, message)
        rows = [
            self._compare(f"output{name}", got, want)
            for name, got, want in zip(leaf_names(outputs), leaves, expected, strict=True)
        ]
        self._inputs(given)
        if isinstance(run, torch.nn.Module):  # compiled code does not show its buffers
            buffers = dict(run.named_buffers(remove_duplicate=False))
            for name in self.call["buffers"].keys() & buffers.keys():
                self._compare(f"the buffer {name!r} after the call", buffers[name], self.call["buffers"][name])
        largest = max(map(scale, expected), default=0.0)
        return {"point": dict(self.call["point"]), "max_abs_diff": max(rows, default=0.0), "scale": largest}

    def _inputs(self, given: Mapping[str, Any]) -> None:
        """Compare the inputs after the call with those that eager left."""
        before = self.call["inputs"]["leaves"]
        after = self.call["inputs_after"] or before
        for name, got, want in zip(leaf_names(given), pytree.tree_leaves(given), after, strict=True):
            self._compare(f"input{name} after the call", got, want)

    @property
    def _place(self) -> str:
        again = f", call {self.number}" if self.number > 1 else ""
        return f"{where(self.call['point'])}{again}"

    def _compare(self, name: str, got: Any, want: Any) -> float:
        if not isinstance(want, torch.Tensor) or not isinstance(got, torch.Tensor):
            if type(got) is not type(want) or got != want:
                message = f"at {self._place}: {name} is {_told(got)}, eager gives {_told(want)}"
                raise StageFailure(Kind.VERIFY, message)
            return 0.0
        got = got.cpu()
        if got.shape != want.shape or got.dtype != want.dtype:
            raise StageFailure(
                Kind.VERIFY,
                f"at {self._place}: {name} is {list(got.shape)} {got.dtype}, "
                f"eager gives {list(want.shape)} {want.dtype}",
            )
        if torch.equal(got, want) or not want.numel():
            return 0.0
        difference = _largest_difference(got, want)
        rtol, atol = self.spec["rtol"], self.spec["atol"]
        if not torch.allclose(got, want, rtol=rtol, atol=atol, equal_nan=True):
            raise StageFailure(
                Kind.VERIFY,
                f"at {self._place}: {name} differs from eager by up to {difference:.3g} (rtol={rtol:g}, atol={atol:g})",
                self._remedy,
            )
        return difference

    @property
    def _remedy(self) -> str:
        changed = sorted(self.call["buffers"])
        if self.number == 1 or not (changed or self.call["inputs_after"]):
            return "if this is rounding, raise atol or rtol in [entry.verify]; else the artifact is wrong"
        what = f"the buffer{'s' * (len(changed) > 1)} {', '.join(map(repr, changed))}" if changed else "an input"
        return (
            f"each call changes {what}, and the artifact does not do so as eager does; AOTInductor loses a buffer that "
            "is computed from itself alone: take it as an input and return it, or set "
            '`format = "none"` in [entry.compile]'
        )


def _told(value: Any) -> str:
    return (
        f"a tensor of {list(value.shape)}"
        if isinstance(value, torch.Tensor)
        else f"the {type(value).__name__} {value!r}"
    )


def _largest_difference(got: torch.Tensor, want: torch.Tensor) -> float:
    if not (got.is_floating_point() or got.is_complex()):
        got, want = got.to(torch.float64), want.to(torch.float64)
    return float((got - want).abs().nan_to_num(nan=0.0).max())


def _refuse(run: Callable[..., Any], case: Mapping[str, Any], device: str) -> dict[str, Any]:
    place = where(case["point"])
    try:
        with torch.no_grad():
            run(**_on(device, unpacked(case["inputs"])))
    except Exception as error:
        return {"point": dict(case["point"]), "error": type(error).__name__}
    raise StageFailure(
        Kind.VERIFY,
        f"a call outside the ranges ({place}) was not refused",
        "declare the dim as it is, or set `negative = false` in [entry.verify]",
    )
