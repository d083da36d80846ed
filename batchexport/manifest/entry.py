"""Read the table of an entry, with defaults merged and one variant of its matrix chosen, into specs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batchexport.core.job import ExportSpec, VerifySpec
from batchexport.core.text import did_you_mean
from batchexport.manifest import lowering, names, readers, values
from batchexport.manifest.additional_inputs import read_additional_inputs
from batchexport.manifest.inputs import KEEP, MODEL_DTYPES, read_inputs
from batchexport.manifest.readers import Report
from batchexport.manifest.shape_spec import implied_dims, read_dims, resolve_dims
from batchexport.manifest.shapes import read_shapes

DEFAULT_TIMEOUT = 30 * 60.0  # seconds per stage

_strings = readers.list_of(readers.string, "strings")


_EXPORT = {
    "strict": values.strict,
    "ir": readers.one_of(("training", "inference", "core-aten", "joint")),
    "loss": readers.integer(0),
    "preserve_module_call_signature": readers.list_of(names.dotted("module"), "module names"),
    "keep": lowering.OPERATORS,
    "decompose": lowering.rules,
    "decompositions": lowering.OPERATORS,
    "decompose_triton": readers.boolean,
    "extra_files": values.extra_files,
    "prefer_deferred_runtime_asserts": readers.boolean,
}
_COMPILE = {
    "format": readers.one_of(("package", "so", "none")),
    "options": values.json_table,
    "weights": readers.one_of(("external", "embedded")),
}
_VERIFY = {
    "rtol": readers.tolerance,
    "atol": readers.tolerance,
    "samples": readers.one_of(("corners", "example")),
    "negative": readers.boolean,
}
_TABLES = {"export": _EXPORT, "compile": _COMPILE, "verify": _VERIFY}


def _table(name: str) -> readers.Reader:
    def elsewhere(key: str) -> str | None:
        near = did_you_mean(key, _TABLES[name])
        return near or (f"it belongs to the entry itself: write it above [entry.{name}]" if key in READERS else None)

    return readers.table(_TABLES[name], elsewhere)


READERS: Mapping[str, readers.Reader] = {
    "name": readers.passthrough,
    "model": names.model,
    "head": names.head,
    "args": values.json_list,
    "kwargs": values.arguments,
    "weights": names.weights,
    "weights_key": names.weights_key,
    "weights_prefix": names.weights_prefix,
    "seed": readers.integer(0),
    "method": names.dotted("method"),
    "dtype": readers.one_of(MODEL_DTYPES),
    "mode": readers.one_of(("eval", "train")),
    "tags": _strings,
    "targets": names.targets,
    "timeout": readers.timeout,
    "expect": values.expect,
    "env": values.env,
    "data": readers.list_of(readers.file_path, "paths"),
    "imports": readers.list_of(names.dotted("module"), "module names"),
    "inputs": readers.passthrough,
    "additional_inputs": readers.passthrough,
    "shapes": readers.passthrough,
    "dims": readers.passthrough,
    "export": _table("export"),
    "compile": _table("compile"),
    "verify": _table("verify"),
    "matrix": readers.passthrough,
    "checkpoints": values.checkpoints,
}
KEYS = tuple(READERS)


def _elsewhere(key: str) -> str | None:
    near = did_you_mean(key, KEYS)
    return near or next((f"it belongs in [entry.{name}]" for name, table in _TABLES.items() if key in table), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The content of one variant of an entry, except its name and what depends on the target.

    `weights` has an item (name, file) for each checkpoint, or one without a name.
    `timeout` is in seconds, per stage. `expected_failure` is a stage. `used_dims` are all names used in shapes.
    `operators` are all that the entry keeps or decomposes.
    """

    export: Mapping[str, Any]
    compile: Mapping[str, Any]
    verify: VerifySpec
    weights: tuple[tuple[str | None, str | None], ...]
    targets: tuple[str, ...]
    tags: tuple[str, ...]
    timeout: float
    expected_failure: str | None
    used_dims: frozenset[str]
    operators: tuple[lowering.Named, ...]

    def export_spec(self, weights: str | None) -> ExportSpec:
        return ExportSpec(weights=weights, **self.export)


