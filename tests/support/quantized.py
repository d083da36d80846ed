"""Quantized models in the forms that torch has for them."""

from __future__ import annotations

from typing import Any

import torch
import torch.ao.quantization as quantization
from torch import Tensor, nn


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.second(self.first(x).relu())
        return found


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.into, self.inner, self.out = quantization.QuantStub(), Mlp(), quantization.DeQuantStub()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.out(self.inner(self.into(x)))
        return found


def dynamic(kind: str = "qint8") -> nn.Module:
    return quantization.quantize_dynamic(Mlp(), {nn.Linear}, dtype=getattr(torch, kind))


def static() -> nn.Module:
    model = Wrapped().eval()
    model.qconfig = quantization.get_default_qconfig("fbgemm")
    prepared = quantization.prepare(model)
    prepared(torch.randn(8, 4))
    return quantization.convert(prepared)


def prepared_for_training() -> nn.Module:
    model = Mlp().train()
    model.qconfig = quantization.get_default_qat_qconfig("fbgemm")
    model = quantization.prepare_qat(model)
    model(torch.randn(8, 4))
    return model.eval()


def scripted_static() -> nn.Module:
    return torch.jit.script(static())


def scripted_dynamic() -> nn.Module:
    return torch.jit.script(dynamic())


class Whole(nn.Module):
    """Its weights are whole numbers, in buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randint(-127, 128, (4, 4), dtype=torch.int8))
        self.register_buffer("scale", torch.rand(4, 1) / 127)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.to(x.dtype) * self.scale)


class Scaled(torch.Tensor):
    """A matrix of whole numbers and a scale, as torchao's are made."""

    whole: Tensor
    scale: Tensor

    @staticmethod
    def __new__(cls, whole: Tensor, scale: Tensor) -> Any:
        return torch.Tensor._make_wrapper_subclass(cls, whole.shape, dtype=scale.dtype)  # type: ignore[attr-defined]

    def __init__(self, whole: Tensor, scale: Tensor) -> None:
        self.whole, self.scale = whole, scale

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["whole", "scale"], None

    @classmethod
    def __tensor_unflatten__(cls, inner: Any, meta: Any, size: Any, stride: Any) -> Any:
        return cls(inner["whole"], inner["scale"])

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is nn.functional.linear and cls is Scaled:
            x, weight, *bias = args
            return func(x, weight.whole.to(x.dtype) * weight.scale, *bias)
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten.detach.default, torch.ops.aten.alias.default):
            return cls(args[0].whole, args[0].scale)
        plain = [one.whole * one.scale if isinstance(one, Scaled) else one for one in args]
        return func(*plain, **(kwargs or {}))


class Unaware(Scaled):
    """It leaves the functions that take it to the dispatcher, which a capture does not reach."""


def of_subclass(kind: str = "Scaled") -> nn.Module:
    model = nn.Linear(4, 4)
    scale = model.weight.detach().abs().amax(1, keepdim=True) / 127
    whole = (model.weight.detach() / scale).round().to(torch.int8)
    model.weight = nn.Parameter(globals()[kind](whole, scale), requires_grad=False)
    return nn.Sequential(model)
