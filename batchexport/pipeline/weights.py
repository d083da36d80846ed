"""Load the weights of an entry into its model as torch's own strict `load_state_dict` does, and refuse losses."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from batchexport.pipeline.checkpoint import INDEX, read_checkpoint
from batchexport.pipeline.checkpoint_names import Selection, State, Unfit, better_selections
from batchexport.pipeline.failure import Kind, StageFailure, classified, of_type, one_line
from batchexport.pipeline.identity import content_digest

_SHARD = re.compile(r"-\d{5}-of-\d{5}(\.\w+)$")
_MODEL_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)  # that the manifest takes as `dtype`
_TENSORS = (torch.Tensor, nn.Parameter)
_REMEDY = "save the checkpoint from this architecture"

Cast = tuple[str, torch.dtype, torch.dtype]  # the name of a tensor, its dtype in the file and in the model


def load_weights(model: nn.Module, spec: Mapping[str, Any], root: str, entry: str) -> None:
    """Load the file `spec["weights"]`: every name, shape and dtype must match, and the failure names the tensor.

    A name may be missing if it is tied to a loaded tensor: safetensors keeps one name of a group. Floating-point values
    are cast if `spec["dtype"]` names a dtype; the log tells which.
    Raises StageFailure of kind weights, whose remedy are lines for the table of `entry`.
    """
    file = os.path.basename(spec["weights"])
    content = read_checkpoint(os.path.join(root, spec["weights"]))
    given = Selection(key=spec["weights_key"], prefix=spec["weights_prefix"])
    if spec["weights"].endswith((".safetensors", INDEX)):
        given = Selection(key=None, prefix=given.prefix)  # they nest nothing
    try:
        casts = _load(model, given.of(content))
        _check_casts(casts, spec["dtype"], entry)
    except Unfit as problem:
        message, remedy = _advice(model, content, given, entry, problem)
        whole = _SHARD.sub(r"\1" + INDEX, spec["weights"])
        if whole != spec["weights"] and os.path.isfile(os.path.join(root, whole)):
            remedy = f"it is one shard of several: write {json.dumps(whole, ensure_ascii=False)} in its place"
        raise StageFailure(Kind.WEIGHTS, f"{file}: {message}", remedy) from problem
    if casts:
        sys.stdout.write(f"cast from {file}: {', '.join(map(_shown, casts))}\n")


def _load(model: nn.Module, given: State) -> list[Cast]:
    """Load a state_dict strictly; return what was cast. Raises Unfit, or StageFailure of kind oom."""
    own: dict[str, Any] = model.state_dict(keep_vars=True)
    _check_tied(own, given)
    state = given.copy()
    if hasattr(given, "_metadata"):
        state._metadata = given._metadata  # type: ignore[attr-defined]
    state.update({name: own[name] for name in _filled_by_ties(own, given)})  # copied onto themselves
    try:
        model.load_state_dict(state, strict=True)
    except Exception as error:
        failure = classified(error, Kind.WEIGHTS, "loading it")
        if failure.kind is not Kind.WEIGHTS:
            raise failure from error
        raise _refusal(model, own, state, one_line(error)) from error
    return list(_casts(own, given))


def _casts(own: Mapping[str, Any], given: State) -> Iterator[Cast]:
    """Yield what a strict load of these names has cast.

    A name that is not in the model is one that a hook has translated, to one that is not in the file, or dropped.
    """
    others = {value.dtype for name, value in own.items() if name not in given and isinstance(value, torch.Tensor)}
    for name, value in given.items():
        if not isinstance(value, torch.Tensor):
            continue
        alike = {dtype for dtype in others if dtype.is_floating_point == value.is_floating_point()}
        wanted = {own[name].dtype} if isinstance(own.get(name), torch.Tensor) else alike
        if wanted and value.dtype not in wanted:
            yield name, value.dtype, min(wanted, key=str)


def _region(value: Any) -> tuple[int, int]:
    """Return the address and the element count of a tensor of a model; zeros where it has no address of its own."""
    if type(value) not in _TENSORS or value.layout is not torch.strided or not value.data_ptr():
        return 0, 0
    return value.data_ptr(), value.numel()


def _filled_by_ties(own: Mapping[str, Any], given: State) -> list[str]:
    """Return the names that are not in the file and whose tensors begin a tensor that is, or are that tensor."""
    loaded: dict[int, int] = {}
    for address, count in (_region(own[name]) for name in own.keys() & given.keys()):
        loaded[address] = max(count, loaded.get(address, 0))
    regions = {name: _region(tensor) for name, tensor in own.items() if name not in given}
    return [name for name, (address, count) in regions.items() if 0 < count <= loaded.get(address, 0)]


def _check_tied(own: Mapping[str, Any], given: State) -> None:
    """Raise Unfit if the file has two values for one tensor of the model, of which torch would keep the last."""
    first: dict[Any, str] = {}
    for name, tensor in own.items():
        value: Any = given.get(name)
        if type(value) not in _TENSORS or _region(tensor) == (0, 0) or value.shape != tensor.shape:
            continue
        other = first.setdefault((_region(tensor), tensor.shape, tensor.stride()), name)
        if other != name and len({content_digest(one.to(tensor.dtype)) for one in (given[other], value)}) > 1:
            raise Unfit(f"the tensors {other!r} and {name!r} differ; in the model they are one")


def _refusal(model: nn.Module, own: Mapping[str, Any], state: State, words: str) -> Unfit:
    """Return why a model refused a state_dict, in torch's own `words` where that is not due to names or shapes."""
    missing, unexpected = _incompatible(model, state) or ([], [])
    problems = []
    for name in sorted(unexpected):
        kind = "tensor" if isinstance(state.get(name), torch.Tensor | None) else f"{of_type(state[name])} named"
        problems.append(f"{kind} {name!r} is not in the model")
    problems += [f"tensor {name!r} is missing" for name in sorted(missing)]
    for name in sorted(own.keys() & state.keys()):
        have, want = state[name], own[name]
        both = isinstance(have, torch.Tensor) and isinstance(want, torch.Tensor) and not is_lazy(want)
        if both and have.shape != want.shape and (have.numel() != 1 or want.shape):  # once, scalars had a dim
            problems.append(f"tensor {name!r} has shape {list(have.shape)}, the model has {list(want.shape)}")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    only_more = unexpected and len(unexpected) == len(problems)
    return Unfit((problems or [words])[0] + more, "save only what this architecture has" if only_more else None)


