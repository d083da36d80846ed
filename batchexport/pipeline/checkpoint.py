"""Read checkpoints: files of safetensors and of torch.save, tensors only, and shards that an index lists."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from batchexport.core.archives import leads_out
from batchexport.pipeline.failure import Kind, StageFailure, classified, text_of

INDEX = ".index.json"

_REFUSED = re.compile(r"GLOBAL ([\w.]+)")  # how torch names what `weights_only` does not run
_ERROR = re.compile(r"WeightsUnpickler error:\s*(.+)")  # before it torch tells how to run the code in a file
_FRAME = "Unsupported operand 149"  # as pickles begin since protocol 4
_POINTER = b"version https://git-lfs"
_ZIP = b"PK\x03\x04"


def weight_files(path: str) -> list[str]:
    """Return all files that a checkpoint is made of: `path` and, if that is an index, the shards that it lists.

    An index that can't be used has no shards; `read_checkpoint` says why.
    """
    if not path.endswith(INDEX) or not os.path.isfile(path):
        return [path]
    try:
        shards = dict.fromkeys(_weight_map(path).values())
    except StageFailure:
        return [path]
    return [path, *(os.path.join(os.path.dirname(path), shard) for shard in shards)]


def read_checkpoint(path: str) -> Any:
    """Return what a checkpoint holds, tensors on the CPU. Raises StageFailure of kind weights, disk or oom."""
    if os.path.isdir(path):
        raise StageFailure(Kind.WEIGHTS, f"{path} is a folder", "name the file of weights, or its …index.json")
    if not os.path.isfile(path):
        raise StageFailure(Kind.WEIGHTS, f"no such file: {path}", "check `weights` in the manifest")
    return _read_shards(path) if path.endswith(INDEX) else _read_file(path)


def _read_shards(path: str) -> dict[str, Any]:
    """Return the tensors of all shards by name. Raises StageFailure if they are not exactly those of the index."""
    file, places = os.path.basename(path), _weight_map(path)
    shards = list(dict.fromkeys(places.values()))
    missing = [shard for shard in shards if not os.path.isfile(os.path.join(os.path.dirname(path), shard))]
    if missing:
        few = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        message = f"{file}: {len(missing)} of {len(shards)} shards not found beside it: {few}"
        raise StageFailure(Kind.WEIGHTS, message, "put all shards into the folder of the index")
    state: dict[str, Any] = {}
    for shard in shards:
        part = _read_file(os.path.join(os.path.dirname(path), shard))
        if not isinstance(part, Mapping):
            raise _misfit(f"{shard} holds no tensors by name")
        for name, value in part.items():
            if places.get(name) != shard:
                listed = f"lists it for {places[name]}" if name in places else "does not list it"
                raise _misfit(f"{shard} holds {name!r}, and {file} {listed}")
            state[name] = value
    absent = next((name for name in places if name not in state), None)
    if absent is not None:
        raise _misfit(f"{places[absent]} does not hold {absent!r}, which {file} lists there")
    return state


def _misfit(message: str) -> StageFailure:
    return StageFailure(Kind.WEIGHTS, message, "save the checkpoint again: shards and index are not of one piece")


def _weight_map(path: str) -> dict[str, str]:
    """Return the shard of each tensor, by name. Raises StageFailure for anything but a safe, complete index."""
    file = os.path.basename(path)
    try:
        with open(path, encoding="utf-8") as opened:
            index = json.load(opened, object_pairs_hook=_unique)
    except (OSError, ValueError, RecursionError) as error:
        raise classified(error, Kind.WEIGHTS, f"reading {file}", "is the file truncated or corrupt?") from error
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(shard, str) for shard in places.values()):
        remedy = 'an index holds {"weight_map": {"name of a tensor": "file of its shard"}}'
        raise StageFailure(Kind.WEIGHTS, f"{file} lists no shards", remedy)
    for shard in places.values():
        if leads_out(shard) or shard.endswith(INDEX):
            message = f"{file} lists the shard {shard!r}, which is no file of weights in its own folder"
            raise StageFailure(Kind.WEIGHTS, message, "put all shards into the folder of the index")
    return places


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return a table of JSON. Raises ValueError if a name occurs twice, of which json would keep the last."""
    table: dict[str, Any] = {}
    for name, value in pairs:
        if name in table:
            raise ValueError(f"{name!r} is listed twice")
        table[name] = value
    return table


def _read_file(path: str) -> Any:
    file = os.path.basename(path)
    try:
        _check_start(path)
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except StageFailure:
        raise
    except Exception as error:
        text = text_of(error)
        refused = _REFUSED.search(text)
        if refused or "TorchScript archives" in text:
            what = f"a pickled module or other code: {refused[1]}" if refused else "a scripted module"
            remedy = f'save its state_dict instead: torch.save(model.state_dict(), "{file}")'
            raise StageFailure(Kind.WEIGHTS, f"{file} holds {what}", remedy) from error
        remedy = "is the file truncated or corrupt?"
        words = _ERROR.search(text)
        if words:
            remedy = "save it with torch.save's own pickle_protocol" if words[1] == _FRAME else remedy
            raise StageFailure(Kind.WEIGHTS, f"reading {file}: {words[1]}", remedy) from error
        raise classified(error, Kind.WEIGHTS, f"reading {file}", remedy) from error


def _check_start(path: str) -> None:
    """Raise StageFailure for a file whose first bytes tell that it is not what its suffix says."""
    with open(path, "rb") as opened:
        start = opened.read(len(_POINTER))
    file, is_safetensors = os.path.basename(path), path.endswith(".safetensors")
    if not start:
        raise StageFailure(Kind.WEIGHTS, f"{file} is empty", "save the checkpoint again")
    if start == _POINTER:
        raise StageFailure(Kind.WEIGHTS, f"{file} is a pointer of Git LFS, not the file itself", "run `git lfs pull`")
    if is_safetensors and start.startswith(_ZIP):
        message, suffix = f"{file} is a file of torch.save, not of safetensors", ".pt"
    elif not is_safetensors and start[6:9] == b"\0\0{":  # the end of the header's length, and its beginning
        message, suffix = f"{file} is a file of safetensors, not of torch.save", ".safetensors"
    else:
        return
    raise StageFailure(Kind.WEIGHTS, message, f"rename it, so that it ends in {suffix}")
