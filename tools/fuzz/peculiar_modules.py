"""Peculiarities of modules and of calls: shared modules, hooks, parametrizations, other methods, odd signatures."""

from __future__ import annotations

from fuzz.blocks import peculiarity
from fuzz.draft import Dim, Draft, Value


@peculiarity("module used twice", "rows", "tokens")
def twice(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    layer = d.module(f"nn.Linear({x.features}, {x.features})")
    if d.rng.random() < 0.5:
        other = d.module(layer)  # another name of the same module
        return d.let(f"{other}({layer}({x}).tanh())", x)
    return d.let(f"{layer}({layer}({x}).tanh())", x)


@peculiarity("hooks", "rows", "tokens")
def hooks(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    layer = d.module(f"nn.Linear({x.features}, {x.features})")
    d.init.append(
        d.rng.choice(
            [
                f"{layer}.register_forward_hook(lambda module, args, out: out * 3)",
                f"{layer}.register_forward_pre_hook(lambda module, args: (args[0] + 1,))",
                f"{layer}.register_forward_hook(lambda module, args, out: None)",
                "self.register_forward_pre_hook(lambda module, args: None)",
                "self.register_forward_hook(lambda module, args, out: out)",
            ]
        )
    )
    return d.let(f"{layer}({x})", x)


@peculiarity("parametrization", "rows", "tokens")
def parametrization(d: Draft, x: Value) -> Value | None:
    if d.floats not in ("float32", "float64"):
        return None
    x = d.floating(x)
    kind = d.rng.choice(["weight_norm", "orthogonal", "spectral_norm"])
    layer = d.module(f"nn.utils.parametrizations.{kind}(nn.Linear({x.features}, {x.features}))")
    return d.let(f"{layer}({x})", x)


@peculiarity("old weight_norm", "rows", "tokens")
def weight_norm(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    layer = d.module(f"nn.utils.weight_norm(nn.Linear({x.features}, 4))")
    return d.let(f"{layer}({x})", x, *x.shape[:-1], 4)


@peculiarity("another method")
def method(d: Draft, x: Value) -> Value:
    if d.method == "forward":
        d.method = "predict"
        if d.rng.random() < 0.5:
            d.methods += ["", "def forward(self, y):", "    return y * 2"]
            x = d.floating(x)
            return d.let(f"self({x})", x)
    return x


@peculiarity("keyword-only argument")
def keyword_only(d: Draft, x: Value) -> Value:
    if "*" not in d.signature and not any("=" in one or "*" in one for one in d.signature):
        d.parameter("*")
    x = d.floating(x)
    other = d.input((d.batch,), x.dtype, "rows")
    return d.let(f"{x} + {other}.mean()", x)


@peculiarity("default that is used")
def default(d: Draft, x: Value) -> Value:
    name = d.fresh("a")
    d.parameter(f"{name}={d.rng.choice(['2', '0.5', 'True'])}")
    x = d.floating(x)
    return d.let(f"{x} * {name}", x)


@peculiarity("optional input")
def optional(d: Draft, x: Value) -> Value:
    x, name = d.floating(x), d.fresh("a")
    d.parameter(f"{name}: Optional[torch.Tensor] = None")
    given = d.rng.choice(["absent", "none", "tensor"])
    if given == "none":
        d.inputs[name] = {"value": None}
    elif given == "tensor":
        d.inputs[name] = d.tensor((3,), x.dtype)
    return d.let(f"{x} if {name} is None else {x} + {name}.sum()", x)


@peculiarity("scalar input")
def scalar(d: Draft, x: Value) -> Value:
    x, name = d.floating(x), d.fresh("a")
    value = d.rng.choice([2, 3, 0.5, True])
    d.parameter(name)
    d.inputs[name] = {"value": value}
    return d.let(f"{x} * {name}", x)


@peculiarity("text input")
def text(d: Draft, x: Value) -> Value:
    x, name = d.floating(x), d.fresh("a")
    d.parameter(name)
    d.inputs[name] = {"value": d.rng.choice(["mean", "max"])}
    return d.let(f"{x} * 2 if {name} == 'mean' else {x}", x)


@peculiarity("keywords of any name")
def keywords(d: Draft, x: Value) -> Value | None:
    if any(one.startswith("**") for one in d.signature):
        return None
    d.parameter("**more")
    x = d.floating(x)
    if d.rng.random() < 0.5:
        d.inputs["extra"] = d.tensor((d.batch,), x.dtype)
        return d.let(f"{x} + more['extra'].sum()", x)
    return d.let(f"{x} + len(more)", x)


@peculiarity("arguments of any number", refusable=("inputs",))
def arguments(d: Draft, x: Value) -> Value | None:
    if any("*" in one or "=" in one for one in d.signature):
        return None
    d.signature.append("*rest")
    return x if d.rng.random() < 0.5 else d.let(f"{x} + len(rest)", x)


@peculiarity("position only", refusable=("inputs",))
def position_only(d: Draft, x: Value) -> Value | None:
    if "/" in d.signature:
        return None
    d.signature.insert(1, "/")
    return x


@peculiarity("inputs in a list or table")
def nested(d: Draft, x: Value) -> Value:
    x, name = d.floating(x), d.fresh("a")
    one, two = d.tensor((d.batch, 3), x.dtype), d.tensor((3,), d.rng.choice(["float32", "int64", "bool"]))
    d.parameter(name)
    form = d.rng.choice(["list", "table", "deep"])
    if form == "list":
        d.inputs[name] = {"list": [one, two]}
        parts = f"{name}[0]", f"{name}[1]"
    elif form == "table":
        d.inputs[name] = {"table": {"z": one, "a": two}}
        parts = f"{name}['z']", f"{name}['a']"
    else:
        d.inputs[name] = {"table": {"k": {"list": [one, {"value": None}, {"table": {"q": two}}]}}}
        parts = f"{name}['k'][0]", f"{name}['k'][2]['q']"
    return d.let(f"{x} + ({parts[0]}.mean() + {parts[1]}.to({x}.dtype).sum()).to({x}.dtype)", x)


@peculiarity("derived size", "tokens")
def derived(d: Draft, x: Value) -> Value | None:
    if "s" not in d.dims or x.shape[1] != "s" or d.dims["s"].auto:
        return None
    x = d.floating(x)
    plus = d.rng.choice([1, 0, 1, 2])
    other = d.input((d.batch, d.affine("s", 2, plus), x.features), x.dtype, "tokens")
    take = d.let(f"{other}[:, :{other}.shape[1] - {plus}]" if plus else f"{other}", other)
    return d.let(f"{x} + {take}.reshape({x}.shape[0], {x}.shape[1], 2, -1).sum(2)", x)


@peculiarity("second length", "rows", "tokens")
def second_length(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    name = d.fresh("t")
    d.dim(name, Dim(min=d.rng.choice([1, 2]), max=9, example=d.rng.choice([2, 4, 5])))
    other = d.input((d.batch, name, x.features), x.dtype, "tokens")
    if x.kind == "rows":
        return d.let(f"{x} + {other}.sum(1) * 0.1", x)
    return d.let(f"torch.cat([{x}, {other}], 1)", x, x.shape[0], d.unknown(2, 40), x.features)


@peculiarity("mask input", "tokens", "rows")
def mask(d: Draft, x: Value) -> Value | None:
    sizes = x.shape[:-1]
    if any(isinstance(size, str) and size not in d.dims for size in sizes):
        return None
    x = d.floating(x)
    other = d.input(tuple(sizes), d.rng.choice(["bool", "uint8", "int32"]), x.kind)
    return d.let(f"{x} * {other}.unsqueeze(-1).to({x}.dtype)", x)


@peculiarity("unused input")
def unused(d: Draft, x: Value) -> Value:
    d.input((d.batch, 2), "float32", "rows")
    return x


@peculiarity("weight of a dtype of its own", "rows", "tokens")
def own_dtype(d: Draft, x: Value) -> Value:
    x, other = d.floating(x), d.rng.choice(["bfloat16", "float16", "float64"])
    d.loose = d.loose or other in ("bfloat16", "float16")
    layer = d.module(f"nn.Linear({x.features}, 4).to(torch.{other})")
    dtype = d.cast_dtype(other)
    y = d.let(f"{layer}({x}.to(torch.{dtype}))", x, *x.shape[:-1], 4, dtype=dtype)
    return d.floating(y) if d.rng.random() < 0.7 else y


@peculiarity("no_grad or autocast", "rows", "tokens")
def regions(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    layer = d.module(f"nn.Linear({x.features}, 4)")
    region = d.rng.choice(
        [
            "torch.no_grad()",
            "torch.inference_mode()",
            "torch.autocast('cpu', torch.bfloat16)",
            "torch.set_grad_enabled(True)",
        ]
    )
    d.loose = d.loose or "bfloat16" in region
    y = d.fresh("v")
    d.say(f"with {region}:", f"    {y} = {layer}({x})")
    return d.let(f"{y}.to(torch.{x.dtype})", x, *x.shape[:-1], 4)
