"""Read the types and heads of transformers from its source, which importing would take seconds."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = os.path.join("transformers", "models", "auto")
_CONFIGS = ("auto_mappings.py", "configuration_auto.py")
_MODELS = "modeling_auto.py"
_TYPES = "CONFIG_MAPPING_NAMES"
_HEAD = "AutoModelFor"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerTypes:
    """The types of models, and for each head those that have it; `""` stands for the model without a head."""

    types: frozenset[str]
    heads: Mapping[str, frozenset[str]]


@cache
def transformer_types(path: tuple[str, ...]) -> TransformerTypes | None:
    """Return what the transformers that is found on an import path has.

    Returns None where there is none, or its source is of another form than is known here, so that nothing of a later
    version is refused by mistake. Takes 0.1 s.
    """
    folder = next((one for entry in path if os.path.isdir(one := os.path.join(entry, _FOLDER))), None)
    if folder is None:
        return None
    try:
        configs = [Path(folder, name).read_text(encoding="utf-8") for name in _CONFIGS if Path(folder, name).exists()]
        return types_in(configs, Path(folder, _MODELS).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError, RecursionError):
        return None


def types_in(configs: Iterable[str], models: str) -> TransformerTypes | None:
    """Return what the sources of transformers' tables say; None if that can't be told."""
    classes: dict[str, str] = {}
    for source in configs:
        for statement in ast.parse(source).body:
            if _names(statement, _TYPES):
                classes |= _items(statement, {})
    tables: dict[str, dict[str, str]] = {}
    mappings: dict[str, str] = {}
    found: dict[str, set[str]] = {}
    for statement in ast.parse(models).body:
        match statement:
            case ast.Assign(
                targets=[ast.Name(id=name)],
                value=ast.Call(func=ast.Name(id="_LazyAutoMapping"), args=[_, ast.Name(id=table)]),
            ):
                mappings[name] = table
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=ast.Name(id="OrderedDict"))):
                tables[name] = _items(statement, tables)
            case ast.ClassDef(name=name, body=body) if name == "AutoModel" or name.startswith(_HEAD):
                head = "" if name == "AutoModel" else name.removeprefix(_HEAD)
                found[head] = set(tables.get(mappings.get(_mapping_of(body), ""), ()))
            case _:
                pass
    if not classes or not found.get("") or not all(found.values()):
        return None
    return TransformerTypes(
        types=frozenset(classes), heads={head: _all_of(types, classes) for head, types in found.items()}
    )


def _all_of(types: set[str], classes: Mapping[str, str]) -> frozenset[str]:
    """Return the types and those that share a configuration class with one of them: a model is found by that class."""
    shared = {classes[one] for one in types if one in classes}
    return frozenset(types) | {one for one, name in classes.items() if name in shared}


def _mapping_of(body: Iterable[ast.stmt]) -> str:
    for statement in body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="_model_mapping")], value=ast.Name(id=mapping)):
                return mapping
            case _:
                pass
    return ""


def _names(statement: ast.stmt, table: str) -> bool:
    """Return whether a statement assigns a table or calls one of its methods."""
    match statement:
        case (
            ast.Assign(targets=[ast.Name(id=name)])
            | ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name))))
        ):
            return name == table
        case _:
            return False


def _items(statement: ast.stmt, tables: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the items that a statement puts into a table: pairs in a list, those of a dict or of another table."""
    return dict(_pairs(statement, tables))


def _pairs(node: ast.AST, tables: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Tuple(elts=[ast.Constant(value=str(key)), value]):
            yield key, _text(value)
        case ast.Dict(keys=keys, values=values):
            for one, value in zip(keys, values, strict=True):
                if isinstance(one, ast.Constant) and isinstance(one.value, str):
                    yield one.value, _text(value)
        case ast.Name(id=name):
            yield from tables.get(name, {}).items()
        case _:
            for child in ast.iter_child_nodes(node):
                yield from _pairs(child, tables)


def _text(value: ast.expr) -> str:
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""
