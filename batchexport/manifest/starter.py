"""Write a first manifest as text: for models that were tried, or for a small project to start from."""

from __future__ import annotations

import ast
import keyword
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchexport.manifest.fixes import toml_value
from batchexport.manifest.inputs import DTYPES

_SKIPPED = ("test", "tests", "site-packages", "node_modules", "build", "dist", "cache", "__pycache__")
_DEPTH, _FILES = 4, 2000
_HEAD = """# Made by `batchexport init`. Change what you like: `batchexport plan` tells every mistake.
# All keys: docs/manifest.md, or in an editor the schema that `batchexport schema` prints.

schema = 1
"""

_HINTS = (
    '# targets = ["cpu"]                # or "cpu-avx2", "cuda", "cuda-sm90"',
    '# weights = "weights.safetensors"  # a state_dict; without it, what the model is built with',
    '# compile = { format = "none" }    # export and verify only',
)

PROJECT = """# A model to start from: batchexport run manifest.toml

import torch
from torch import nn


class MLP(nn.Module):
    def __init__(self, hidden: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, hidden), nn.ReLU(), nn.Linear(hidden, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryText:
    """An entry to write. `failure` is why it can't be built; the entry is then a comment.

    `inputs` and `dims` are lines; `derived` are inputs that a run derives from the model by itself.
    """

    model: str
    head: str | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    inputs: Sequence[str] = ()
    dims: Sequence[str] = ()
    derived: Sequence[str] = ()
    failure: str | None = None


PROJECT_ENTRY = EntryText(
    model="models:MLP",
    kwargs={"hidden": 32},
    inputs=['x = { shape = ["batch", 16], dtype = "float32" }'],
    dims=["batch = { min = 1, max = 16, example = 3 }"],
)


def manifest_text(entries: Iterable[EntryText]) -> str:
    """Return the text of a manifest; those that can't be built are comments with the reason."""
    names: set[str] = set()
    blocks = [_HEAD]
    for index, entry in enumerate(entries):
        name = _unique(_name(entry.model), names)
        lines = list(_entry_lines(entry, name, hints=index == 0 and entry.failure is None))
        if entry.failure is not None:
            reason = "".join(filter(str.isprintable, " ".join(entry.failure.split())))
            lines = [f"# {entry.model} is left out: {reason}", *(f"# {line}".rstrip() for line in lines)]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _entry_lines(entry: EntryText, name: str, *, hints: bool) -> Iterator[str]:
    yield "[[entry]]"
    yield f"name = {toml_value(name)}"
    yield f"model = {toml_value(entry.model)}"
    if entry.head is not None:
        yield f"head = {toml_value(entry.head)}"
    if entry.kwargs:
        yield f"kwargs = {toml_value(dict(entry.kwargs))}  # what the model is built with"
    yield from _HINTS if hints else ()
    if entry.derived:
        yield "# The inputs follow from the model. Write them here to change them:"
        yield "# [entry.inputs]"
        yield from (f"# {line}" for line in entry.derived)
    if entry.inputs:
        yield ""
        yield "[entry.inputs]  # by parameter name; names in a shape are dims"
        yield from entry.inputs
    if entry.dims:
        yield ""
        yield "[entry.dims]    # the sizes that must work; each end is verified"
        yield from entry.dims


def _name(model: str) -> str:
    last = re.split(r"[:/]", model.removesuffix(".pt2").removesuffix(".pt"))[-1]
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", last).lower()
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-") or "model"


def _unique(name: str, names: set[str]) -> str:
    found, number = name, 2
    while found in names:
        found, number = f"{name}-{number}", number + 1
    names.add(found)
    return found


def read_argument(text: str) -> tuple[str, Any]:
    """Read `NAME=VALUE` with a TOML value, or else a plain word as text. Raises ValueError."""
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name.isidentifier() or keyword.iskeyword(name):
        raise ValueError(text)
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value.strip()


def read_input(text: str) -> tuple[str, dict[str, Any]]:
    """Read `NAME=SIZES[:DTYPE[:LOW:HIGH]]`, as `ids=batch,seq:int64:0:1000`, as a tensor node. Raises ValueError."""
    name, equals, form = text.partition("=")
    name = name.strip()
    sizes, *rest = form.strip().split(":")
    if not equals or not name.isidentifier() or len(rest) not in (0, 1, 3) or not {*rest[:1]} <= {*DTYPES}:
        raise ValueError(text)
    shape: list[int | str] = [
        int(size) if size.isdecimal() else size for size in map(str.strip, sizes.split(",")) if size
    ]
    if any(isinstance(size, str) and not size.isidentifier() for size in shape):
        raise ValueError(text)
    bounds = [int(end) for end in rest[1:]] or None
    return name, {"shape": shape, "dtype": rest[0] if rest else "float32", "range": bounds, "value": None}


def module_classes(folder: Path) -> list[str]:
    """Return `module:Class` for every nn.Module below a folder, by the sources alone; tests and hidden files aside."""
    bases: dict[str, set[str]] = {}
    places: list[tuple[str, str]] = []
    for path in _sources(folder):
        try:
            tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError):
            continue
        parts = path.relative_to(folder).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and module:
                bases.setdefault(node.name, set()).update(ast.unparse(base).rpartition(".")[2] for base in node.bases)
                places.append((module, node.name))
    known = {"Module"}
    while more := {name for name, own in bases.items() if own & known} - known:
        known |= more
    return [f"{module}:{name}" for module, name in places if name in known and not name.startswith("_")]


def _sources(folder: Path) -> Iterator[Path]:
    found = 0
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).parts
        is_hidden = any(part.startswith(".") or part in _SKIPPED for part in parts[:-1])
        is_module = all(part.isidentifier() for part in (*parts[:-1], path.stem))
        is_test = path.name.startswith("test_") or path.name == "conftest.py"
        if is_module and not is_hidden and not is_test and len(parts) <= _DEPTH and found < _FILES:
            found += 1
            yield path
