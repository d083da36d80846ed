"""Read [entry.shapes]: the dims of inputs that come from a factory or a file, by their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from batchexport.core.input_paths import input_path, parse_input_path
from batchexport.core.text import describe, quoted
from batchexport.manifest import readers
from batchexport.manifest.locations import KeyPath
from batchexport.manifest.readers import Report
from batchexport.manifest.shape_reader import ShapeReader, Use


class Shapes(NamedTuple):
    """`sizes`: those of a tensor in a list, the dim of a number as text, by path. Not `is_right`: see `Inputs`."""

    sizes: dict[str, list[int | str] | str]
    uses: list[Use]
    is_right: bool


def read_shapes(value: Any, say: Report) -> Shapes:
    """Read [entry.shapes]. Paths are canonical in what is returned."""
    reader = ShapeReader(say)
    sizes: dict[str, list[int | str] | str] = {}
    if not readers.is_table(value, ("shapes",), say):
        return Shapes({}, [], False)
    for text, item, place in _leaves(value, "", ("shapes",)):
        parts = parse_input_path(text)
        if parts is None:
            reader.say(place, f"{quoted(text)} is no path to an input", _path_hint(text), key=True)
            continue
        path = input_path(parts)
        if path in sizes:
            reader.say(place, f"{path} is listed twice", "keep one", key=True)
        elif type(item) is str:
            (sizes[path],) = map(str, reader.number_name(item, place))
        elif type(item) is list:
            sizes[path] = reader.shape(item, place)
        else:
            found, name = describe(item), f"{quoted(text)}" if text != parts[0] else text
            hint = f'write {name} = ["batch", 3], or {name} = "n" for a number'
            reader.say(place, f"expected a list of sizes, or the dim of a number, found {found}", hint)
    return Shapes(sizes, reader.uses, reader.is_right)


def _leaves(table: Mapping[str, Any], before: str, where: KeyPath) -> Iterator[tuple[str, Any, KeyPath]]:
    """Yield the shapes, written as `"state.h" = […]` or as `state.h = […]`, a nested table to TOML."""
    for key, item in table.items():
        text = f"{before}.{key}" if before else key
        if type(item) is dict and item:
            yield from _leaves(item, text, (*where, key))
        else:
            yield text, item, (*where, key)


def _path_hint(text: str) -> str:
    parts = [part for part in text.replace("[", ".").replace("]", "").split(".") if part]
    better = parts[0] + "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in parts[1:]) if parts else ""
    example = better if parse_input_path(better) else "state.h"
    return f"write {quoted(example)}" if example == better else 'write "x", "state.h" or "xs[0]"'
