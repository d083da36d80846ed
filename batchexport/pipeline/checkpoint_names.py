"""Find the state_dict in a checkpoint: where it is nested, and which prefix its names have."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from batchexport.core.text import quoted
from batchexport.pipeline.failure import of_type

_USUAL = "state_dict"  # is found without a key
_DEPTH = 8  # of nested tables that are searched for a state_dict
_WIDTH = 10_000  # of one level of them
_MOST = 32  # places that are tried
_PREFIXES = 3  # that are tried for one state_dict

_SAVE = "save a state_dict, with torch.save(model.state_dict(), …)"

State = OrderedDict[str, Any]


class Unfit(Exception):
    """The file has no such state_dict, or the model does not take it. `str()` says why."""

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """`weights_key`, the dotted path of a nested state_dict, and `weights_prefix`, which is taken off its names."""

    key: str | None
    prefix: str | None

    def of(self, content: Any) -> State:
        """Return the state_dict that is meant. Raises Unfit where there is none."""
        found = content
        if self.key is not None:
            places = list(_nested(content, self.key))
            if not places:
                raise Unfit(f"there is no {quoted(self.key)} in it", _listed(content))
            found = places[0]
        elif isinstance(content, Mapping) and isinstance(content.get(_USUAL), Mapping):
            found = content[_USUAL]
        where = "it" if self.key is None else quoted(self.key)
        if not isinstance(found, Mapping):
            raise Unfit(f"{where} is {of_type(found)}, not a state_dict", _SAVE)
        odd = next((name for name in found if not isinstance(name, str)), None)
        if odd is not None:
            raise Unfit(f"{where} is no state_dict: the name {odd!r} is {of_type(odd)}, not text", _SAVE)
        state = OrderedDict(found)
        metadata = getattr(found, "_metadata", None)
        metadata = metadata if isinstance(metadata, Mapping) else {}
        if self.prefix is not None:
            state, metadata = _without(state, self.prefix), _modules_without(metadata, self.prefix)
        if metadata:  # versions of modules, by which torch knows the names of old
            state._metadata = metadata  # type: ignore[attr-defined]
        return state

    def lines(self, given: Selection, entry: str) -> str:
        """Return what to write in the manifest, in place of what is `given` there."""
        written, removed = [], []
        for name, value, before in (("key", self.key, given.key), ("prefix", self.prefix, given.prefix)):
            if value is None and before is not None:
                removed.append(f"weights_{name}")
            elif value != before:
                written.append(f"weights_{name} = {quoted(value or '', limit=400)}")
        where = f"[[entry]]{f' {entry}' if entry else ''}"
        if not written:
            return f"remove {' and '.join(removed)} from {where}"
        return f"write {' and '.join(written)} in {where}" + "".join(f", and remove {name} there" for name in removed)

    def described(self) -> str:
        """Return where the state_dict is and how its names begin, for a message."""
        where = "" if self.key is None else f"the state_dict is nested under {quoted(self.key)}"
        begin = "" if self.prefix is None else f"its names begin with {quoted(self.prefix)}"
        return " and ".join(filter(None, (where, begin))) or "the state_dict is neither nested nor prefixed"


def better_selections(
    content: Any, own: Collection[str], problems: Callable[[State], int], now: int
) -> list[Selection]:
    """Return the selections with the fewest problems, if these are less than `now`; they differ in their keys.

    `own` are the names of the model's state; `problems` counts the names that are missing or not in the model.
    """
    best: list[Selection] = []
    without_any, depth = problems(State()), 0
    for key, table in _state_dicts(content):
        choices = [Selection(key=key, prefix=prefix) for prefix in (None, *_prefixes(table, own))]
        counted = [(problems(choice.of(content)), choice) for choice in choices if _is_possible(choice, content)]
        count, choice = min(counted, key=lambda one: one[0])
        if count >= without_any + len(table):  # not one name was found: it is the state_dict of something else
            continue
        if count and choice == Selection(key=None, prefix=None):  # no reason to remove what the manifest says
            continue
        if count < now:
            best, now, depth = [choice], count, (key or "").count(".")
        elif best and count == now and (key or "").count(".") == depth:
            best.append(choice)
    return best


def _is_possible(choice: Selection, content: Any) -> bool:
    try:
        choice.of(content)
    except Unfit:
        return False
    return True


def _nested(content: Any, key: str) -> Iterator[Any]:
    """Yield what lies under a dotted path; names in the file may themselves hold dots."""
    if not isinstance(content, Mapping):
        return
    if key in content:
        yield content[key]
    for at in (at for at, char in enumerate(key) if char == "."):
        yield from _nested(content.get(key[:at]), key[at + 1 :])


def _listed(content: Any) -> str | None:
    if not isinstance(content, Mapping):
        return None
    names = [quoted(str(name)) for name in content]
    return f"it holds {', '.join(names[:8])}{', …' if len(names) > 8 else ''}"


def _without(state: State, prefix: str) -> State:
    if not any(name.startswith(prefix) for name in state):
        raise Unfit(f"no name begins with {quoted(prefix)}")
    shorter = OrderedDict((name.removeprefix(prefix), value) for name, value in state.items())
    if len(shorter) < len(state):
        twice = next(name for name in state if prefix + name in state)
        raise Unfit(f"without {quoted(prefix)}, two names are {twice!r}")
    return shorter


def _modules_without(metadata: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return what is stored of each module, under its name without the prefix; the wrapper's gives way."""
    kept = {name: about for name, about in metadata.items() if not f"{name}.".startswith(prefix)}
    inner = {f"{name}."[len(prefix) :].removesuffix("."): metadata[name] for name in metadata.keys() - kept.keys()}
    return kept | inner


def _state_dicts(content: Any) -> list[tuple[str | None, Mapping[str, Any]]]:
    """Return the tables that hold tensors by name, outer ones first, each with its dotted path."""
    found: list[tuple[str | None, Mapping[str, Any]]] = []
    level: list[tuple[str | None, Any]] = [(None, content)]
    for _ in range(_DEPTH):
        tables = [(path, table) for path, table in level if isinstance(table, Mapping)]
        tables = [(path, table) for path, table in tables if all(isinstance(name, str) for name in table)]
        found += [one for one in tables if any(isinstance(value, torch.Tensor) for value in one[1].values())]
        level = [
            (name if path is None else f"{path}.{name}", value)
            for path, table in tables
            for name, value in table.items()
            if _can_be_written(name)
        ][:_WIDTH]
    return found[:_MOST]


def _can_be_written(name: str) -> bool:
    """Return True if the manifest takes a name as a part of `weights_key`."""
    return name.isprintable() and all(part and part == part.strip() for part in name.split("."))


def _prefixes(state: Collection[str], own: Collection[str]) -> list[str]:
    """Return the prefixes of most names that come before names of the model, and those that all names have in common.

    A prefix of fewer is a part of another model, say, and strict loading takes no part of a file.
    """
    names = set(own)
    counts: Counter[str] = Counter()
    for name in state:
        for at in (at for at, char in enumerate(name, start=1) if char == "."):
            if name[at:] in names:
                counts[name[:at]] += 1
    likely = [prefix for prefix, _ in counts.most_common(_PREFIXES)]
    likely = [prefix for prefix in likely if 2 * sum(name.startswith(prefix) for name in state) > len(state)]
    # Names that torch's own hooks translate match none of the model's.
    first, last = min(state, default=""), max(state, default="")
    common = [first[: at + 1] for at, char in enumerate(first) if char == "." and last.startswith(first[: at + 1])]
    return list(dict.fromkeys([*likely, *common[:_PREFIXES]]))
