"""Make the JSON Schema of a manifest, for editors, from the readers' own tables and from docs/manifest.md.

It tells what can be told of a key alone. What depends on several keys or on files is left to the readers.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from batchexport.core.report import STAGES
from batchexport.manifest import entry, lowering, names, readers, settings, shape_spec, values
from batchexport.manifest.document import SCHEMA
from batchexport.manifest.inputs import DTYPES
from batchexport.manifest.key_docs import KeyDoc, page, read_page
from batchexport.manifest.readers import Reader

Form = dict[str, Any]
DRAFT = "http://json-schema.org/draft-07/schema#"  # the newest that taplo and its editors take

_TEXT: Form = {"type": "string", "minLength": 1}
_DATA: Form = {"type": ["string", "boolean", "number", "array", "object"]}
_NAME: Form = {"type": "string", "pattern": r"^[^./\\\s-]([^/\\]*[^/\\\s])?$"}
_TARGET: Form = {
    "anyOf": [
        {"enum": ["cpu", "cpu-avx2", "cpu-avx512", "cuda"]},
        {"type": "string", "pattern": r"^cuda-sm[1-9][0-9]{1,2}$"},
    ]
}
_WEIGHTS: Form = {"type": "string", "pattern": r"\.(safetensors|pt|pth|bin|ckpt|index\.json)$"}
_FACTORY_OR_FILE: Form = {"type": "string", "pattern": r":|\.(safetensors|pt|pth)$"}
_SIZE_OF_TENSOR: Form = {"anyOf": [{"type": "integer", "minimum": 0}, _TEXT]}
_SHAPE: Form = {"type": "array", "items": _SIZE_OF_TENSOR}
_NODE: Form = {"$ref": "#/definitions/input"}
_DIM: Form = {"$ref": "#/definitions/dim"}
_INPUTS: Form = {
    "anyOf": [
        {"type": "object", "additionalProperties": _NODE, "propertyNames": {"pattern": r"^[^\W\d]\w*$"}},
        {"type": "array", "items": _NODE},
        _FACTORY_OR_FILE,
    ]
}
_SHAPES: Form = {
    "type": "object",
    "additionalProperties": {"type": ["array", "string", "object"], "items": _SIZE_OF_TENSOR},
}
_AXES: Form = {"type": "object", "additionalProperties": {"type": ["array", "object"], "minItems": 1}}

# What each reader that is a function of its own takes; `readers.ORIGINS` tells of all others.
_FORMS: Mapping[Reader, Form] = {
    readers.string: _TEXT,
    readers.boolean: {"type": "boolean"},
    readers.tolerance: {"type": "number", "minimum": 0},
    readers.file_path: {"type": "string", "pattern": "^[^~]"},
    readers.timeout: {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, _TEXT]},
    readers.size: {"anyOf": [{"type": "integer", "minimum": 1}, _TEXT]},
    names.model: {"type": "string", "pattern": r".:.|\.pt2?$"},
    names.head: _TEXT,
    names.weights: _WEIGHTS,
    names.weights_key: _TEXT,
    names.weights_prefix: _TEXT,
    names.targets: {"type": "array", "items": _TARGET, "minItems": 1, "uniqueItems": True},
    names.operator: {"type": "string", "pattern": r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*){1,2}$"},
    settings.devices: {"type": "array", "items": {"type": "integer", "minimum": 0}, "uniqueItems": True},
    lowering.rules: {
        "type": "object",
        "additionalProperties": {"anyOf": [{"const": True}, {"type": "string", "pattern": "."}]},
    },
    values.json_list: {"type": "array", "items": _DATA},
    values.json_table: {"type": "object", "additionalProperties": _DATA},
    values.arguments: {"type": "object", "additionalProperties": _DATA, "propertyNames": {"pattern": r"^[^\W\d]\w*$"}},
    values.env: {"type": "object", "additionalProperties": {"type": "string"}},
    values.extra_files: {"type": "object", "additionalProperties": _TEXT},
    values.checkpoints: {"type": "object", "additionalProperties": _WEIGHTS, "minProperties": 1},
    values.strict: {"enum": [True, False, "auto"]},
    values.expect: {"enum": [f"fail:{stage}" for stage in STAGES]},
}
# Keys of an entry that are read once all others are known.
_LATER: Mapping[str, Form] = {
    "name": _NAME,
    "inputs": _INPUTS,
    "additional_inputs": {"type": "array", "items": _INPUTS},
    "shapes": _SHAPES,
    "dims": {"type": "object", "additionalProperties": _DIM, "propertyNames": {"pattern": r"^[A-Za-z_]\w*$"}},
    "matrix": _AXES,
}
_TENSOR: Mapping[str, Form] = {
    "shape": _SHAPE,
    "dtype": {"enum": list(DTYPES)},
    "range": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
    "value": {"type": ["number", "boolean"]},
}


def json_schema() -> Form:
    """Return the schema. Raises FileNotFoundError where the page on manifests was not installed."""
    docs = {(one.table, one.name): one for one in read_page(page())}

    def described(table: str, forms: Mapping[str, Form]) -> Form:
        return {name: _described(form, docs.get((table, name))) for name, form in forms.items()}

    def table_of(readers_: Mapping[str, Reader], title: str) -> Form:
        forms: dict[str, Form] = {}
        for name, reader in readers_.items():
            inner = _inner(reader)
            forms[name] = _LATER[name] if reader is readers.passthrough else _form(reader)
            if inner is not None:
                forms[name] = table_of(inner, f"[{_under(title, name)}]")
        return _table(described(title, forms))

    entries = table_of(entry.READERS, "[[entry]]")
    defaults = _table({name: form for name, form in entries["properties"].items() if name != "name"})
    top: dict[str, Form] = {"schema": {"const": SCHEMA}}
    top |= {name: table_of(table, f"[{name}]") for name, table in settings.TABLES.items()}
    top |= {"defaults": defaults, "entry": {"type": "array", "minItems": 1, "items": {**entries, "required": ["name"]}}}
    return {
        "$schema": DRAFT,
        "title": "batchexport manifest",
        **_table(described("Top level", top)),
        "required": ["schema", "entry"],
        "definitions": {
            "dim": _dim(described("[entry.dims]", {name: _form(one) for name, one in shape_spec.BOUNDS.items()})),
            "input": _input(described("[entry.inputs]", _TENSOR)),
        },
    }


def _under(title: str, name: str) -> str:
    return f"{title.strip('[]')}.{name}"


def _described(form: Form, doc: KeyDoc | None) -> Form:
    if doc is None:
        return form
    found: Form = {**form, "description": doc.meaning}
    if doc.default is not None:
        found["default"] = tomllib.loads(f"value = {doc.default}")["value"]
    found["examples"] = [tomllib.loads(doc.example)[doc.name]]
    return found


def _table(properties: Mapping[str, Form]) -> Form:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False}


def _inner(reader: Reader) -> Mapping[str, Reader] | None:
    """Return the readers of a table with known keys; None for any other reader."""
    by, given = readers.ORIGINS.get(reader, ("", ()))
    inner: Mapping[str, Reader] | None = given[0] if by == "table" else None
    return inner


def _form(reader: Reader) -> Form:
    """Return the form of what a reader takes."""
    if reader in _FORMS:
        return _FORMS[reader]
    by, given = readers.ORIGINS[reader]
    return _MADE[by](*given)


def _list_of(item: Reader, may_be_empty: bool) -> Form:
    return {"type": "array", "items": _form(item), "minItems": 0 if may_be_empty else 1}


def _one_of(choices: Iterable[str]) -> Form:
    return {"enum": list(choices)}


_MADE: Mapping[str, Callable[..., Form]] = {
    "integer": lambda low, high: {"type": "integer", "minimum": low, "maximum": high},
    "one_of": _one_of,
    "list_of": _list_of,
    "table_of": lambda item: {"type": "object", "additionalProperties": _form(item)},
    "auto_or": lambda reader: {"anyOf": [{"const": "auto"}, _form(reader)]},
    "dotted": lambda: {"type": "string", "pattern": r"^\w+(\.\w+)*$"},
    "table": lambda inner: _table({name: _form(one) for name, one in inner.items()}),
}


def _dim(bounds: Mapping[str, Form]) -> Form:
    """Return the form of a dim; a table of bounds may be completed by [defaults]."""
    return {"anyOf": [{"type": "integer", "minimum": 0}, _TEXT, _table(bounds)]}


def _input(tensor: Mapping[str, Form]) -> Form:
    """Return the form of an input: a tensor by its shape, or anything that holds inputs in turn."""
    holds: Form = {"type": "object", "additionalProperties": _NODE}
    return {
        "if": {"type": "object", "required": ["shape"]},
        "then": _table(tensor),
        "else": {"anyOf": [holds, {"type": "array", "items": _NODE}, {"type": ["string", "boolean", "number"]}]},
    }
