"""A draft is a model that is being composed: lines of source, inputs and dims, with the shape of every value."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

Size = int | str  # a number, or the label of a size that varies
FLOATS = ("float32", "float64", "bfloat16", "float16")
_HEADER = [
    "import random",
    "from dataclasses import dataclass",
    "from typing import NamedTuple, Optional",
    "",
    "import numpy as np",
    "import torch",
    "import torch.nn.functional as F",
    "from torch import nn",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A tensor in `forward`. Its kind says what the axes mean: rows, tokens, wave, image."""

    name: str
    shape: tuple[Size, ...]
    dtype: str
    kind: str

    def __str__(self) -> str:
        return self.name

    @property
    def features(self) -> int:
        """The fixed number of channels or features."""
        size = self.shape[1 if self.kind in ("wave", "image") else -1]
        assert isinstance(size, int)
        return size


@dataclass(frozen=True, slots=True, kw_only=True)
class Dim:
    """A named size: its range, its example, its step. `auto`: the manifest does not list it."""

    min: int
    max: int
    example: int
    multiple_of: int = 1
    auto: bool = False

    def to_manifest(self) -> dict[str, int]:
        """The table of the manifest."""
        table = {"min": self.min, "max": self.max, "example": self.example}
        return {**table, "multiple_of": self.multiple_of} if self.multiple_of > 1 else table


@dataclass(slots=True, kw_only=True)
class Draft:
    """Everything that blocks add to. `floats` is the dtype of parameters, after the cast that the entry asks for."""

    rng: Random
    cast: str
    floats: str
    header: list[str] = field(default_factory=list)
    init: list[str] = field(default_factory=list)
    forward: list[str] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    signature: list[str] = field(default_factory=list)
    inputs: dict[str, Any] = field(default_factory=dict)
    dims: dict[str, Dim] = field(default_factory=dict)
    bounds: dict[str, tuple[int, int]] = field(default_factory=dict)
    features: list[str] = field(default_factory=list)
    refusable: set[str] = field(default_factory=set)
    method: str = "forward"
    seeded: bool = False  # its outputs depend on generators that are seeded before each call
    loose: bool = False  # some part computes in fewer bits, and compiled code may round elsewhere
    batch: Size = 2
    count: int = 0

    # ── names and lines ──────────────────────────────────────────────────────────────────────

    def fresh(self, prefix: str) -> str:
        """A name that was not given before."""
        self.count += 1
        return f"{prefix}{self.count}"

    def let(
        self, expression: str, like: Value, *shape: Size, dtype: str | None = None, kind: str | None = None
    ) -> Value:
        """Add `name = expression`; what is not given of the value is as in `like`."""
        name = self.fresh("v")
        self.forward.append(f"{name} = {expression}")
        return Value(name=name, shape=shape or like.shape, dtype=dtype or like.dtype, kind=kind or like.kind)

    def say(self, *lines: str) -> None:
        """Add lines to `forward`."""
        self.forward += lines

    def module(self, expression: str, name: str | None = None) -> str:
        """Add a submodule; returns how `forward` names it."""
        name = name or self.fresh("m")
        self.init.append(f"self.{name} = {expression}")
        return f"self.{name}"

    def buffer(self, expression: str, *, persistent: bool = True) -> str:
        """Add a buffer; returns how `forward` names it."""
        name = self.fresh("b")
        more = "" if persistent else ", persistent=False"
        self.init.append(f'self.register_buffer("{name}", {expression}{more})')
        return f"self.{name}"

    def cast_dtype(self, dtype: str) -> str:
        """The dtype that a parameter or buffer of this dtype has after the cast that the entry asks for."""
        return dtype if self.cast == "keep" or dtype not in FLOATS else self.cast

    # ── values ───────────────────────────────────────────────────────────────────────────────

    def floating(self, value: Value, dtype: str | None = None) -> Value:
        """The value in a floating dtype, by default that of the parameters."""
        dtype = dtype or self.floats
        return value if value.dtype == dtype else self.let(f"{value}.to(torch.{dtype})", value, dtype=dtype)

    def exact(self) -> bool:
        """Whether a comparison of two values comes out alike however they were rounded, but for rare cases."""
        return self.floats in ("float32", "float64") and not self.loose

    # ── sizes ────────────────────────────────────────────────────────────────────────────────

    def low(self, size: Size) -> int:
        """The least that a size can be."""
        return size if isinstance(size, int) else self.bounds[size][0]

    def high(self, size: Size) -> int:
        """The most that a size can be."""
        return size if isinstance(size, int) else self.bounds[size][1]

    def affine(self, size: Size, times: int, plus: int = 0) -> Size:
        """`times * size + plus`."""
        if isinstance(size, int):
            return times * size + plus
        label = f"{times}*({size})+{plus}"
        low, high = self.bounds[size]
        self.bounds[label] = (times * low + plus, times * high + plus)
        return label

    def unknown(self, low: int, high: int) -> Size:
        """A size that nothing else is known to equal."""
        label = self.fresh("u")
        self.bounds[label] = (low, high)
        return label

    # ── inputs ───────────────────────────────────────────────────────────────────────────────

    def dim(self, name: str, dim: Dim) -> str:
        """Declare a named size."""
        self.dims[name] = dim
        self.bounds[name] = (dim.min, dim.max)
        return name

    def tensor(
        self, shape: tuple[Size, ...], dtype: str, bounds: list[float] | None = None, value: Any = None
    ) -> dict[str, Any]:
        """The description of an input; a size that varies is a dim's name or `[times, name, plus]`."""
        sizes: list[Any] = []
        for size in shape:
            if isinstance(size, str) and size not in self.dims:
                times, _, rest = size.partition("*(")
                name, _, plus = rest.partition(")+")
                assert name in self.dims, size
                sizes.append([int(times), name, int(plus)])
            else:
                sizes.append(size if isinstance(size, int) else [1, size, 0])
        return {"tensor": {"shape": sizes, "dtype": dtype, "range": bounds, "value": value}}

    def input(
        self,
        shape: tuple[Size, ...],
        dtype: str,
        kind: str,
        bounds: list[float] | None = None,
        default: str | None = None,
    ) -> Value:
        """Add a tensor to the inputs."""
        name = self.fresh("x")
        self.inputs[name] = self.tensor(shape, dtype, bounds)
        self.parameter(name if default is None else f"{name}={default}")
        return Value(name=name, shape=shape, dtype=dtype, kind=kind)

    def parameter(self, text: str) -> None:
        """Add a parameter to `forward`: by keyword where one with a default or a star stands before it."""
        late = "=" not in text and not text.startswith("*") and any("=" in one for one in self.signature)
        if late and not any(one.startswith("*") and one[1:2] != "*" for one in self.signature):
            self.signature.append("*")
        at = next((i for i, one in enumerate(self.signature) if one.startswith("**")), len(self.signature))
        self.signature.insert(at, text)

    # ── text ─────────────────────────────────────────────────────────────────────────────────

    def source(self) -> str:
        """The text of the module."""
        lines = [*_HEADER, *self.header, "", "", "class Model(nn.Module):", "    def __init__(self):"]
        lines += [f"        {line}" for line in ["super().__init__()", *self.init]]
        lines += ["", f"    def {self.method}({', '.join(['self', *self.signature])}):"]
        lines += [f"        {line}" for line in self.forward]
        lines += [f"    {line}" if line else "" for line in self.methods]
        return "\n".join(lines) + "\n"
