"""Write fixes into the text of a manifest, keeping its comments and order.

The fixes are applied to the plain tables too, and the new text must give exactly these: what the TOML writer gets wrong
is not written.
"""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tomlkit
from tomlkit.items import AoT, Array, InlineTable, Table

from batchexport.core.dims import Dim, make_dim
from batchexport.core.edits import AppliedFix, Edit
from batchexport.core.errors import ManifestError
from batchexport.core.text import quoted
from batchexport.manifest.agreement import NotWrittenError, agreed
from batchexport.manifest.document import parse
from batchexport.manifest.locations import KeyPath, line_of, shown, source_lines
from batchexport.manifest.matrix import leaves
from batchexport.manifest.resolve import resolve, with_defaults

_BOM = "\ufeff"


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedManifest:
    """The new text of a manifest, what was changed, and a line for each entry whose fix is not written."""

    text: str
    fixes: tuple[AppliedFix, ...]
    refused: tuple[str, ...]


def fixed(text: str, wanted: Mapping[str, Mapping[str, Sequence[Edit]]]) -> FixedManifest:
    """Write fixes into the text of a valid manifest; `wanted` are edits by entry and by job."""
    edits: dict[str, tuple[Edit, ...]] = {}
    refused: dict[str, str] = {}
    for entry, by_job in wanted.items():
        try:
            edits[entry] = agreed(by_job)
        except NotWrittenError as problem:
            refused[entry] = str(problem)
    before = _tables(text)
    done: list[KeyPath] = []
    # All at once, as it takes a second to read a large manifest; where one is refused, one after the other.
    for group in [edits], [{entry: some} for entry, some in edits.items()]:
        refused_now: dict[str, str] = {}
        for some in group:
            try:
                text, paths = _with_edits(text, some)
            except NotWrittenError as problem:
                refused_now |= dict.fromkeys(some, str(problem))
            else:
                done += paths
        if not refused_now:
            break
    refused |= refused_now
    lines, after = source_lines(text), _tables(text)
    return FixedManifest(
        text=text,
        fixes=tuple(_applied_fix(path, before, after, line_of(lines, path)) for path in dict.fromkeys(done)),
        refused=tuple(f"the fix of entry {quoted(entry)} is not written: {why}" for entry, why in refused.items()),
    )


def _with_edits(text: str, edits: Mapping[str, Sequence[Edit]]) -> tuple[str, list[KeyPath]]:
    """Return the text with edits of entries, and the paths that they change. Raises NotWrittenError."""
    tables = _tables(text)
    steps = [step for entry, some in edits.items() for step in _steps(tables, entry, some)]
    removed = {str(edit.path[1]) for some in edits.values() for edit in some if edit.value is None}
    unused = removed & tables.get("defaults", {}).get("dims", {}).keys()
    # A dim of the defaults that no entry uses any more is a mistake, and one that another entry uses is needed.
    for more in [], [(("defaults", "dims", name), None) for name in sorted(unused)]:
        try:
            return _written(text, [*steps, *more]), [path for path, _ in [*steps, *more]]
        except ManifestError as error:
            problem = error.problems[0]
    raise NotWrittenError(f"the manifest would not be valid ({problem.message}); paste the remedy")


def _steps(tables: dict[str, Any], entry: str, edits: Sequence[Edit]) -> list[tuple[KeyPath, Any]]:
    """Return the values to write for the edits of an entry, by their paths from the top. Raises NotWrittenError."""
    index = next(at for at, raw in enumerate(tables["entry"]) if raw["name"] == entry)
    raw, defaults = copy.deepcopy(tables["entry"][index]), tables.get("defaults", {})
    axes = [keys for keys, _, _ in leaves(with_defaults(defaults, raw).get("matrix", {}), (), ())]
    steps: list[tuple[KeyPath, Any]] = []
    for edit in edits:
        for keys in axes:
            shared = min(len(keys), len(edit.path))
            if keys[:shared] == edit.path[:shared]:
                raise NotWrittenError(f"its matrix sets {'.'.join(keys)}; paste the remedy there")
        for path, value in _placed(edit, raw, with_defaults(defaults, raw), defaults):
            if _at(raw, path) != value:
                _set(raw, path, value)
                steps.append((("entry", index, *path), value))
    return steps


