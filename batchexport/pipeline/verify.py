"""The verify stage: run the file that will be delivered in a fresh process and compare it with eager's outputs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils import _pytree as pytree

from batchexport.core.errors import Kind
from batchexport.pipeline.compile import load_program, on_target
from batchexport.pipeline.failure import StageFailure, classified, failing_as
from batchexport.pipeline.inputs import unpacked
from batchexport.pipeline.load import load_compiled


def verify_stage(task: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Run the artifact at every sample and compare. Returns the evidence: a row per sample.

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
    evidence = [_sample(run, case, spec, device) for case in reference["cases"]]
    refused = reference["refused"] if spec["negative"] else None
    return {"samples": evidence, "refused": _refuse(run, refused, device) if refused else None}


def _artifact(task: Mapping[str, Any], device: str) -> Callable[..., Any]:
    if task["compiled"] is None:
        return on_target(load_program(task), task["target"]).module()
    for module in task["modules"]:
        with failing_as(Kind.VERIFY, f"importing {module}"):
            __import__(module)
    with failing_as(Kind.VERIFY, "loading the compiled artifact"):
        return load_compiled(task["compiled"], device)


def _where(point: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={value}" for name, value in point.items()) or "the example"


def _on(device: str, tree: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, torch.Tensor) else leaf, tree)


def _sample(run: Callable[..., Any], case: Mapping[str, Any], spec: Mapping[str, Any], device: str) -> dict[str, Any]:
    where = _where(case["point"])
    try:
        with torch.no_grad():
            outputs = pytree.tree_leaves(run(**_on(device, unpacked(case["inputs"]))))
    except Exception as error:
        raise classified(error, Kind.VERIFY, f"running the artifact at {where}") from error
    expected = case["outputs"]
    if len(outputs) != len(expected):
        raise StageFailure(Kind.VERIFY, f"at {where}: {len(outputs)} outputs, eager gives {len(expected)}")
    rows = [
        _compare(index, got, want, spec, where) for index, (got, want) in enumerate(zip(outputs, expected, strict=True))
    ]
    return {"point": dict(case["point"]), "max_abs_diff": max(rows, default=0.0)}


def _compare(index: int, got: Any, want: Any, spec: Mapping[str, Any], where: str) -> float:
    if not isinstance(want, torch.Tensor):
        if got != want:
            raise StageFailure(Kind.VERIFY, f"at {where}: output {index} is {got!r}, eager gives {want!r}")
        return 0.0
    got = got.cpu()
    if got.shape != want.shape or got.dtype != want.dtype:
        raise StageFailure(
            Kind.VERIFY,
            f"at {where}: output {index} is {list(got.shape)} {got.dtype}, eager gives {list(want.shape)} {want.dtype}",
        )
    if torch.equal(got, want) or not want.numel():
        return 0.0
    difference = _largest_difference(got, want)
    if not torch.allclose(got, want, rtol=spec["rtol"], atol=spec["atol"], equal_nan=True):
        raise StageFailure(
            Kind.VERIFY,
            f"at {where}: output {index} differs from eager by up to {difference:.3g} "
            f"(rtol={spec['rtol']:g}, atol={spec['atol']:g})",
            "if this is rounding, raise atol or rtol in [entry.verify]; else the compiled code is wrong",
        )
    return difference


def _largest_difference(got: torch.Tensor, want: torch.Tensor) -> float:
    if not (got.is_floating_point() or got.is_complex()):
        got, want = got.to(torch.float64), want.to(torch.float64)
    return float((got - want).abs().nan_to_num(nan=0.0).max())


def _refuse(run: Callable[..., Any], case: Mapping[str, Any], device: str) -> dict[str, Any]:
    where = _where(case["point"])
    try:
        with torch.no_grad():
            run(**_on(device, unpacked(case["inputs"])))
    except Exception as error:
        return {"point": dict(case["point"]), "error": type(error).__name__}
    raise StageFailure(
        Kind.VERIFY,
        f"a call outside the ranges ({where}) was not refused",
        "declare the dim as it is, or set `negative = false` in [entry.verify]",
    )
