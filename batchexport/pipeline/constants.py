"""Check that other weights fit compiled code, and lay them out as its blob.

AOTInductor's `load_constants` checks neither dtype nor shape nor strides, and wrong input gives wrong numbers or a
segfault. So weights are checked here, against `constants_info_` of the generated wrapper. Whether the weights of a
package can be exchanged at all is tried when it is compiled: the blob rebuilt from the program must equal Inductor's
own, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.export import ExportedProgram

from batchexport.pipeline.failure import Kind, StageFailure

# torch/_inductor/codecache.py pads each constant to a multiple of this, unless all are on CUDA.
_ALIGN_BYTES = 64
_FIELD = re.compile(r"constants_info_\[(\d+)\]\.(\w+) = (.+);$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """One row of `constants_info_`. `size` is in bytes, with padding; `fqn` is empty for a constant without a name."""

    fqn: str
    dtype: str
    size: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The offset of each constant in a blob, and the size of the blob, in bytes."""

    rows: tuple[tuple[Constant, int], ...]
    size: int


def read_layout(wrapper: str) -> Layout:
    """Return the layout of the blob that the generated C++ `wrapper` expects."""
    fields: dict[int, dict[str, str]] = {}
    for index, name, value in _FIELD.findall(wrapper):
        fields.setdefault(int(index), {})[name] = value
    rows = []
    offset = 0
    for index in sorted(fields):
        row = fields[index]
        if row["from_folded"] == "true":
            continue
        constant = Constant(
            fqn=row["original_fqn"].strip('"'),
            dtype=row["dtype"].removeprefix("cached_torch_dtype_"),
            size=int(row["data_size"]),
            shape=_numbers(row["shape"]),
            strides=_numbers(row["stride"]),
        )
        rows.append((constant, offset))
        offset += constant.size
    return Layout(rows=tuple(rows), size=offset)


def _numbers(braces: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", braces))


def baked_constants(layout: Layout, blob: bytes | memoryview, program: ExportedProgram) -> dict[int, bytes]:
    """Return the parts of Inductor's blob that belong to no named tensor of the program, by index.

    The code relies on their values. Raises WeightsNotSwappable if the blob can't be rebuilt from the program.
    """
    if len(blob) != layout.size:
        raise WeightsNotSwappable(f"the blob has {len(blob)} bytes, its table says {layout.size}")
    constants = [_storage(value) for value in program.constants.values() if isinstance(value, torch.Tensor)]
    frozen: dict[int, bytes] = {}
    for index, (constant, offset) in enumerate(layout.rows):
        part = blob[offset : offset + constant.size]
        tensor = program.state_dict.get(constant.fqn)
        if tensor is not None:
            why = mismatch_reason(constant, tensor)
            if why or not _is_padded(_storage(tensor), part):
                raise WeightsNotSwappable(f"{constant.fqn} is not stored as it is: {why or 'other bytes'}")
        elif constant.size and not any(_is_padded(raw, part) for raw in constants):
            raise WeightsNotSwappable(f"constant {constant.fqn or index} is computed by the compiler")
        else:
            frozen[index] = bytes(part)
    return frozen


def _is_padded(raw: memoryview, part: bytes | memoryview) -> bool:
    return part[: len(raw)] == raw and not any(part[len(raw) :])


class WeightsNotSwappable(Exception):
    """The weights of this code can't be exchanged; the message says why."""


def mismatch_reason(constant: Constant, tensor: torch.Tensor) -> str | None:
    """Return why `tensor` can't take the place of `constant`, or None if it can."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype != constant.dtype:
        return f"dtype {dtype}, the code expects {constant.dtype}"
    if tuple(tensor.shape) != constant.shape:
        return f"shape {list(tensor.shape)}, the code expects {list(constant.shape)}"
    if tensor.numel() > 1 and tuple(tensor.stride()) != constant.strides:
        return f"strides {list(tensor.stride())}, the code expects {list(constant.strides)}"
    if tensor.numel() and (tensor.storage_offset() or tensor.untyped_storage().nbytes() != _bytes(tensor)):
        return "not contiguous in storage of its own"
    if not 0 <= constant.size - _bytes(tensor) < _ALIGN_BYTES:
        return f"{_bytes(tensor)} bytes, the code expects {constant.size}"
    return None


def blob(layout: Layout, state: Mapping[str, torch.Tensor], frozen: Mapping[int, bytes]) -> bytearray:
    """Return the blob of these weights for code of this layout.

    Raises StageFailure of kind compile, with the tensor's name, if one does not fit.
    """
    return bytearray().join(_parts(layout, state, frozen))


def _parts(
    layout: Layout, state: Mapping[str, torch.Tensor], frozen: Mapping[int, bytes]
) -> Iterator[bytes | memoryview]:
    for index, (constant, _) in enumerate(layout.rows):
        if index in frozen:
            yield frozen[index]
            continue
        tensor = state.get(constant.fqn)
        why = "missing" if tensor is None else mismatch_reason(constant, tensor)
        if tensor is None or why:
            raise StageFailure(Kind.COMPILE, f"weights can't be packed: tensor {constant.fqn!r}: {why}")
        yield _storage(tensor)
        yield b"\0" * (constant.size - _bytes(tensor))


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _storage(tensor: torch.Tensor) -> memoryview:
    """Return all bytes of a tensor's storage."""
    if not tensor.numel():
        return memoryview(b"")
    storage = tensor.detach().cpu().untyped_storage()
    flat: Any = torch.empty(0, dtype=torch.uint8).set_(storage)
    return memoryview(flat.numpy())
