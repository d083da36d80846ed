"""Read the inputs of an entry into a tree of tagged nodes, so that tensors, tables and scalars are never confused."""

from __future__ import annotations

import keyword
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from batchexport.core.sizes import LIMIT
from batchexport.core.text import describe, did_you_mean, listing, number, quoted
from batchexport.manifest import names, readers
from batchexport.manifest.locations import KeyPath
from batchexport.manifest.readers import INVALID, MAX_DEPTH, Report
from batchexport.manifest.shape_reader import ShapeReader, Use

FLOATS = ("float32", "float64", "float16", "bfloat16")
KEEP = "keep"  # the dtypes that the model's author chose
MODEL_DTYPES = (KEEP, *FLOATS)
COMPLEX = ("complex64", "complex128")
INTEGERS = {
    "int8": (-(2**7), 2**7 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint8": (0, 2**8 - 1),
}
DTYPES = (*FLOATS, *INTEGERS, "bool", *COMPLEX)
DIM_KEYS = ("min", "max", "example", "multiple_of")
_TENSOR_KEYS = ("shape", "dtype", "range", "value")
_dtype = readers.one_of(DTYPES)


class Inputs(NamedTuple):
    """`tree`: nodes by parameter name or in the order of the parameters, or the text of a factory or file.

    Not `is_right`: a mistake was reported.
    """

    tree: dict[str, Any] | list[Any] | str
    uses: list[Use]
    is_right: bool


def read_inputs(value: Any, dtype: str, say: Report, path: KeyPath = ("inputs",)) -> Inputs:
    """Read [entry.inputs], or others at another path.

    `dtype` is used for tensors without one. Sizes that name a dim are canonical text in the tree.
    """
    if type(value) is str:
        source = names.inputs_source(value, path, say)
        return Inputs("" if source is INVALID else source, [], source is not INVALID)
    if type(value) not in (dict, list):
        say(path, f"expected a table, a list, or a factory or file in quotes, found {describe(value)}")
        return Inputs({}, [], False)
    reader = _TreeReader(dtype, say)
    if not isinstance(value, dict):
        return Inputs(reader.nodes(value, path, 1), reader.uses, reader.is_right)
    tree: dict[str, Any] = {}
    for name, item in value.items():
        if not name.isidentifier() or keyword.iskeyword(name):
            reader.say((*path, name), f"{quoted(name)} can't be the name of a parameter", key=True)
        tree[name] = reader.node(item, (*path, name), 1)
    return Inputs(tree, reader.uses, reader.is_right)


class _TreeReader(ShapeReader):
    """Reads one tree and collects the dims that its shapes use in `uses`."""

    def __init__(self, dtype: str, say: Report) -> None:
        super().__init__(say)
        self.dtype = dtype

    def node(self, value: Any, path: KeyPath, depth: int) -> dict[str, Any] | None:
        kind = type(value)
        if kind is dict and "shape" in value:
            return {"tensor": self.tensor(value, path)}
        if kind is not dict and kind is not list:
            return {"value": None if value == "none" else readers.plain_data(value, path, self.say)}
        if depth > MAX_DEPTH:
            self.say(path, f"nested more than {MAX_DEPTH} deep")
            return None
        if kind is list:
            return {"list": self.nodes(value, path, depth + 1)}
        return self.form(value)(value, path, depth)

    def form(self, table: dict[str, Any]) -> Callable[[dict[str, Any], KeyPath, int], dict[str, Any] | None]:
        """Return the reader for what a table stands for, by its keys: a dict, unless they say otherwise."""
        if type(table.get("tuple")) is list or table.keys() == {"tuple"}:
            return self.tuple
        if type(table.get("dim")) is str and table.keys() <= {"dim", *DIM_KEYS}:
            return self.number
        if type(table.get("type")) is str and ("fields" in table or ":" in table["type"]):
            return self.object
        return self.table

    def table(self, table: dict[str, Any], path: KeyPath, depth: int) -> dict[str, Any] | None:
        if _lacks_shape(table):
            near = (f'did you mean "shape" by {quoted(key)}?' for key in table if did_you_mean(key, ("shape",)))
            hint = next(near, 'write shape = ["batch", 3], or shape = []')
            self.say(path, "this looks like a tensor without a shape", hint)
            return None
        return {"table": {key: self.node(item, (*path, key), depth + 1) for key, item in table.items()}}

    def tuple(self, table: dict[str, Any], path: KeyPath, depth: int) -> dict[str, Any] | None:
        self.known_keys(table, path, ("tuple",), "a tuple is written { tuple = [ … ] }")
        if type(table["tuple"]) is not list:
            self.say(path, f"expected a list, found {describe(table['tuple'])}", "write { tuple = [ … ] }")
            return None
        return {"tuple": self.nodes(table["tuple"], (*path, "tuple"), depth + 1)}

    def nodes(self, items: list[Any], path: KeyPath, depth: int) -> list[Any]:
        return [self.node(item, (*path, index), depth) for index, item in enumerate(items)]

    def known_keys(self, table: dict[str, Any], path: KeyPath, known: Sequence[str], otherwise: str) -> None:
        for key in table:
            if key not in known:
                self.say((*path, key), "unknown key", did_you_mean(key, known) or otherwise, key=True)

    def number(self, table: dict[str, Any], path: KeyPath, _depth: int) -> dict[str, Any]:
        """Read a number that varies; its range stands in [entry.dims]."""
        name = table["dim"]
        for key in table.keys() - {"dim"}:
            self.say((*path, key), "unknown key", f"write it in [entry.dims]: {name} = {{ {key} = … }}", key=True)
        return {"dim": self.number_name(name, (*path, "dim"))}

    def object(self, table: dict[str, Any], path: KeyPath, depth: int) -> dict[str, Any]:
        """Read an instance of a dataclass or a named tuple."""
        self.known_keys(table, path, ("type", "fields"), "what it holds goes into fields")
        reference, fields = table["type"], table.get("fields")
        if not names.is_reference(reference):
            self.say((*path, "type"), f"{quoted(reference)} is not a class", 'write "module:Class"')
        if type(fields) is not dict:
            found = "missing" if fields is None else f"expected a table, found {describe(fields)}"
            if fields is not None or not any(did_you_mean(key, ("fields",)) for key in table):
                self.say((*path, "fields"), found, "write fields = { name = … }")
            fields = {}
        read = {name: self.node(item, (*path, "fields", name), depth + 1) for name, item in fields.items()}
        return {"object": {"type": reference, "fields": read}}

    def tensor(self, table: dict[str, Any], path: KeyPath) -> dict[str, Any]:
        say = self.say
        self.known_keys(table, path, _TENSOR_KEYS, f"a tensor has {listing(_TENSOR_KEYS)}")
        dtype: Any = _dtype(table["dtype"], (*path, "dtype"), say) if "dtype" in table else self.dtype
        shape = self.shape(table["shape"], (*path, "shape"))
        bounds, value = table.get("range"), table.get("value")
        if bounds is not None and value is not None:
            say((*path, "range"), "a tensor has either a range or a value", "keep one of them")
        elif dtype is not INVALID:
            if bounds is not None:
                bounds = _range(bounds, (*path, "range"), say, dtype)
            if value is not None:
                value = _fill(value, (*path, "value"), say, dtype)
        return {"shape": shape, "dtype": dtype, "range": bounds, "value": value}


def _lacks_shape(table: dict[str, Any]) -> bool:
    """Return True if a table can only be meant as a tensor."""
    dtype, bounds = table.get("dtype"), table.get("range")
    is_range = type(bounds) is list and table.keys() <= set(_TENSOR_KEYS)
    return is_range or (type(dtype) is str and dtype in DTYPES)


def _range(value: Any, path: KeyPath, say: Report, dtype: str) -> Any:
    if dtype == "bool" or dtype in COMPLEX:
        say(path, f"a {dtype} tensor has no range", "leave it out, or give a value")
        return None
    if type(value) is not list or len(value) != 2:
        what = f"a list of {len(value)}" if type(value) is list else describe(value)
        say(path, f"expected [low, high], found {what}")
        return None
    ends = [_number(end, (*path, index), say, dtype, above=index) for index, end in enumerate(value)]
    if INVALID in ends:
        return None
    if ends[0] >= ends[1]:
        upper = ", which is not in it" if dtype in INTEGERS else ""
        say(path, f"the range [{number(value[0])}, {number(value[1])}] is empty",
            f"write the smaller end first, then the larger{upper}")  # fmt: skip
        return None
    return ends


def _fill(value: Any, path: KeyPath, say: Report, dtype: str) -> Any:
    if dtype != "bool":
        return _number(value, path, say, dtype)
    if type(value) is bool:
        return value
    hint = "write true or false" if value in (0, 1) else None
    say(path, f"a bool tensor can't be filled with {describe(value)}", hint)
    return None


def _number(value: Any, path: KeyPath, say: Report, dtype: str, above: int = 0) -> Any:
    """Read an int for integer tensors, else a finite float. `above` 1 allows one more than the dtype's largest."""
    if type(value) not in (int, float):
        hint = f"write {int(value)}" if type(value) is bool else None
        say(path, f"expected a number, found {describe(value)}", hint)
        return INVALID
    if dtype not in INTEGERS:
        if -LIMIT <= value <= LIMIT or abs(value) <= 1.7e308:
            return float(value)
        hint = "write a number" if math.isnan(value) else "write a large number in its place, such as -1e30"
        say(path, f"{number(value)} is not a finite number", hint)
        return INVALID
    low, high = INTEGERS[dtype]
    if type(value) is float:
        say(path, f"{number(value)} does not fit {dtype}", "write a whole number")
        return INVALID
    if not low <= value <= min(high + above, LIMIT):
        say(path, f"{number(value)} does not fit {dtype}", f"write {low} to {high}")
        return INVALID
    return value
