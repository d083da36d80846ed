"""Sizes in shapes: whole numbers, or coefficient*name + offset. Text is parsed here, never evaluated."""

from __future__ import annotations

import importlib
import keyword
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from batchexport.core.text import quoted

LIMIT = 2**63 - 1
MAX_TEXT = 100  # also bounds how deep the parser recurses

_TOKEN = re.compile(r"\s*(?:(\d+)|([A-Za-z_]\w*)|(\*\*|//|[-+*()/%^]))", re.ASCII)
_CALL = re.compile(r"([A-Za-z_][\w.]*)\s*\(", re.ASCII)
_FRACTION = re.compile(r"\d+\.\d*|\.\d+", re.ASCII)
_FORM = 'a size is made of numbers, one dim, + - * and parentheses: "2*seq + 1"'


class ShapeError(ValueError):
    """An invalid size or dim. `key` names the part of a dim that is wrong."""

    def __init__(self, message: str, hint: str | None = None, *, key: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.key = key


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """coefficient*name + offset, with a coefficient of at least 1: the only derived sizes torch.export supports."""

    coefficient: int = 1
    name: str
    offset: int = 0

    def __str__(self) -> str:
        """Return the canonical text, which `parse_size` reads back as an equal size."""
        stem = self.name if self.coefficient == 1 else f"{self.coefficient}*{self.name}"
        return f"{stem}{self.offset:+d}" if self.offset else stem


Size = int | Affine


def is_dim_name(text: str) -> bool:
    """Return True if `text` can name a dim: an ASCII identifier that is no keyword of Python."""
    return text.isascii() and text.isidentifier() and not keyword.iskeyword(text)


@lru_cache(maxsize=4096)
def parse_size(text: str) -> Size:
    """Parse a size and simplify it: `"2*(seq + 1) - 1"` is 2*seq + 1, `"3*4"` is 12.

    Raises:
        ShapeError: if the text is not a size that torch.export can express.
    """
    if is_dim_name(text):
        return Affine(name=text)
    if len(text) > MAX_TEXT:
        raise ShapeError(f"the size is longer than {MAX_TEXT} characters", _FORM)
    form, offset = _Parser(text).whole()
    if len(form) > 1:
        names = " and ".join(form)
        raise ShapeError(f"{quoted(text)} mixes the dims {names}", 'derive a size from one dim: "2*seq + 1"')
    if abs(offset) > LIMIT or any(abs(coefficient) > LIMIT for coefficient in form.values()):
        raise ShapeError(f"{quoted(text)} is beyond 64 bits", "write smaller numbers")
    for name, coefficient in form.items():
        if coefficient < 1:
            raise ShapeError(f"{quoted(text)} shrinks as {name} grows", "a dim's factor must be 1 or more")
        return Affine(coefficient=coefficient, name=name, offset=offset)
    if offset < 0:
        raise ShapeError(f"{quoted(text)} is {offset}, and no size is negative", "write 0 or more")
    return offset


_Form = tuple[dict[str, int], int]  # coefficients by name, none of them 0, and the constant


class _Parser:
    """A recursive-descent parser of sums of products of factors; every step returns a `_Form`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = self._split()
        self.at = 0

    def whole(self) -> _Form:
        if not self.words:
            raise ShapeError("the size is empty", _FORM)
        form = self._sum()
        if self.at < len(self.words):
            raise self._unexpected(self.words[self.at])
        return form

    def _split(self) -> list[str]:
        call = _CALL.search(self.text)
        if call and not keyword.iskeyword(call[1]):
            raise self._error(f"it calls {call[1]}(…), and nothing in a manifest is evaluated")
        if fraction := _FRACTION.search(self.text):
            raise self._error(f"{fraction[0]} is not a whole number")
        words: list[str] = []
        at, end = 0, len(self.text.rstrip())
        while at < end:
            match = _TOKEN.match(self.text, at)
            if match is None:
                char = self.text[at:].lstrip()[0]
                raise self._error(f"the character {quoted(char)} has no meaning there")
            words.append(match[match.lastindex or 0])
            at = match.end()
        return words

    def _sum(self) -> _Form:
        form = self._product()
        while self._next() in ("+", "-"):
            sign = 1 if self._take() == "+" else -1
            form = _added(form, self._product(), sign)
        return form

    def _product(self) -> _Form:
        form = self._factor()
        while self._next() == "*":
            self._take()
            other = self._factor()
            if form[0] and other[0]:
                names = f"{next(iter(form[0]))} with {next(iter(other[0]))}"
                raise self._error(f"it multiplies {names}", 'multiply a dim by a number only: "2*seq"')
            scaled, (_, by) = (form, other) if form[0] else (other, form)
            form = _added(({}, 0), scaled, by)
        return form

    def _factor(self) -> _Form:
        word = self._next()
        if word in ("-", "+"):
            self._take()
            return _added(({}, 0), self._factor(), -1 if word == "-" else 1)
        if word == "(":
            self._take()
            form = self._sum()
            if self._next() == "":
                raise self._error('a "(" is not closed')
            if self._next() != ")":
                raise self._unexpected(self._next())
            self._take()
            return form
        if word.isdecimal():
            if len(word) > 18:
                raise self._error("a number is too large")
            return {}, int(self._take())
        if word and (word[0].isalpha() or word[0] == "_"):
            return self._name()
        raise self._unexpected(word)

    def _name(self) -> _Form:
        name = self._take()
        if not is_dim_name(name):
            raise self._error(f"{name} is a Python keyword", "give the dim another name")
        return {name: 1}, 0

    def _unexpected(self, word: str) -> ShapeError:
        if word == "":
            return self._error("it ends too early")
        if word in ("**", "^"):
            return self._error("there are no powers in a size")
        if word in ("/", "//", "%"):
            return self._error("there is no division in a size", 'name the part and derive the whole: "2*half"')
        if word == ")":
            return self._error('a ")" closes nothing')
        before = self.words[self.at - 1] if self.at else ""
        if before and word not in "*+-":
            return self._error(f'an operator is missing between "{before}" and "{word}"')
        return self._error(f'"{word}" stands where a number or a dim should')

    def _error(self, message: str, hint: str = _FORM) -> ShapeError:
        return ShapeError(f"{quoted(self.text)} is not a size: {message}", hint)

    def _next(self) -> str:
        return self.words[self.at] if self.at < len(self.words) else ""

    def _take(self) -> str:
        self.at += 1
        return self.words[self.at - 1]


def _added(form: _Form, other: _Form, times: int) -> _Form:
    """Return form + times*other, without names that cancel out."""
    names = dict(form[0])
    for name, coefficient in other[0].items():
        names[name] = names.get(name, 0) + times * coefficient
    return {name: value for name, value in names.items() if value}, form[1] + times * other[1]


def evaluate(size: Size, values: Mapping[str, int]) -> int:
    """Return the number that `size` is for these values of dims. Raises KeyError for a dim without one."""
    return size if isinstance(size, int) else size.coefficient * values[size.name] + size.offset


def composed(outer: Affine, inner: Affine) -> Affine:
    """Return the size that `outer` is where its dim is `inner`."""
    return Affine(
        coefficient=outer.coefficient * inner.coefficient,
        name=inner.name,
        offset=outer.coefficient * inner.offset + outer.offset,
    )


def to_sympy(size: Size) -> Any:
    """Return the sympy expression of `size`, built from objects. Imports sympy (0.4 s)."""
    sympy = importlib.import_module("sympy")  # late, for its cost; and it has no types

    if isinstance(size, int):
        return sympy.Integer(size)
    name = sympy.Symbol(size.name, integer=True)
    return sympy.Integer(size.coefficient) * name + sympy.Integer(size.offset)