def _incompatible(model: nn.Module, state: State) -> tuple[list[str], list[str]] | None:
    """Return the names that are missing and those that are not in the model, as torch finds them, or None.

    None stands for anything else that is wrong. The model's values are lost, as it is not built any further.
    """
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except Exception:
        return None
    return list(missing), list(unexpected)


def _advice(model: nn.Module, content: Any, given: Selection, entry: str, problem: Unfit) -> tuple[str, str]:
    """Return a message and a remedy: another key or prefix where that suits the model better."""
    own = model.state_dict(keep_vars=True).keys()

    def problems(state: State) -> int:
        found = _incompatible(model, state)
        return len(own ^ state.keys()) if found is None else len(found[0]) + len(found[1])

    try:
        now = problems(given.of(content))
    except Unfit:
        now = sys.maxsize
    better = better_selections(content, own, problems, now)
    if not better:
        return str(problem), problem.remedy or _REMEDY
    message = better[0].described()
    if better[0].key == given.key:
        message += f": {problem}"
    return message, "; or ".join(choice.lines(given, entry) for choice in better[:3])


def _check_casts(casts: list[Cast], dtype: str, entry: str) -> None:
    """Raise Unfit if values are cast although `dtype` does not ask for it: it does for floating-point values."""
    floating = [have.is_floating_point and want.is_floating_point for _, have, want in casts]
    wrong = [cast for cast, both in zip(casts, floating, strict=True) if dtype == "keep" or not both]
    if not wrong:
        return
    name, have, want = wrong[0]
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    remedy = None
    if all(floating):
        where = f"[[entry]]{f' {entry}' if entry else ''}"
        remedy = f'write dtype = "{plain(want)}" in {where} to cast the values'
        if have in _MODEL_DTYPES:
            remedy += f', or dtype = "{plain(have)}" to cast the model'
    raise Unfit(f"tensor {name!r} has dtype {plain(have)}, the model has {plain(want)}{more}", remedy)


def _shown(cast: Cast) -> str:
    name, have, want = cast
    return f"{name} ({plain(have)} to {plain(want)})"


def plain(dtype: torch.dtype) -> str:
    """Return the name of a dtype: "float32" for `torch.float32`."""
    return str(dtype).removeprefix("torch.")
