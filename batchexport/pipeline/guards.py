"""Read the guards in torch's messages as predicates over sizes. Nothing of them is evaluated as Python."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

_MAX_TEXT = 2000  # also bounds how deep the parser recurses
_SIZE = re.compile(r"L(?:\[(?:'[^']*'|\"[^\"]*\"|\d+)\]|\.(?!size\()\w+)+(?:\.size\(\)\[\d+\])?")
_Value = Callable[[Mapping[str, int]], Any]

_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv, ast.Div: operator.truediv, ast.Mod: operator.mod,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_,
}  # fmt: skip
_CALLS: dict[str, Callable[..., Any]] = {"max": max, "min": min, "abs": abs}


KNOWN_CALLS = frozenset(_CALLS)


class UnknownGuardError(ValueError):
    """A guard made of other things than sizes, numbers and their arithmetic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A guard over `sources`, torch's names of the sizes that it is about: `L['x'].size()[0]`."""

    sources: frozenset[str]
    _value: _Value

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Return whether the guard is true for these sizes, given by source; a division by 0 makes it false."""
        try:
            return bool(self._value(sizes))
        except ZeroDivisionError:
            return False


def parse_guard(text: str, known: Collection[str]) -> Guard:
    """Read a guard over these known sources.

    A plain `2 <= size` is left out: torch has it of every size whose example is at least 2, and does not hold to it.

    Raises UnknownGuardError.
    """
    if len(text) > _MAX_TEXT:
        raise UnknownGuardError("the guard is too long")
    sources: dict[str, str] = {}  # by the identifier that stands for each

    def named(match: re.Match[str]) -> str:
        if match[0] not in known:
            raise UnknownGuardError(f"{match[0]} is no size of an input")
        sources[f"size_{len(sources)}"] = match[0]
        return f"size_{len(sources) - 1}"

    try:
        tree = ast.parse(_SIZE.sub(named, text).strip(), mode="eval")
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise UnknownGuardError("the guard is no expression") from error
    return Guard(sources=frozenset(sources.values()), _value=_value(tree.body, sources))


def _value(node: ast.AST, sources: Mapping[str, str]) -> _Value:
    if isinstance(node, ast.Constant) and type(node.value) in (int, bool):
        number = node.value
        return lambda sizes: number
    if isinstance(node, ast.Name) and node.id in sources:
        source = sources[node.id]
        return lambda sizes: sizes[source]
    if isinstance(node, ast.BoolOp):
        together = all if isinstance(node.op, ast.And) else any
        parts = [_value(one, sources) for one in node.values]
        return lambda sizes: together(part(sizes) for part in parts)
    if isinstance(node, ast.Compare):
        return _comparison(node, sources)
    if isinstance(node, ast.BinOp | ast.UnaryOp | ast.Call):
        return _operation(node, sources)
    raise UnknownGuardError(f"{type(node).__name__} has no meaning in a guard")


def _operation(node: ast.BinOp | ast.UnaryOp | ast.Call, sources: Mapping[str, str]) -> _Value:
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) and not node.keywords else ""
        function, given = _CALLS.get(name), node.args
    elif isinstance(node, ast.BinOp):
        function, given = _OPERATORS.get(type(node.op)), [node.left, node.right]
    else:
        function, given = _OPERATORS.get(type(node.op)), [node.operand]
    if function is None:
        raise UnknownGuardError(f"{ast.unparse(node)} has no meaning in a guard")
    apply, parts = function, [_value(one, sources) for one in given]
    return lambda sizes: apply(*(part(sizes) for part in parts))


def _comparison(node: ast.Compare, sources: Mapping[str, str]) -> _Value:
    left, right = node.left, node.comparators[-1]
    is_plain = isinstance(left, ast.Constant) and left.value == 2 and isinstance(right, ast.Name)
    if is_plain and len(node.ops) == 1 and isinstance(node.ops[0], ast.LtE):
        return lambda sizes: True
    values = [_value(one, sources) for one in (left, *node.comparators)]
    compare = []
    for one in node.ops:
        if type(one) not in _OPERATORS:
            raise UnknownGuardError(f"{ast.unparse(node)} has no meaning in a guard")
        compare.append(_OPERATORS[type(one)])
    return lambda sizes: all(
        holds(before(sizes), after(sizes)) for holds, before, after in zip(compare, values, values[1:], strict=False)
    )
