"""Exports in the process of a test, from the lines of an entry to the delivered archive."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from batchexport.core.job import Job
from batchexport.manifest.resolve import load
from batchexport.pipeline.compile import compile_stage
from batchexport.pipeline.export import export_stage
from batchexport.pipeline.inputs import unpacked
from batchexport.pipeline.verify import verify_stage
from support.tools import compile_tools


@dataclass(frozen=True)
class Exported:
    """What the export stage left in its folder, and what it said."""

    folder: Path
    job: Job
    output: dict[str, Any]

    @property
    def path(self) -> Path:
        return self.folder / "exported.pt2"

    def program(self) -> ExportedProgram:
        """The archive, loaded by plain torch."""
        return torch.export.load(self.path)

    def reference(self) -> dict[str, Any]:
        """Inputs and eager's outputs at every sample."""
        reference: dict[str, Any] = torch.load(self.folder / "reference.pt", weights_only=True)
        for case in reference["calls"]:
            case["args"], case["inputs"] = unpacked(case["inputs"])
        return reference

    def points(self) -> list[dict[str, int]]:
        return [case["point"] for case in self.reference()["calls"]]

    def compile(self) -> str:
        """Compile the archive, as the compile stage does, and return the path of the package or library."""
        task = {
            "spec": self.job.compile.to_json(),
            "exported": str(self.path),
            "skeleton": self.output["skeleton"],
            "modules": self.output["modules"],
            "threads": 1,
            "tools": compile_tools(),
        }
        return str(self.folder / compile_stage(task, str(self.folder))["compiled"])

    def verify(self, compiled: str | None = None) -> dict[str, Any]:
        """The evidence of the verify stage, for the exported program itself, or for what was compiled from it."""
        before = dict(os.environ)
        try:
            return verify_stage(
                {
                    "spec": self.job.verify.to_json(),
                    "target": "cpu",
                    "exported": str(self.path),
                    "reference": str(self.folder / "reference.pt"),
                    "compiled": compiled,
                    "skeleton": self.output["skeleton"],
                    "modules": self.output["modules"],
                },
                str(self.folder),
            )
        finally:
            os.environ.clear()
            os.environ.update(before)

    def base(self) -> dict[str, Any]:
        """What a later export is told that may keep this one's graph."""
        kept = {
            name: self.output[name]
            for name in ("program", "skeleton", "modules", "likeness", "state", "stats", "warnings", "auto")
        }
        return {**kept, "exported": str(self.path), "code": None}


def verified(made: Exported) -> Exported:
    """Verify an export at both ends of its ranges at least, and outside of them."""
    evidence = made.verify()
    assert len(evidence["samples"]) >= 3
    assert evidence["refused"] is not None
    return made


Export = Callable[..., Exported]


def text_of(entry: str) -> str:
    """A manifest with this entry; `model` is looked up in support.models."""
    text = textwrap.dedent(entry).replace('model = ":', 'model = "support.models:')
    return f'schema = 1\n[[entry]]\nname = "model"\n{text}\n'


def job_of(root: Path, entry: str) -> Job:
    """The one job of a manifest with this entry."""
    path = root / "manifest.toml"
    path.write_text(text_of(entry), encoding="utf-8")
    [job] = load(path).jobs
    return job


def export(root: Path, folder: Path, entry: str, base: dict[str, Any] | None = None) -> Exported:
    """Export the model of an entry into a new folder. Raises ManifestError, StageFailure."""
    job = job_of(root, entry)
    folder.mkdir()
    task = {"spec": job.export.to_json(), "root": str(root), "samples": job.verify.samples, "base": base}
    return Exported(folder=folder, job=job, output=export_stage(task, str(folder)))
