"""Check the type and head of a transformers model: the installed transformers must have them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from batchexport.core.text import did_you_mean, listing, quoted
from batchexport.manifest import names
from batchexport.manifest.readers import Report


class Types(Protocol):
    """The types of models, and for each head those that have it; `""` stands for the model without a head."""

    @property
    def types(self) -> Collection[str]: ...

    @property
    def heads(self) -> Mapping[str, Collection[str]]: ...


# Returns the types that transformers has, or None where they can't be told.
KnownTypes = Callable[[], Types | None]


def check_type(export: Mapping[str, Any], known: KnownTypes, say: Report) -> None:
    """Report a type or a head that transformers has not; modules under `imports` may register further types."""
    if not names.is_transformer(export["model"]) or export["imports"]:
        return
    found = known()
    if found is None:
        return
    name, head = export["model"].partition(":")[2], export["head"] or ""
    if name not in found.types:
        near = did_you_mean(name, sorted(found.types))
        say(("model",), f"transformers has no type {quoted(name)}", near)
    elif head not in found.heads:
        near = did_you_mean(head, sorted(found.heads))
        say(("head",), f"transformers has no head {quoted(head)}", near or _known(found.heads))
    elif name not in found.heads[head]:
        own = {one: types for one, types in found.heads.items() if name in types}
        if head:
            say(("head",), f"{quoted(name)} has no head {quoted(head)}", did_you_mean(head, sorted(own)) or _known(own))
        else:
            say(("model",), f"{quoted(name)} has no model without a head", _known(own))


def _known(heads: Mapping[str, Collection[str]]) -> str | None:
    known = sorted(head for head in heads if head)
    return f"write head = {quoted(known[0])}, or one of {listing(known[1:])}" if known[1:] else _only(known)


def _only(known: Collection[str]) -> str | None:
    return next((f"write head = {quoted(head)}" for head in known), None)