def _placed(
    edit: Edit, raw: Mapping[str, Any], whole: Mapping[str, Any], defaults: Mapping[str, Any]
) -> Iterator[tuple[KeyPath, Any]]:
    """Yield where an edit goes in the entry's own tables, and the value there; `whole` is the entry with defaults."""
    path, value = edit.path, edit.value
    if value is None:
        if _at(raw, path) is not None:
            yield path, None
        return
    own = next(length for length in range(len(path), -1, -1) if length == 0 or _at(raw, path[:length]) is not None)
    first_item = next((at for at in range(own, len(path)) if isinstance(path[at], int)), None)
    if first_item is not None:  # in a list of the defaults, of which the entry gets a copy
        whole_list = copy.deepcopy(_at(whole, path[:first_item]))
        _set(whole_list, path[first_item:], value)
        path, value = path[:first_item], whole_list
    elif path[0] == "dims" and isinstance(value, dict):
        value = _over(_at(defaults, path), str(path[1]), value)
    yield path, value


def _over(default: Any, name: str, value: dict[str, int]) -> dict[str, int]:
    """Return the value of a dim with what it needs to stand above that of [defaults], key by key."""
    chosen = make_dim(name, value)
    known = {"multiple_of": 1, **({"example": chosen.example} if isinstance(chosen, Dim) else {})}
    kept = default if isinstance(default, dict) else {}
    return {**value, **{key: known[key] for key in known if key in kept and key not in value}}


def _written(text: str, steps: Sequence[tuple[KeyPath, Any]]) -> str:
    """Return the text of a manifest after these steps. Raises NotWrittenError, ManifestError."""
    tables = _tables(text)
    for path, value in steps:
        _set(tables, path, value)
    mark, body = text[: text.startswith(_BOM)], text.removeprefix(_BOM)
    try:
        document = tomlkit.parse(body)
        for path, value in steps:
            _write(document, path, value)
        new = document.as_string()
        as_meant = tomllib.loads(new) == tables
    except Exception as problem:
        raise NotWrittenError(f"{type(problem).__name__} in tomlkit; paste the remedy") from problem
    if not as_meant:
        raise NotWrittenError("tomlkit can't write it there; paste the remedy")
    if "\r\n" in body:
        new = new.replace("\r\n", "\n").replace("\n", "\r\n")
    resolve(parse(new, "manifest"))
    return mark + new


def _write(document: Any, path: KeyPath, value: Any) -> None:
    """Take one step in tomlkit's document."""
    node = document
    for depth, key in enumerate(path[:-1]):
        if isinstance(key, str) and key not in node:
            node[key] = tomlkit.inline_table() if isinstance(node, InlineTable) else _new_table(document, path[:depth])
        node = node[key]
    last: Any = path[-1]
    if value is None:
        del node[last]
        return
    old = node[last] if isinstance(node, Array) else node.get(last)
    if isinstance(value, dict) and isinstance(old, Table):
        for key in [key for key in old if key not in value]:
            del old[key]
        for key, inner in value.items():
            if old.get(key) != inner:
                old[key] = inner
        return
    node[last] = tomlkit.value(toml_value(value))


def _new_table(document: Any, path: KeyPath) -> Table:
    """Return a table to add below `path`, with an empty line after it where another entry follows."""
    table: Table = tomlkit.table()
    entries = document["entry"]
    if len(path) > 1 and isinstance(entries, AoT) and path[1] != len(entries) - 1:
        table.add(tomlkit.nl())
    return table


def _tables(text: str) -> dict[str, Any]:
    return tomllib.loads(text.removeprefix(_BOM))


def _at(tree: Any, path: KeyPath) -> Any:
    """Return the value at `path`, or None; TOML has none of its own."""
    for key in path:
        if isinstance(key, int):
            tree = tree[key] if isinstance(tree, list) and key < len(tree) else None
        else:
            tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _set(tree: Any, path: KeyPath, value: Any) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {}) if isinstance(key, str) else tree[key]
    if value is None:
        del tree[path[-1]]
    else:
        tree[path[-1]] = value


def toml_value(value: Any) -> str:
    """Return a value as TOML in one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{shown((key,))} = {toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, str):  # JSON's escapes are TOML's, but for DEL, and for pairs of surrogates
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _applied_fix(path: KeyPath, before: Any, after: Any, line: int) -> AppliedFix:
    values = [_at(tables, path) for tables in (before, after)]
    old, new = (None if value is None else toml_value(value) for value in values)
    is_entry = path[0] == "entry"
    entry = str(_at(after, (*path[:2], "name"))) if is_entry else ""
    return AppliedFix(line=line, entry=entry, key=shown(path[2:] if is_entry else path), before=old, after=new)
