"""Write new weights into a stored archive, if the model differs from the exported one in nothing else.

The new archive is, byte for byte, what torch.export.save would write: the same records in the same order through the
same writer, with other weights.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export.pt2_archive.constants import WEIGHTS_CONFIG_FILENAME_FORMAT, WEIGHTS_DIR

from batchexport.pipeline.compile import MODEL, PACKAGE, graph_digest
from batchexport.pipeline.failure import Kind, StageFailure, failing_as
from batchexport.pipeline.identity import content_digests, storage_of
from batchexport.pipeline.model_structure import first_party_modules, structure_digest
from batchexport.pipeline.pack import write_package

ARCHIVE = "exported.pt2"
Row = Sequence[Any]

# The writer adds these itself, the last one with a checksum over everything.
_WRITERS_OWN = ("version", "byteorder", ".data/serialization_id")


def new_ids(model: nn.Module, base: Mapping[str, Any]) -> list[list[Any]] | None:
    """Return the state ids of `model`; None if it differs from the model of `base` in more than values.

    `base` holds the structure digest of that model, and its state ids.
    """
    if base["likeness"] is None or structure_digest(model, first_party_modules()) != base["likeness"]:
        return None
    return _ids(base["state"], _tensors(model))


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapResult:
    """Whether the archive was written, and the seconds that a package took, None without one."""

    archive: bool
    packed: float | None


def swap_weights(model: nn.Module, base: Mapping[str, Any], folder: Path) -> SwapResult:
    """Write the archive `base["exported"]`, with the weights of `model`, into `folder`, and beside it a package.

    The archive is not written if it does not store its weights as plain bytes. The package is that of `base["code"]`;
    it is not written if that is None or does not take the weights: the compile stage then reports why.
    """
    tensors = _tensors(model)
    with ThreadPoolExecutor(max_workers=1) as beside:
        packing = beside.submit(_packed, tensors, base, folder / PACKAGE)
        payloads = _payloads(base["exported"], tensors)
        done = payloads is not None and _write(base["exported"], payloads, str(folder / ARCHIVE))
        return SwapResult(archive=done, packed=packing.result())


def _packed(tensors: Mapping[str, torch.Tensor], base: Mapping[str, Any], path: Path) -> float | None:
    """Write the package and return the seconds it took; None if it was not written."""
    code, started = base["code"], time.perf_counter()
    if code is None or graph_digest(base["exported"]) != code["graph"]:
        return None
    try:
        write_package(code, tensors, path)
    except StageFailure:
        return None
    return time.perf_counter() - started


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = dict(model.named_parameters(remove_duplicate=False))
    tensors.update(model.named_buffers(remove_duplicate=False))
    return tensors


def _ids(known: Sequence[Row], tensors: Mapping[str, torch.Tensor]) -> list[list[Any]] | None:
    """Return the state ids with new contents; None if anything else differs."""
    # A constant without a name in the model is in a plain attribute, which the structure digest covers.
    named = [row for row in known if row[0] in tensors or row[1] != "constant"]
    ties: dict[int, set[int]] = {}
    owners: dict[int, set[int]] = {}
    for name, _, dtype, shape, strides, group, _ in named:
        tensor = tensors.get(name)
        if tensor is None or [str(tensor.dtype), [*tensor.shape], [*tensor.stride()]] != [dtype, shape, strides]:
            return None
        where = storage_of(tensor)
        ties.setdefault(group, set()).add(where)
        owners.setdefault(where, set()).add(group)
    if any(len(others) != 1 for others in (*ties.values(), *owners.values())):
        return None
    found = content_digests(tensors[row[0]] for row in named)
    contents = dict(zip((row[0] for row in named), found, strict=True))
    if any(row[1] == "constant" and contents.get(row[0], row[-1]) != row[-1] for row in known):
        return None
    return [[*row[:-1], contents.get(row[0], row[-1])] for row in known]


def _payloads(archive: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.UntypedStorage] | None:
    """Return the new content of each record that holds weights; None if they are not stored as plain bytes."""
    config = json.loads(torch._C.PyTorchFileReader(archive).get_record(WEIGHTS_CONFIG_FILENAME_FORMAT.format(MODEL)))[
        "config"
    ]
    payloads = {}
    for name, entry in config.items():
        tensor = tensors[name].detach()
        if entry["use_pickle"] or type(tensor) is not torch.Tensor or tensor.device.type != "cpu":
            return None
        payloads[WEIGHTS_DIR + entry["path_name"]] = tensor.untyped_storage()
    return payloads


def _write(archive: str, payloads: Mapping[str, torch.UntypedStorage], path: str) -> bool:
    """Write the archive with other payloads. Return False and remove it if its layout differs from the old one."""
    reader = torch._C.PyTorchFileReader(archive)
    with failing_as(Kind.SAVE, "writing the archive with other weights", "free some disk space, or see the log"):
        writer = torch._C.PyTorchFileWriter(path)
        for name in reader.get_all_records():
            if name in payloads:
                # Storages are written without a copy and without the GIL.
                writer.write_record(name, payloads[name], payloads[name].nbytes())  # type: ignore[arg-type]
            elif name not in _WRITERS_OWN:
                content = reader.get_record(name)
                writer.write_record(name, content, len(content))
        writer.write_end_of_file()
    if os.path.getsize(path) == os.path.getsize(os.path.realpath(archive)):
        return True
    os.unlink(path)
    return False
