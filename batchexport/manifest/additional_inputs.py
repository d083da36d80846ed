"""Read additional_inputs: more example calls, in the structure of the inputs, whose other sizes make dims dynamic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from batchexport.core.text import describe, did_you_mean, quoted
from batchexport.manifest.inputs import Inputs, read_inputs
from batchexport.manifest.locations import KeyPath
from batchexport.manifest.readers import Report
from batchexport.manifest.shape_reader import Use

_KINDS = {"tensor": "a tensor", "list": "a list", "tuple": "a tuple", "table": "a table", "object": "an instance",
          "dim": "a number that varies", "value": "a value"}  # fmt: skip


class AdditionalInputs(NamedTuple):
    """`trees`: as those of `Inputs`, in the same order of names. Not `is_right`: a mistake was reported."""

    trees: tuple[Any, ...]
    uses: list[Use]
    is_right: bool


def read_additional_inputs(value: Any, inputs: Inputs, dtype: str, say: Report) -> AdditionalInputs:
    """Read the list of additional inputs and compare each with `inputs`; only sizes and whole numbers may differ."""
    path: KeyPath = ("additional_inputs",)
    if type(value) is not list:
        say(path, f"expected a list of inputs, found {describe(value)}", "write [ { x = { shape = [5, 3] } } ]")
        return AdditionalInputs((), [], False)
    trees: list[Any] = []
    uses: list[Use] = []
    is_right = True
    for index, item in enumerate(value):
        read = read_inputs(item, dtype, say, (*path, index))
        uses += read.uses
        is_right &= read.is_right
        if read.is_right and inputs.is_right:
            trees.append(_Matching(say).inputs(read.tree, inputs.tree, (*path, index)))
    return AdditionalInputs(tuple(trees), uses, is_right)


class _Matching:
    """Compares a tree with that of the inputs, and gives its tables the order of names that those have there."""

    def __init__(self, say: Report) -> None:
        self._say = say

    def inputs(self, tree: Any, like: Any, path: KeyPath) -> Any:
        if type(tree) is not type(like):
            message = f"this is {_form(tree)}, and inputs is {_form(like)}"
            self._say(path, message, "write all inputs in one way")
            return tree
        return tree if isinstance(tree, str) else self._children(tree, like, path)

    def _children(self, tree: Any, like: Any, path: KeyPath) -> Any:
        """Return a table or list of nodes in the order of those of the inputs."""
        if isinstance(like, list):
            if len(tree) != len(like):
                self._say(path, f"the length is {len(tree)}, and {len(like)} in inputs", "write as many items")
                return tree
            return [self._node(*pair, (*path, index)) for index, pair in enumerate(zip(tree, like, strict=True))]
        for name in tree:
            if name not in like:
                hint = did_you_mean(name, like) or "every call has the same inputs"
                self._say((*path, name), f"inputs has no {quoted(name)}", hint, key=True)
        for name in like:
            if name not in tree and not any(did_you_mean(other, (name,)) for other in tree):
                self._say(path, f"{quoted(name)} is missing", "every call has the same inputs")
        return {name: self._node(tree[name], like[name], (*path, name)) for name in like if name in tree}

    def _node(self, node: Mapping[str, Any], like: Mapping[str, Any], path: KeyPath) -> Any:
        ((kind, inner),), ((wanted, other),) = node.items(), like.items()
        if kind != wanted and not (wanted == "dim" and type(node.get("value")) is int):
            self._say(path, f"this is {_KINDS[kind]}, and {_KINDS[wanted]} in inputs", "every call has the same inputs")
            return node
        compare: dict[str, Callable[[Any, Any, KeyPath], Any]] = {
            "tensor": self._tensor, "object": self._object, "value": self._value, "dim": self._same,
        }  # fmt: skip
        if kind == wanted:
            inner = compare.get(kind, self._children)(inner, other, (*path, kind) if kind == "tuple" else path)
        return {kind: inner}

    def _same(self, value: Any, _other: Any, _path: KeyPath) -> Any:
        return value

    def _value(self, value: Any, other: Any, path: KeyPath) -> Any:
        if type(value) is not type(other) or (type(value) is not int and value != other):
            message = f"this is {_told(value)}, and {_told(other)} in inputs"
            self._say(path, message, "only sizes and whole numbers may differ between calls")
        return value

    def _tensor(self, tensor: Any, other: Any, path: KeyPath) -> Any:
        here, there = len(tensor["shape"]), len(other["shape"])
        if here != there:
            self._say((*path, "shape"), f"the number of sizes is {here}, and {there} in inputs", "write as many")
        if tensor["dtype"] != other["dtype"]:
            message = f"this is {tensor['dtype']}, and {other['dtype']} in inputs"
            self._say((*path, "dtype"), message, "every call has the same dtypes")
        return tensor

    def _object(self, one: Any, other: Any, path: KeyPath) -> Any:
        if one["type"] != other["type"]:
            message = f"this is {quoted(one['type'])}, and {quoted(other['type'])} in inputs"
            self._say((*path, "type"), message, "every call has the same types")
        return {**one, "fields": self._children(one["fields"], other["fields"], (*path, "fields"))}


def _form(tree: Any) -> str:
    return "a factory or file" if isinstance(tree, str) else "a table" if isinstance(tree, dict) else "a list"


def _told(value: Any) -> str:
    return '"none"' if value is None else describe(value)
