"""Check that the class of a model has the method that an entry names, where its source alone is certain to tell.

Nothing is imported. Wherever a class could have the method for another reason, the build decides.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from batchexport.core.text import did_you_mean, quoted
from batchexport.manifest.readers import Report

# What code can give a class attributes with that its body does not show.
_DYNAMIC = frozenset(
    ["setattr", "exec", "eval", "vars", "globals", "locals", "__dict__", "__getattr__", "__getattribute__",
     "__init_subclass__", "__new__", "__class__", "__setattr__", "update_wrapper"]
)  # fmt: skip
# The public attributes of nn.Module; a test compares them with torch's.
OF_EVERY_MODULE = frozenset(
    ["T_destination", "add_module", "apply", "bfloat16", "buffers", "call_super_init", "children", "compile", "cpu",
     "cuda", "double", "dump_patches", "eval", "extra_repr", "float", "forward", "get_buffer", "get_extra_state",
     "get_parameter", "get_submodule", "half", "ipu", "load_state_dict", "modules", "mtia", "named_buffers",
     "named_children", "named_modules", "named_parameters", "parameters", "register_backward_hook", "register_buffer",
     "register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook",
     "register_full_backward_pre_hook", "register_load_state_dict_post_hook", "register_load_state_dict_pre_hook",
     "register_module", "register_parameter", "register_state_dict_post_hook", "register_state_dict_pre_hook",
     "requires_grad_", "set_extra_state", "set_submodule", "share_memory", "state_dict", "to", "to_empty", "train",
     "training", "type", "xpu", "zero_grad"]
)  # fmt: skip


def check_method(export: Mapping[str, Any], root: Path, say: Report) -> None:
    """Report a method that the class of the model is certain not to have, with the most similar one that it has."""
    method, (module, _, name) = export["method"], export["model"].partition(":")
    is_decidable = name.isidentifier() and method.isidentifier() and not export["imports"]
    if not is_decidable or method in OF_EVERY_MODULE or method.startswith("__"):
        return
    found = _methods(root, module, name, method)
    if found is not None and method not in found:
        public = sorted(one for one in found if not one.startswith("_"))
        say(("method",), f"{name} has no method {quoted(method)}", did_you_mean(method, public))


class _Undecided(Exception):
    """The source does not tell."""


def _methods(root: Path, module: str, name: str, method: str) -> set[str] | None:
    """Return what a class and its bases define; None where the source does not tell whether `method` is among it."""
    try:
        return _defined(_file(root, module), root, name, method, ())
    except _Undecided:
        return None


def _file(root: Path, module: str) -> Path:
    path = root.joinpath(*module.split("."))
    found = [one for one in (path / "__init__.py", path.with_suffix(".py")) if one.is_file()]
    if len(found) != 1 or list(path.parent.glob(f"{path.name}.*.so")):
        raise _Undecided
    return found[0]


def _defined(file: Path, root: Path, name: str, method: str, inside: tuple[tuple[Path, str], ...]) -> set[str]:
    source = _source(file)
    if source is None or source.bound.get(name, 0) != 1 or (file, name) in inside:
        raise _Undecided
    if method in source.mentioned or method in source.imported or source.mentioned & _DYNAMIC:
        raise _Undecided
    definition = source.classes.get(name)
    if definition is None:
        if name not in source.imported:
            raise _Undecided
        module, original = source.imported[name]
        return _defined(_file(root, _absolute(module, file, root)), root, original, method, (*inside, (file, name)))
    if definition.decorator_list or definition.keywords:
        raise _Undecided
    own = {one.name for one in definition.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
    for base in definition.bases:
        if not _is_nn_module(base, source):
            if not isinstance(base, ast.Name):
                raise _Undecided
            own |= _defined(file, root, base.id, method, (*inside, (file, name)))
    return own


def _absolute(module: str, file: Path, root: Path) -> str:
    """Return the name of a module as imported in `file`: `.layers` is one beside it."""
    dots = len(module) - len(module.lstrip("."))
    if not dots:
        return module
    folder = file.parent
    for _ in range(dots - 1):
        folder = folder.parent
    if not folder.is_relative_to(root):
        raise _Undecided
    return ".".join([*folder.relative_to(root).parts, *filter(None, [module.lstrip(".")])])


def _is_nn_module(base: ast.expr, source: _Source) -> bool:
    """Return True for `nn.Module`, `torch.nn.Module` and `Module`, if these are torch's."""
    text = ast.unparse(base)
    return (
        (text == "nn.Module" and source.imported.get("nn") == ("torch", "nn"))
        or (text == "torch.nn.Module" and source.imported.get("torch") == ("torch", ""))
        or (text == "Module" and source.imported.get("Module") == ("torch.nn", "Module"))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """The classes at the top of a file, what it imports (module and name), and how often it binds each name.

    `mentioned` are all names and texts that occur in it, those of definitions only if they are in `_DYNAMIC`.
    """

    classes: Mapping[str, ast.ClassDef]
    imported: Mapping[str, tuple[str, str]]
    bound: Mapping[str, int]
    mentioned: frozenset[str]


def _source(file: Path) -> _Source | None:
    """Read a file; None if it can't be parsed, or imports everything of a module."""
    try:
        now = file.stat()
        return _parsed(file, now.st_mtime_ns, now.st_size)
    except (OSError, ValueError, SyntaxError, RecursionError):
        return None


@lru_cache(maxsize=256)  # entries with other methods of one model
def _parsed(file: Path, modified: int, size: int) -> _Source | None:
    tree = ast.parse(file.read_bytes())
    imported: dict[str, tuple[str, str]] = {}
    bound: dict[str, int] = {}
    for name, origin in _bindings(tree):
        bound[name] = bound.get(name, 0) + 1
        if origin is not None:
            imported[name] = origin
    if "*" in bound:
        return None
    return _Source(
        classes={one.name: one for one in tree.body if isinstance(one, ast.ClassDef)},
        imported=imported,
        bound=bound,
        mentioned=frozenset(_mentioned(tree)),
    )


def _bindings(tree: ast.Module) -> Iterator[tuple[str, tuple[str, str] | None]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                is_whole = one.asname is None and "." not in one.name
                outer, _, inner = one.name.rpartition(".")
                yield one.asname or one.name.partition(".")[0], (one.name, "") if is_whole else (outer, inner)
        elif isinstance(node, ast.ImportFrom):
            for one in node.names:
                yield one.asname or one.name, ("." * node.level + (node.module or ""), one.name)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, None
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id, None


def _mentioned(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name in _DYNAMIC:
            yield node.name
