"""Read from a delivered `job.json` at which sizes a job was verified, and how far it was off."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchexport.core.report import JobReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Corner:
    """One call that was compared with eager: its sizes, its largest error, and the error that its tolerance allows.

    The tolerance is atol + rtol * |eager|, here where eager's output is largest.
    """

    sizes: str
    error: float
    allowed: float

    @property
    def share(self) -> float:
        """Return the error as a share of what is allowed, at most 1."""
        return min(self.error / self.allowed, 1.0) if self.allowed else float(self.error > 0)


def corners(job: JobReport) -> list[Corner]:
    """Return the verified calls of a delivered job; none where its `job.json` can't be read or has none."""
    path = next(iter(job.outputs.values()), None)
    if path is None:
        return []
    try:
        verify = json.loads(Path(os.path.dirname(path), "job.json").read_text(encoding="utf-8"))["verify"]
        return [_corner(sample, verify) for sample in verify["samples"]] if verify else []
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ):  # another version of batchexport may have written it
        return []


def _corner(sample: Mapping[str, Any], verify: Mapping[str, Any]) -> Corner:
    sizes = ", ".join(f"{name}={size}" for name, size in sample["point"].items())
    return Corner(
        sizes=sizes or "its only sizes",
        error=float(sample["max_abs_diff"]),
        allowed=verify["atol"] + verify["rtol"] * sample["scale"],
    )
