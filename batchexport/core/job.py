"""Jobs as resolved from a manifest: every default is filled in, every name and path is final.

The `to_json` forms are hashed into keys, so they hold every field, under its own name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchexport.core.options import data_files


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSpec:
    """The model to capture, and how. Paths are POSIX text, relative to the manifest's folder unless absolute.

    `inputs` is a tree of nodes by parameter name or in the order of the parameters, or a factory or file as named in
    the manifest. Nodes: `{"tensor": {"shape", "dtype", "range", "value"}}`, `{"list": [...]}`, `{"tuple": [...]}`,
    `{"table": {...}}`, `{"object": {"type", "fields": {...}}}`, `{"dim": [size]}` and `{"value": scalar or None}`;
    a size is a number or the canonical text of an `Affine`. `additional_inputs` holds further such trees, factories or
    files, whose sizes tell torch which of those in `inputs` vary.
    `dims` holds `Dim.to_json()` of the dynamic dims that the inputs use, and `derived` the sizes of these dims, as
    canonical text, that have names of their own. For inputs from a factory or a file, `shapes` holds the sizes of
    tensors, or the dim of a number as text, by path; `fixed` are dims of one size, and `measured` those whose example
    is the size that the inputs have. Where the inputs of a transformers model are left to the pipeline, `inputs` is
    empty, and `dims` holds those that the manifest bounds, fixed ones as ranges of one size. `head` is that of such a
    model: `SequenceClassification`.
    `decompose` maps operators to True, for the rule that torch has, or to `module:attribute`, one of the user. `strict`
    is a truth value or `"auto"`, `loss` the index among the leaves of the outputs, for the IR `"joint"` alone.
    """

    model: str
    head: str | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    weights_key: str | None = None
    weights_prefix: str | None = None
    seed: int = 0
    method: str = "forward"
    dtype: str = "keep"
    mode: str = "eval"
    inputs: Mapping[str, Any] | Sequence[Any] | str = field(default_factory=dict)
    additional_inputs: tuple[Mapping[str, Any] | Sequence[Any] | str, ...] = ()
    dims: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    derived: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, Sequence[int | str] | str] = field(default_factory=dict)
    fixed: Mapping[str, int] = field(default_factory=dict)
    measured: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    strict: bool | str = False
    ir: str = "training"
    loss: int | None = None
    preserve_module_call_signature: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    decompose: Mapping[str, str | bool] = field(default_factory=dict)
    decompose_triton: bool = False
    extra_files: Mapping[str, str] = field(default_factory=dict)
    prefer_deferred_runtime_asserts: bool = False

    def data_files(self, root: Path) -> list[str]:
        """Return the files that the patterns in `data` match; see `core.options.data_files`."""
        return data_files(root, self.data)

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "head": self.head,
            "args": list(self.args),
            "kwargs": dict(self.kwargs),
            "weights": self.weights,
            "weights_key": self.weights_key,
            "weights_prefix": self.weights_prefix,
            "seed": self.seed,
            "method": self.method,
            "dtype": self.dtype,
            "mode": self.mode,
            "inputs": dict(self.inputs) if isinstance(self.inputs, Mapping) else self.inputs,
            "additional_inputs": list(self.additional_inputs),
            "dims": {name: dict(dim) for name, dim in self.dims.items()},
            "derived": dict(self.derived),
            "shapes": {path: sizes if isinstance(sizes, str) else list(sizes) for path, sizes in self.shapes.items()},
            "fixed": dict(self.fixed),
            "measured": list(self.measured),
            "env": dict(self.env),
            "data": list(self.data),
            "imports": list(self.imports),
            "strict": self.strict,
            "ir": self.ir,
            "loss": self.loss,
            "preserve_module_call_signature": list(self.preserve_module_call_signature),
            "keep": list(self.keep),
            "decompose": dict(self.decompose),
            "decompose_triton": self.decompose_triton,
            "extra_files": dict(self.extra_files),
            "prefer_deferred_runtime_asserts": self.prefer_deferred_runtime_asserts,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileSpec:
    """How to compile the exported program: `format` is package, so or none; `weights` external or embedded."""

    target: str
    format: str = "package"
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: str = "external"

    def to_json(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "format": self.format,
            "options": dict(self.options),
            "weights": self.weights,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifySpec:
    """How outputs are compared with eager ones: `samples` is corners or example; `negative` adds a call to refuse.

    A tolerance of None is that of the program's dtypes.
    """

    rtol: float | None = None
    atol: float | None = None
    samples: str = "corners"
    negative: bool = True

    def to_json(self) -> dict[str, Any]:
        return {"rtol": self.rtol, "atol": self.atol, "samples": self.samples, "negative": self.negative}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One delivery. `name` and `folder` are unique in a manifest; `timeout` is in seconds, per stage.

    `expected_failure` is the stage that is known to fail, or None. No key depends on it.
    """

    name: str
    entry: str
    target: str
    folder: str
    tags: tuple[str, ...] = ()
    timeout: float
    expected_failure: str | None = None
    export: ExportSpec
    compile: CompileSpec
    verify: VerifySpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Pools:
    """Limits for the workers; None is "auto". Memory in bytes; devices are GPU indices, () is none."""

    cpu_workers: int | None = None
    cpu_memory: int | None = None
    cuda_devices: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest, resolved. `path` is as the user gave it; `root`, its folder, and all others are absolute.

    `size_limit` is in bytes. `size_limit` and `cache_dir` are None where the manifest does not set them.
    """

    path: Path
    root: Path
    output_dir: Path
    cache_dir: Path | None
    size_limit: int | None
    pools: Pools
    jobs: tuple[Job, ...]
