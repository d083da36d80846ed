"""Find the first operator that differs between two runs of a model, to name the place of hidden state or randomness."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from batchexport.pipeline.identity import content_digest

_FOREIGN = (str(Path(torch.__file__).parent), str(Path(__file__).parent))  # code that no model author wrote


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call of an operator: what it was given besides tensors, what it returned, and from where it was called."""

    operator: str
    given: str
    returned: tuple[str, ...]
    place: str

    def differs_from(self, other: Step) -> bool:
        return (self.operator, self.given, self.returned) != (other.operator, other.given, other.returned)


def recorded(run: Callable[[], Any]) -> list[Step]:
    """Run it and return its calls of operators. One thread computes, so that equal operators give equal bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _Recorder() as recorder:
            run()
    finally:
        torch.set_num_threads(threads)
    steps: list[Step] = recorder.steps
    return steps


def first_difference(one: Sequence[Step], other: Sequence[Step]) -> str | None:
    """Return the first operator that differs, with its place, `aten.add.Tensor (net.py, line 7)`, or None."""
    for before, after in zip(one, other, strict=False):
        if after.differs_from(before):
            return f"{after.operator} ({after.place})"
    longer = max(one, other, key=len)[min(len(one), len(other)) :]
    return f"{longer[0].operator} ({longer[0].place})" if longer else None


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.steps: list[Step] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, bool | int | float | str)]
        outputs = func(*args, **kwargs)
        returned = tuple(map(_form, pytree.tree_leaves(outputs)))
        self.steps.append(Step(operator=str(func), given=repr(given), returned=returned, place=_place()))
        return outputs


def _form(leaf: Any) -> str:
    if isinstance(leaf, torch.Tensor):
        return f"{leaf.dtype}{tuple(leaf.shape)}{content_digest(leaf) if leaf.layout is torch.strided else ''}"
    return repr(leaf)


def _place() -> str:
    """Return file and line of the innermost call that is written neither in torch nor here."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_FOREIGN):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}, line {frame.f_lineno}"