def read_entry(table: Mapping[str, Any], own_dims: Mapping[str, Any], say: Report) -> Reading:
    """Read a variant; the result is invalid if a mistake was reported.

    `own_dims` are the dims that the entry itself declares and therefore has to use.
    """
    known = readers.read_table(table, (), say, READERS, _elsewhere)
    if "model" not in table and not any(did_you_mean(key, ("model",)) for key in table.keys() - KEYS):
        say(("model",), "missing", 'write model = "module:attribute"')
    dtype = known.get("dtype", KEEP)
    floats = "float32" if dtype == KEEP else dtype
    inputs = read_inputs(known.get("inputs", {}), floats, say)
    declared = read_dims(known.get("dims", {}), say)
    is_open = type(inputs.tree) is str
    shapes = read_shapes(known.get("shapes", {}), say)
    if shapes.sizes and not is_open and inputs.is_right:
        say(
            ("shapes",),
            "the inputs of this entry are described in [entry.inputs], and so are their shapes",
            'write the sizes there, or take the inputs from a factory: inputs = "module:factory"',
            key=True,
        )
    additional = read_additional_inputs(known.get("additional_inputs", []), inputs, floats, say)
    # If a shape is wrong, or `inputs` misspelt, it is unknown which dims it was meant to use.
    is_misspelt = "inputs" not in table and any(did_you_mean(key, ("inputs",)) for key in table.keys() - KEYS)
    own = own_dims if inputs.is_right and shapes.is_right and additional.is_right and not is_misspelt else {}
    model = known.get("model", "")
    if names.is_transformer(model) and not inputs.tree:
        shape_spec = implied_dims(declared, own.__contains__, say)
    else:
        uses = [*inputs.uses, *shapes.uses, *additional.uses]
        shape_spec = resolve_dims(declared, uses, is_open=is_open, is_own=own.__contains__, say=say)
    if "head" in table and "model" in known and not names.is_transformer(model):
        say(
            ("head",),
            "only models of transformers have a head",
            'leave it out, or write model = "transformers:bert"',
            key=True,
        )
    checkpoints = known.get("checkpoints")
    if checkpoints is not None and "weights" in table:
        say(
            ("checkpoints",),
            "an entry has either weights or checkpoints",
            "make weights one of the checkpoints",
        )
    if known.get("mode") == "train" and known.get("model", "").endswith(".pt2"):
        say(("mode",), "an archive has the mode in which it was exported", "leave mode out")
    export, compile_, verify = known.get("export", {}), known.get("compile", {}), known.get("verify", {})
    operators = lowering.named_operators(export)
    lowering.check_distinct(operators, say)
    lowering.check_triton(export, say)
    lowering.check_joint(export, table["export"] if type(table.get("export")) is dict else (), say)
    # A bare .so can't hold weights beside the code.
    if compile_.get("format") == "so" and compile_.setdefault("weights", "embedded") == "external":
        say(
            ("compile", "weights"),
            'the format "so" has its weights inside',
            'write "embedded", or format = "package"',
        )
    if compile_.get("format") == "none" and known.get("expect") == "compile":
        say(
            ("expect",),
            'the format "none" leaves the compile stage out, so it can\'t fail there',
            'write "fail:export" or "fail:verify", or another format',
        )
    return Reading(
        export={
            "model": model,
            "head": known.get("head"),
            "args": tuple(known.get("args", ())),
            "kwargs": known.get("kwargs", {}),
            "weights_key": known.get("weights_key"),
            "weights_prefix": known.get("weights_prefix"),
            "seed": known.get("seed", 0),
            "method": known.get("method", "forward"),
            "dtype": dtype,
            "mode": known.get("mode", "eval"),
            "inputs": inputs.tree,
            "additional_inputs": additional.trees,
            "shapes": shapes.sizes,
            "dims": shape_spec.dims,
            "derived": shape_spec.derived,
            "fixed": shape_spec.fixed,
            "measured": shape_spec.measured,
            "env": known.get("env", {}),
            "data": known.get("data", ()),
            "imports": known.get("imports", ()),
            **lowering.merged_rules(export),
        },
        compile=compile_,
        verify=VerifySpec(**verify),
        weights=tuple(checkpoints.items()) if checkpoints else ((None, known.get("weights")),),
        targets=known.get("targets", ("cpu",)),
        tags=known.get("tags", ()),
        timeout=known.get("timeout", DEFAULT_TIMEOUT),
        expected_failure=known.get("expect"),
        used_dims=shape_spec.used,
        operators=operators,
    )
