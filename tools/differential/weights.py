"""A weight file is safetensors bytes of float32 tensors, written and changed here without torch.

The format: the length of a JSON header (8 bytes, little-endian), the header, the data it points into.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from random import Random
from typing import Any

SHAPES: Mapping[str, tuple[int, ...]] = {
    "wide.weight": (16, 4),
    "wide.bias": (16,),
    "small.weight": (4, 16),
    "small.bias": (4,),
    "mean": (4,),
    "scale": (),
}
GATED: Mapping[str, tuple[int, ...]] = {"linear.weight": (4, 4), "linear.bias": (4,)}


def checkpoint(seed: int) -> bytes:
    """A file with every tensor of the model `ckpt`."""
    return tensors(SHAPES, seed)


def tensors(shapes: Mapping[str, tuple[int, ...]], seed: int) -> bytes:
    """A file with tensors of these shapes."""
    rng = Random(seed)
    header: dict[str, Any] = {}
    data = b""
    for name, shape in shapes.items():
        numbers = [rng.uniform(-1, 1) for _ in range(math.prod(shape))]
        begin, data = len(data), data + struct.pack(f"<{len(numbers)}f", *numbers)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def _place(file: bytes, name: str) -> tuple[int, int]:
    (length,) = struct.unpack_from("<Q", file)
    begin, end = json.loads(file[8 : 8 + length])[name]["data_offsets"]
    return 8 + length + begin, 8 + length + end


def changed(file: bytes, name: str, rng: Random) -> bytes:
    """The file with another number in one place of a tensor."""
    begin, end = _place(file, name)
    at = rng.randrange(begin, end, 4)
    return file[:at] + struct.pack("<f", rng.uniform(-1, 1)) + file[at + 4 :]


def flipped(file: bytes, rng: Random) -> bytes:
    """The file with one bit of one number changed, of its mantissa, so that it stays a number."""
    begin, end = _place(file, rng.choice(sorted(SHAPES)))
    at = rng.randrange(begin, end, 4)
    (word,) = struct.unpack_from("<I", file, at)
    return file[:at] + struct.pack("<I", word ^ (1 << rng.randrange(23))) + file[at + 4 :]
