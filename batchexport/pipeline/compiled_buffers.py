"""Read the buffers of compiled code after a call, which the loader of packages has no way to show."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Any
from zipfile import ZipFile

import torch

from batchexport.pipeline.compare import make_call
from batchexport.pipeline.failure import Kind, failing_as
from batchexport.pipeline.load import called_by


class CompiledBuffers:
    """The code of a compiled artifact, loaded once more, by the runner that shows its constants. For CPUs."""

    def __init__(self, artifact: str, folder: str) -> None:
        """Load the library of an artifact; that of a package is unpacked into `folder`. Raises StageFailure."""
        with failing_as(Kind.VERIFY, "loading the compiled code to read its buffers"):
            library, blob = (artifact, None) if artifact.endswith(".so") else _unpacked(artifact, folder)
            runner: Any = torch._C._aoti.AOTIModelContainerRunnerCpu(library, 1)
            if blob is not None:
                runner.update_constant_buffer_from_blob(blob)
            self._runner = runner

    def after(self, call: Mapping[str, Any], seed: int) -> dict[str, torch.Tensor]:
        """Make a call of the reference, and return the buffers that eager changed in it, as they are now.

        One is missing where Inductor has made it part of the code. Raises whatever the code raises.
        """
        make_call(called_by(self._runner), call, seed)
        held = self._runner.extract_constants_map(False)
        return {name: held[name].clone() for name in call["buffers"] if name in held}


def _unpacked(package: str, folder: str) -> tuple[str, str | None]:
    """Unpack the library of a package and all that it reads, into new files: one that is loaded must not change.

    Return the paths of library and weights.
    """
    into = tempfile.mkdtemp(dir=folder)
    with ZipFile(package) as archive:
        paths = [archive.extract(name, into) for name in archive.namelist() if not name.endswith(".cpp")]
    [library] = [path for path in paths if path.endswith(".so")]
    return library, next((path for path in paths if path.endswith("_weights.blob")), None)
