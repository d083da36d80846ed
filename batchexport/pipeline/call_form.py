"""Bind the inputs of a manifest to the parameters of a model: which are passed by position, and which by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from batchexport.pipeline.build import misspelt_keyword
from batchexport.pipeline.failure import Kind, StageFailure

Call = tuple[tuple[Any, ...], dict[str, Any]]  # what is passed by position, and what by name
Given = Mapping[str, Any] | Sequence[Any]  # the inputs by name of the parameter, or in the order of the parameters

_Parameter = inspect.Parameter
_BY_POSITION = (_Parameter.POSITIONAL_ONLY, _Parameter.POSITIONAL_OR_KEYWORD)
_BY_NAME = (_Parameter.POSITIONAL_OR_KEYWORD, _Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallForm:
    """How a model is called.

    `args` names what is passed by position (an item of `*xs` is `xs[0]`), `kwargs` what is passed by name, both in the
    order in which the model is given them. `positions` names what could be passed by position, in that order. Of inputs
    by name, those in `leading` go by position, and behind them the items of `star`.
    """

    args: tuple[str, ...]
    kwargs: tuple[str, ...]
    positions: tuple[str, ...]
    leading: tuple[str, ...] = ()
    star: str | None = None

    def call(self, given: Given) -> Call:
        """Arrange inputs, or what stands for each of them, as the model takes them."""
        if not isinstance(given, Mapping):
            return tuple(given), {}
        items = given[self.star] if self.star else ()
        by_position = {*self.leading, self.star}
        kwargs = {name: value for name, value in given.items() if name not in by_position}
        return (*(given[name] for name in self.leading), *items), kwargs

    def to_json(self) -> dict[str, Any]:
        """Return what a caller of an artifact has to know."""
        return {"args": list(self.args), "kwargs": list(self.kwargs), "positions": list(self.positions)}


def call_form(model: nn.Module, given: Given) -> CallForm:
    """Return how to pass `given` to `model`.

    Raises StageFailure of kind inputs if they do not fit the parameters, with the most similar name.
    """
    binding = _Binding(name=type(model).__name__, parameters=inspect.signature(model.forward).parameters)
    if not isinstance(given, Mapping):
        return binding.of_list(given)
    positional = {one.name for one in binding.of_kind(_Parameter.POSITIONAL_ONLY, _Parameter.VAR_POSITIONAL)}
    swallowed = misspelt_keyword(model.forward, [name for name in given if name not in positional])
    if swallowed is not None:
        raise StageFailure(Kind.INPUTS, f"{binding.name} would ignore the input {swallowed[0]!r}", swallowed[1])
    return binding.of_table(given)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Binding:
    """The parameters of a model, and what a message calls it."""

    name: str
    parameters: Mapping[str, inspect.Parameter]

    def of_kind(self, *kinds: Any) -> list[inspect.Parameter]:
        return [one for one in self.parameters.values() if one.kind in kinds]

    def of_list(self, given: Sequence[Any]) -> CallForm:
        by_position = [one.name for one in self.of_kind(*_BY_POSITION)]
        star = next((one.name for one in self.of_kind(_Parameter.VAR_POSITIONAL)), None)
        if len(given) > len(by_position) and star is None:
            taken = f"{len(by_position)} inputs by position" if by_position else "no input by position"
            raise StageFailure(
                Kind.INPUTS,
                f"{self.name} takes {taken}, and the manifest gives {len(given)}",
                "write a table of inputs: what has a name goes by that name" if self.of_kind(*_BY_NAME) else None,
            )
        names = by_position[: len(given)]
        self._refuse_missing(names, is_list=True)
        args = (*names, *(f"{star}[{index}]" for index in range(len(given) - len(names))))
        return CallForm(args=args, kwargs=(), positions=args)

    def of_table(self, given: Mapping[str, Any]) -> CallForm:
        self._refuse_unknown(given)
        self._refuse_missing(given, is_list=False)
        star = next((one.name for one in self.of_kind(_Parameter.VAR_POSITIONAL) if one.name in given), None)
        items = () if star is None else self._items(star, given[star])
        # Python has no other way to pass items of *xs than behind every parameter before them.
        first = self.of_kind(*_BY_POSITION) if items else self.of_kind(_Parameter.POSITIONAL_ONLY)
        leading = [one.name for one in first]
        while leading and not items and leading[-1] not in given:
            leading.pop()
        for name in leading:
            if name not in given:
                behind = star if items else leading[-1]
                message = f"{self.name} takes {behind} by position, behind {name}, which the manifest does not give"
                raise StageFailure(Kind.INPUTS, message, f"add {name} to [entry.inputs]")
        args = (*leading, *(f"{star}[{index}]" for index in range(len(items))))
        kwargs = tuple(name for name in given if name not in leading and name != star)
        return CallForm(
            args=args, kwargs=kwargs, positions=self._positions(args, kwargs), leading=tuple(leading), star=star
        )

    def _positions(self, args: Sequence[str], kwargs: Sequence[str]) -> tuple[str, ...]:
        """Return `args`, and behind them what may be passed by position too: up to the first parameter left out."""
        found = list(args)
        for one in self.of_kind(*_BY_POSITION)[len(args) :]:
            if one.name not in kwargs:
                break
            found.append(one.name)
        return tuple(found)

    def _items(self, star: str, value: Any) -> Sequence[Any]:
        if isinstance(value, list | tuple):
            return value
        message = f"{self.name} takes {star} as *{star}, and the manifest gives one value"
        raise StageFailure(Kind.INPUTS, message, f"write a list of what it takes: {star} = [ … ]")

    def _refuse_unknown(self, given: Mapping[str, Any]) -> None:
        rest = next((one.name for one in self.of_kind(_Parameter.VAR_KEYWORD)), None)
        if rest is not None and isinstance(given.get(rest), Mapping):
            message = f"{self.name} takes {rest} as **{rest}, which are inputs of their own"
            raise StageFailure(Kind.INPUTS, message, f"write what is in {rest} beside the other inputs")
        known = [one.name for one in self.parameters.values() if one.kind is not _Parameter.VAR_KEYWORD]
        for name in given:
            if name not in known and rest is None:
                near = difflib.get_close_matches(name, known, n=1)
                raise StageFailure(
                    Kind.INPUTS,
                    f"{self.name} takes no input {name!r}; it takes {', '.join(known) or 'none'}",
                    f"did you mean {near[0]!r}?" if near else "rename it in [entry.inputs]",
                )

    def _refuse_missing(self, given: Any, *, is_list: bool) -> None:
        for one in self.of_kind(*_BY_POSITION, _Parameter.KEYWORD_ONLY):
            if one.name in given or one.default is not _Parameter.empty:
                continue
            remedy = f"add {one.name} to {'the list of inputs' if is_list else '[entry.inputs]'}"
            if is_list and one.kind is _Parameter.KEYWORD_ONLY:
                remedy = f"it takes {one.name} by name only: write a table of inputs by name"
            message = f"{self.name} needs the input {one.name!r}, which the manifest does not give"
            raise StageFailure(Kind.INPUTS, message, remedy)
