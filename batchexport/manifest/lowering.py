"""Read which operators [entry.export] keeps and decomposes: each is given once, and torch must know it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from batchexport.core.text import describe, did_you_mean, quoted
from batchexport.manifest import names, readers
from batchexport.manifest.locations import KeyPath
from batchexport.manifest.readers import INVALID, Report

# Returns the names of all ATen operators, or None where they can't be told.
KnownOperators = Callable[[], Collection[str] | None]
# Where an operator is given, and its name.
Named = tuple[KeyPath, str]

OPERATORS = readers.list_of(names.operator, "operators")
_ATEN = "aten."


def rules(value: Any, path: KeyPath, say: Report) -> Any:
    """Read a table of operators, with `true` for torch's own rule or `module:attribute` for one of the user."""
    if type(value) is list and value and all(type(name) is str for name in value):
        written = ", ".join(f"{quoted(name)} = true" for name in value)
        say(path, "expected a table, found a list", f"write {{ {written} }}")
        return INVALID
    if not readers.is_table(value, path, say):
        return INVALID
    read = {name: _rule(name, rule, (*path, name), say) for name, rule in value.items()}
    return INVALID if INVALID in read.values() else read


def _rule(name: str, rule: Any, path: KeyPath, say: Report) -> Any:
    def say_of_key(path: KeyPath, message: str, hint: str | None = None, *, key: bool = True) -> None:
        say(path, message, hint, key=key)

    if type(rule) is dict and rule and name.isidentifier():
        full = quoted(f"{name}.{next(iter(rule))}")
        say(
            path,
            f"{quoted(name)} is not the name of an operator",
            f"put its whole name in quotes: {full} = …",
            key=True,
        )
        return INVALID
    if names.operator(name, path, say_of_key) is INVALID:
        return INVALID
    if rule is True or (type(rule) is str and names.is_reference(rule)):
        return rule
    if rule is False:
        say(path, "an operator that is not decomposed is not listed", "leave it out, or put it into keep")
        return INVALID
    what = f"{quoted(rule)} names no rule" if type(rule) is str else f"found {describe(rule)}"
    say(path, what, 'write true for the rule that torch has, or "module:function" for one of your own')
    return INVALID


def named_operators(export: Mapping[str, Any]) -> tuple[Named, ...]:
    """Return all operators that the keys of [entry.export] name."""
    listed = [
        (("export", key, index), name)
        for key in ("keep", "decompositions")
        for index, name in enumerate(export.get(key, ()))
    ]
    return (*listed, *((("export", "decompose", name), name) for name in export.get("decompose", {})))


def merged_rules(export: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of [entry.export] with `decompositions`, an older spelling, as part of `decompose`."""
    older = dict.fromkeys(export.get("decompositions", ()), True)
    merged = {key: value for key, value in export.items() if key != "decompositions"}
    if older or "decompose" in export:
        merged["decompose"] = {**older, **export.get("decompose", {})}
    return merged


def check_triton(export: Mapping[str, Any], say: Report) -> None:
    """Report `decompose_triton` where torch does not lower the program."""
    if export.get("decompose_triton") and export.get("ir", "training") == "training":
        message = 'ir = "training" leaves custom Triton operators whole'
        say(("export", "decompose_triton"), message, 'write ir = "inference" or ir = "core-aten"')


def check_joint(export: Mapping[str, Any], given: Collection[str], say: Report) -> None:
    """Report `ir = "joint"` without a loss or with chosen operators, and a loss without it.

    `given` are all keys, also those whose values were reported as invalid.
    """
    if "ir" in given and "ir" not in export:
        return
    if export.get("ir") != "joint":
        if "loss" in given:
            say(("export", "loss"), "only a joint program has a loss", 'write ir = "joint", or leave loss out')
        return
    if "loss" not in given:
        hint = "write loss = 0, the index of the loss among the outputs"
        say(("export", "ir"), "a joint program needs to know which output is the loss", hint)
    for key in ("keep", "decompose", "decompositions", "decompose_triton"):
        if key in given and export.get(key, True):
            message = "a joint program has the operators of core ATen IR, and torch lets none be chosen"
            say(("export", key), message, "leave it out", key=True)


def check_distinct(named: Sequence[Named], say: Report) -> None:
    """Report every operator that is kept and decomposed, or given twice; a name stands for all its overloads."""
    for index, (path, name) in enumerate(named):
        for (_, earlier_key, *_), earlier in named[:index]:
            if not _overlap(name, earlier):
                continue
            is_key = path[1] == "decompose"
            as_what = "" if earlier == name else f", as {quoted(earlier)}"
            if (earlier_key == "keep") != (path[1] == "keep"):
                say(path, f"{quoted(name)} is in keep too{as_what}", "either keep or decompose it", key=is_key)
            else:
                where = "here" if earlier_key == path[1] else f"in {earlier_key}"
                say(path, f"{quoted(name)} is given {where} already{as_what}", "keep one", key=is_key)
            break


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def check_operators(named: Sequence[Named], *, known: KnownOperators, say: Report) -> None:
    """Report every ATen operator that the installed torch does not have; other namespaces are only known to a child."""
    ours = [(path, name) for path, name in named if name.startswith(_ATEN)]
    operators = known() if ours else None
    for path, name in ours if operators else ():
        assert operators is not None
        if name not in operators:
            message = f"the installed torch has no operator {quoted(name)}"
            say(path, message, _nearest(name, operators), key=path[1] == "decompose")


def _nearest(name: str, operators: Collection[str]) -> str | None:
    packet = ".".join(name.split(".")[:2])
    overloads = [one for one in operators if one.startswith(f"{packet}.")]
    return did_you_mean(name, sorted(overloads or (one for one in operators if one.count(".") == 1)))
