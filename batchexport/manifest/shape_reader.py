"""Read shapes, lists of sizes, and collect the dims that they use."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from batchexport.core.sizes import LIMIT, Affine, ShapeError, Size, is_dim_name, parse_size
from batchexport.core.text import describe, number, quoted
from batchexport.manifest.locations import KeyPath
from batchexport.manifest.readers import Report


class Use(NamedTuple):
    """A use of a dim: `shape[at]` holds its text, or the number once it is known.

    `is_number`: the input is a number itself, and `shape` that of no tensor.
    """

    path: KeyPath
    size: Affine
    shape: list[int | str]
    at: int
    is_number: bool = False


class ShapeReader:
    """Reads shapes and collects the dims that they use in `uses`. Not `is_right`: a mistake was reported."""

    def __init__(self, say: Report) -> None:
        self.uses: list[Use] = []
        self.is_right = True
        self._say = say

    def say(self, path: KeyPath, message: str, hint: str | None = None, *, key: bool = False) -> None:
        self.is_right = False
        self._say(path, message, hint, key=key)

    def shape(self, value: Any, path: KeyPath) -> list[int | str]:
        if type(value) is not list:
            hint = {int: f"write [{value}]", str: f"write [{quoted(str(value))}]"}.get(type(value))
            self.say(path, f"expected a list of sizes, found {describe(value)}", hint)
            return []
        shape: list[int | str] = []
        for index, item in enumerate(value):
            if type(item) is not str:
                self._check_size(item, (*path, index))
                shape.append(item)
                continue
            try:
                size, form = _parsed(item)
            except ShapeError as error:
                self.say((*path, index), error.message, error.hint)
                size = form = 0
            shape.append(form)
            if isinstance(size, Affine):
                self.uses.append(Use((*path, index), size, shape, index))
        return shape

    def _check_size(self, value: Any, path: KeyPath) -> None:
        if type(value) is not int:
            hint = "write a whole number or the name of a dim" if type(value) is float else None
            self.say(path, f"expected a size, found {describe(value)}", hint)
        elif value < 0:
            self.say(path, f"{number(value)} is negative", 'name a dim, "batch", where a size may vary')
        elif value > LIMIT:
            self.say(path, f"{number(value)} is too large")

    def number_name(self, name: str, path: KeyPath) -> list[int | str]:
        """Read the dim that a number is; numbers are not derived from dims."""
        sizes: list[int | str] = [name]
        if is_dim_name(name):
            self.uses.append(Use(path, Affine(name=name), sizes, 0, is_number=True))
        else:
            self.say(path, f"{quoted(name)} is not the name of a dim", "no number is derived from a dim")
        return sizes


@lru_cache(maxsize=4096)
def _parsed(text: str) -> tuple[Size, int | str]:
    """Return a size and its form in a tree: a number, or the canonical text."""
    size = parse_size(text)
    return size, str(size) if isinstance(size, Affine) else size
