"""Remember a model as it was built, tell what its calls changed, and undo it.

Contents are compared, as batch norm in train mode, `max_norm` and writes through `.data` change no version counter.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

_OF_TORCH = frozenset(vars(nn.Module()))  # hooks, buffers and the like, which are no state that model code keeps


class ModelState:
    """The tensors and attributes of a model, by content, when this was made."""

    def __init__(self, model: nn.Module) -> None:
        """Copy all tensors of `model`, which takes as much memory as they do."""
        self._model = model
        self._modules = [(name, module, type(module)) for name, module in model.named_modules()]
        self._attributes = [dict(vars(module)) for _, module, _ in self._modules]
        self._registered = [(dict(module._parameters), dict(module._buffers)) for _, module, _ in self._modules]
        self._containers = [
            (name, value, elements)
            for name, value in self._own_attributes()
            if (elements := _elements(value)) is not None
        ]
        self._generators = [
            (name, value, value.get_state())
            for name, value in self._own_attributes()
            if isinstance(value, torch.Generator)
        ]
        named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
        tensors = {name: tensor for name, tensor in [*named, *self._own_attributes()] if _has_content(tensor)}
        self._tensors = {name: (tensor, tensor.detach().clone()) for name, tensor in tensors.items()}

    def _own_attributes(self) -> Iterator[tuple[str, Any]]:
        """Yield the attributes that model code set, by qualified name."""
        for (path, _, _), attributes in zip(self._modules, self._attributes, strict=True):
            for name, value in attributes.items():
                if name not in _OF_TORCH:
                    yield f"{path}.{name}".lstrip("."), value

    def changed_buffers(self) -> dict[str, torch.Tensor]:
        """Return the buffers that have other contents now, by name."""
        return {
            name: buffer
            for name, buffer in self._current_buffers().items()
            if not equal_tensors(buffer, self._tensors[name][1])
        }

    def _current_buffers(self) -> dict[str, torch.Tensor]:
        """Return the buffers, which model code may have replaced, of those names that were there."""
        buffers = self._model.named_buffers(remove_duplicate=False)
        return {name: buffer for name, buffer in buffers if name in self._tensors}

    def changed_tensors(self) -> set[str]:
        """Return the names of the tensors that have other contents now, also of those that attributes held."""
        now = self._current_buffers()
        contents = self._tensors.items()
        return {name for name, (tensor, content) in contents if not equal_tensors(now.get(name, tensor), content)}

    def changed_loose_tensors(self) -> set[str]:
        """Return the names of the tensors with other contents now that are neither parameters nor buffers."""
        named = (self._model.named_parameters, self._model.named_buffers)
        return self.changed_tensors() - {name for list_all in named for name, _ in list_all(remove_duplicate=False)}

    def changed_attributes(self) -> list[str]:
        """Return the names of attributes that were set, or whose value was changed; tensors do not count for that."""
        before = dict(self._own_attributes())
        changed = {name for name, value, elements in self._containers if not _same(_elements(value), elements)}
        changed |= {name for name, value, state in self._generators if not torch.equal(value.get_state(), state)}
        for path, module, _ in self._modules:
            for name, value in vars(module).items():
                full = f"{path}.{name}".lstrip(".")
                if name not in _OF_TORCH and (full not in before or before[full] is not value):
                    changed.add(full)
        return sorted(changed)

    def restore_tensors(self) -> None:
        """Set parameters and buffers, and the tensors that attributes held, to what they were."""
        for (_, module, kind), (parameters, buffers) in zip(self._modules, self._registered, strict=True):
            if type(module) is not kind:  # a lazy module, whose class its first run has changed
                continue
            for registered, before in ((module._parameters, parameters), (module._buffers, buffers)):
                registered.clear()
                registered.update(before)
        with torch.no_grad():
            for name in self.changed_tensors():
                tensor, content = self._tensors[name]
                tensor.copy_(content)

    def restore(self) -> None:
        """Undo all that was changed, but for attributes that are new: hooks that a library installs refer to them."""
        for (_, module, kind), attributes in zip(self._modules, self._attributes, strict=True):
            if type(module) is kind:
                vars(module).update(attributes)
        for _, value, elements in self._containers:
            if not _same(_elements(value), elements):
                _fill(value, elements)
        for _, generator, state in self._generators:
            generator.set_state(state)
        self.restore_tensors()


@contextmanager
def restored(model: nn.Module) -> Iterator[ModelState]:
    """Undo what runs inside the block do to the model."""
    state = ModelState(model)
    try:
        yield state
    finally:
        state.restore()


def _has_content(value: Any) -> bool:
    return (
        isinstance(value, torch.Tensor)
        and not is_lazy(value)
        and not value.is_inference()
        and value.layout is torch.strided
        and value.device.type != "meta"
        and not value.is_quantized
    )


def equal_tensors(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return True if two tensors have the same shape, dtype and elements; NaNs are equal to each other."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.itemsize == 1 and one.is_floating_point():  # float8, which has no operators
        one, other = one.to(torch.float64), other.to(torch.float64)
    return torch.equal(one, other) or (
        (one.is_floating_point() or one.is_complex()) and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
    )


def _elements(value: Any) -> list[Any] | None:
    """Return the elements of a plain container, all keys of a dict before its values; None for anything else."""
    if type(value) is dict:
        return [*value.keys(), *value.values()]
    return [*value] if type(value) in (list, set) else None


def _same(one: list[Any] | None, other: list[Any] | None) -> bool:
    """Return True if two containers have the very same elements."""
    if one is None or other is None or len(one) != len(other):
        return one is other
    return all(a is b for a, b in zip(one, other, strict=True))


def _fill(value: Any, elements: list[Any]) -> None:
    """Give a container back its elements."""
    value.clear()
    if isinstance(value, dict):
        half = len(elements) // 2
        value.update(zip(elements[:half], elements[half:], strict=True))
    elif isinstance(value, list):
        value.extend(elements)
    else:
        value.update(elements)
