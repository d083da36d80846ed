"""The verify stage: run the file that will be delivered in a fresh process and compare it with eager's outputs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch

from batchexport.pipeline.compare import Comparison, Outcome, make_call
from batchexport.pipeline.compile import import_modules, load_program, on_target
from batchexport.pipeline.compiled_buffers import CompiledBuffers
from batchexport.pipeline.failure import Kind, StageFailure, classified, failing_as
from batchexport.pipeline.leaves import unvaried_outputs
from batchexport.pipeline.load import load_compiled
from batchexport.pipeline.reference import where
from batchexport.pipeline.weight_swap import ARCHIVE

# (rtol, atol) by the floating-point dtype of a program that rounds most, where the spec has none.
_TOLERANCES = {
    "float64": (1e-7, 1e-8),
    "float32": (1e-4, 1e-5),
    "float16": (2e-2, 2e-2),
    "bfloat16": (2e-2, 2e-2),
}
# What AOTInductor's check of its inputs says of a size, under AOTI_RUNTIME_CHECK_INPUTS.
_REFUSED_SIZE = re.compile(r"dim value is too (small|large)")


def verify_stage(task: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Make the calls of the reference and compare what comes back. Returns the evidence: a row per call.

    `task` holds compiled (path, or None to verify the exported program), exported, skeleton, modules,
    reference (path), spec (the verify spec) and target. Where there is a compiled artifact, what the exported program
    gave in the export stage is compared, too. Raises StageFailure of kind verify or shapes.
    """
    # Without it a static batch of 4 silently accepts 9. It is read when the code runs.
    os.environ["AOTI_RUNTIME_CHECK_INPUTS"] = "1"
    device = "cuda" if task["target"].startswith("cuda") else "cpu"
    with failing_as(Kind.VERIFY, "loading the reference outputs"):
        reference = torch.load(task["reference"], weights_only=True)
    seed, spec = reference["seed"], {**task["spec"], **_tolerances(task["spec"], reference["dtypes"])}
    run = _artifact(task, device)
    name = ARCHIVE if task["compiled"] is None else os.path.basename(task["compiled"])
    changes_buffers = any(call["buffers"] for call in reference["calls"])
    buffers = (
        CompiledBuffers(task["compiled"], folder) if task["compiled"] and device == "cpu" and changes_buffers else None
    )
    evidence = []
    for number, call in enumerate(reference["calls"], 1):
        if call["exported"] is not None:
            Comparison(artifact=ARCHIVE, call=call, number=number, spec=spec).evidence(Outcome(**call["exported"]))
        comparison = Comparison(artifact=name, call=call, number=number, spec=spec)
        try:
            outcome = make_call(run, call, seed, device)
            if buffers is not None:
                outcome = replace(outcome, buffers=buffers.after(call, seed))
        except Exception as error:
            kind = Kind.SHAPES if _REFUSED_SIZE.search(str(error)) else Kind.VERIFY
            raise classified(error, kind, f"running {name} at {comparison.place}") from error
        evidence.append(comparison.evidence(outcome))
    refused = reference["refused"] if spec["negative"] else None
    return {
        "rtol": spec["rtol"],
        "atol": spec["atol"],
        "samples": evidence,
        "refused": _refuse(run, refused, seed, device) if refused else None,
        "not_told_apart": unvaried_outputs(reference["calls"], spec["rtol"], spec["atol"]),
    }


def _tolerances(spec: Mapping[str, Any], dtypes: Iterable[str]) -> dict[str, float]:
    """Return the tolerances of the spec, and where it has none, those of the dtype that rounds most."""
    known = [_TOLERANCES[dtype] for dtype in dtypes if dtype in _TOLERANCES] or [_TOLERANCES["float32"]]
    own = dict(zip(("rtol", "atol"), max(known), strict=True))
    return {name: default if spec[name] is None else spec[name] for name, default in own.items()}


def _artifact(task: Mapping[str, Any], device: str) -> Callable[..., Any]:
    if task["compiled"] is None:
        return on_target(load_program(task), task["target"]).module()
    import_modules(task["modules"], Kind.VERIFY)
    with failing_as(Kind.VERIFY, "loading the compiled artifact"):
        return load_compiled(task["compiled"], device)


def _refuse(run: Callable[..., Any], case: Mapping[str, Any], seed: int, device: str) -> dict[str, Any]:
    try:
        make_call(run, {**case, "buffers": ()}, seed, device)
    except Exception as error:
        return {"point": dict(case["point"]), "error": type(error).__name__}
    raise StageFailure(
        Kind.VERIFY,
        f"a call outside the ranges ({where(case['point'])}) was not refused",
        "declare the dim as it is, or set `negative = false` in [entry.verify]",
    )
