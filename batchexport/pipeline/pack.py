"""Pack the weights of another export around compiled code, at the cost of copying them.

Loading an exported program takes torch a hundred times as long as reading its weights. So the graph is not loaded if
its serialized text equals that of the archive the code was compiled from; that archive was validated at compile time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export.pt2_archive._package import PT2ArchiveReader, PT2ArchiveWriter, _load_state_dict
from torch.export.pt2_archive.constants import AOTINDUCTOR_DIR

from batchexport.pipeline.compile import MODEL, PACKAGE, graph_digest, load_program
from batchexport.pipeline.constants import blob, read_layout
from batchexport.pipeline.failure import Kind, StageFailure, failing_as


def pack_stage(task: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Leave `compiled.pt2` in `folder`: compiled code with the weights of another exported program.

    `task` holds exported, skeleton, modules and spec as for a compile, and code (as `compile_stage` gave it)
    with `folder` and `frozen_file`, the paths of its files. Raises StageFailure of kind save or compile.
    """
    write_package(task["code"], _state(task), Path(folder, PACKAGE))
    return {"compiled": PACKAGE, "code": None}


def write_package(code: Mapping[str, Any], state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write the package of `code` and the weights of `state`, by name. Raises StageFailure of kind compile."""
    source = Path(code["folder"])
    layout = read_layout((source / code["wrapper"]).read_text(encoding="utf-8"))
    frozen = {}
    with Path(code["frozen_file"]).open("rb") as file:
        for index, length in code["frozen"]:
            frozen[index] = file.read(length)
    weights = blob(layout, state, frozen)
    with (
        failing_as(Kind.COMPILE, "packing new weights around the compiled code"),
        PT2ArchiveWriter(str(path)) as archive,
    ):
        for name in code["files"]:  # as package_pt2 does, which takes no bytes from memory
            place = f"{AOTINDUCTOR_DIR}{MODEL}/{name}"
            if name != code["blob"]:
                archive.write_file(place, str(source / name))
            elif weights:
                # The GIL is released while a storage is written, but not for bytes.
                storage = torch.frombuffer(weights, dtype=torch.uint8).untyped_storage()
                archive.archive_file.write_record(place, storage, len(weights))  # type: ignore[arg-type]
            else:
                archive.write_bytes(place, b"")


def _state(task: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
    """Return the parameters and buffers in the archive of an exported program."""
    if graph_digest(task["exported"]) != task["code"]["graph"]:
        return dict(load_program(task).state_dict)
    with failing_as(Kind.SAVE, "reading the weights of the exported program back"):
        state = _load_state_dict(PT2ArchiveReader(task["exported"]), MODEL)
    if isinstance(state, bytes):
        raise StageFailure(Kind.SAVE, "the archive keeps its weights in a form of older versions of torch")
    return state
