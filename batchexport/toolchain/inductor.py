"""Read the names of Inductor's options from the source of the installed torch, which importing would take seconds."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_SOURCE = os.path.join("torch", "_inductor", "config.py")
_INHERITS = "inherit_fields_from"


@cache
def option_names(path: tuple[str, ...]) -> frozenset[str] | None:
    """Return the options of the torch that is found on an import path: `max_autotune`, `cpp.threads`, and so on.

    Returns None where there is no torch, or its source is of another form than is known here, so that an option of a
    later torch is not refused by mistake. Takes 20 ms.
    """
    found = next((file for entry in path if os.path.isfile(file := os.path.join(entry, _SOURCE))), None)
    try:
        return None if found is None else names_in(Path(found).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError, RecursionError):
        return None


def names_in(source: str) -> frozenset[str] | None:
    """Return the names that torch's `install_config_module` makes options of; None if that can't be told."""
    try:
        names = _members(ast.parse(source).body, {})
    except _UnknownForm:
        return None
    options = frozenset(name for name in names if not name.rpartition(".")[2].startswith("__"))
    return options or None


class _UnknownForm(Exception):
    """A class gets its fields in a way that is not known here."""


def _members(body: list[ast.stmt], classes: dict[str, set[str]]) -> set[str]:
    """Return the names that statements assign, those in classes after the name of the class and a dot."""
    found: set[str] = set()
    for statement in _statements(body):
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets: list[ast.expr] = [statement.target]
        else:
            targets = statement.targets if isinstance(statement, ast.Assign) else []
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
        if isinstance(statement, ast.ClassDef):
            own = _members(statement.body, {})
            classes[statement.name] = own | _inherited(statement, classes)
            found |= {f"{statement.name}.{name}" for name in classes[statement.name]}
    return found


def _inherited(statement: ast.ClassDef, classes: dict[str, set[str]]) -> set[str]:
    """Return what `@inherit_fields_from(parent)` copies. torch itself doesn't look at the bases of a class."""
    found: set[str] = set()
    for decorator in statement.decorator_list:
        match decorator:
            case ast.Call(func=ast.Name(id=called), args=[ast.Name(id=parent)]) if called == _INHERITS:
                if parent not in classes:
                    raise _UnknownForm(parent)
                found |= {name for name in classes[parent] if not name.startswith("_")}
            case _:
                raise _UnknownForm(statement.name)
    return found


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield statements and, in their place, those of every branch of an `if` or `try`."""
    for statement in body:
        if isinstance(statement, ast.If):
            yield from _statements([*statement.body, *statement.orelse])
        elif isinstance(statement, ast.Try):
            handlers = [one for handler in statement.handlers for one in handler.body]
            yield from _statements([*statement.body, *handlers, *statement.orelse, *statement.finalbody])
        else:
            yield statement
