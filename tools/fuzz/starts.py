"""A start gives a draft its dims and its first input."""

from __future__ import annotations

from fuzz.draft import Dim, Draft, Size, Value


def start(d: Draft) -> Value:
    """Declare dims and an input of a random kind, and what makes floating point numbers of it."""
    rng = d.rng
    static = rng.random() < 0.2
    d.batch = rng.randint(2, 3) if static else d.dim("b", _batch(d))
    kind = rng.choice(["rows", "rows", "tokens", "tokens", "wave", "image", "ids", "bytes"])
    if kind == "rows":
        return d.input((d.batch, rng.choice([4, 6, 8, 12])), _dtype(d), kind)
    if kind in ("tokens", "ids"):
        length: Size = rng.randint(3, 6) if static or rng.random() < 0.3 else d.dim("s", _length(d))
        if kind == "ids":
            ids = d.input((d.batch, length), rng.choice(["int64", "int64", "int32"]), "tokens", [0, 10])
            more = rng.choice(["", ", padding_idx=0", ", padding_idx=-1"])
            layer = d.module(f"nn.Embedding(10, 8{more})")
            return d.let(f"{layer}({ids})", ids, d.batch, length, 8, dtype=d.floats)
        return d.input((d.batch, length, rng.choice([4, 8])), _dtype(d), kind)
    if kind == "wave":
        length = rng.choice([4, 8]) if static or rng.random() < 0.5 else d.dim("s", _length(d))
        return d.input((d.batch, rng.choice([2, 4]), length), _dtype(d), kind)
    side: Size = rng.choice([4, 8]) if static or rng.random() < 0.6 else d.dim("h", _length(d))
    if kind == "bytes":
        image = d.input((d.batch, 3, side, 4), "uint8", "image", [0, 256])
        return d.let(f"{image}.to(torch.{d.floats}) / 255", image, dtype=d.floats)
    return d.input((d.batch, rng.choice([2, 4]), side, rng.choice([4, 6])), _dtype(d), "image")


def _dtype(d: Draft) -> str:
    if d.cast == "keep" and d.rng.random() < 0.12:
        dtype = d.rng.choice(["float64", "bfloat16", "float16", "int64", "bool"])
        d.loose = dtype in ("bfloat16", "float16")
        return dtype
    return d.floats


def _batch(d: Draft) -> Dim:
    rng = d.rng
    high = rng.randint(4, 8)
    if rng.random() < 0.1:
        return Dim(min=2, max=high, example=2, auto=True)
    return Dim(min=rng.choice([1, 1, 2]), max=high, example=rng.choice([2, 3, high]))


def _length(d: Draft) -> Dim:
    rng = d.rng
    step = rng.choice([1, 1, 1, 2, 4])
    low, high = step * rng.randint(1, 3), step * rng.randint(4, 6)
    if rng.random() < 0.1:
        return Dim(min=3, max=high + 8, example=3, auto=True)
    example = step * rng.randint(max(low // step, 2), high // step)
    return Dim(min=low, max=high, example=example, multiple_of=step)
