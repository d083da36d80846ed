"""Peculiarities of state: what a call changes of the model or its inputs, and models that share or compute weights."""

from __future__ import annotations

from fuzz.blocks import peculiarity
from fuzz.draft import Draft, Value


@peculiarity("counter in a buffer")
def counter(d: Draft, x: Value) -> Value:
    dtype, one = d.rng.choice([("int64", "1"), ("float32", "1"), ("float32", "0.5")])
    buffer = d.buffer(f"torch.zeros({d.rng.choice(['()', '1'])}, dtype=torch.{dtype})", persistent=d.rng.random() < 0.7)
    d.say(d.rng.choice([f"{buffer} += {one}", f"{buffer}.add_({one})", f"{buffer}.copy_({buffer} + {one})"]))
    x = d.floating(x)
    return d.let(f"{x} + {buffer}.to({x}.dtype)", x)


@peculiarity("running mean")
def running(d: Draft, x: Value) -> Value | None:
    x = d.floating(x)
    axes = {"rows": "0", "tokens": "(0, 1)", "wave": "(0, 2)", "image": "(0, 2, 3)"}[x.kind]
    buffer = d.buffer(f"torch.zeros({x.features})")
    d.say(
        d.rng.choice(
            [
                f"{buffer}.mul_(0.9).add_({x}.mean({axes}), alpha=0.1)",
                f"{buffer}.lerp_({x}.mean({axes}).to({buffer}.dtype), 0.1)",
                f"{buffer}[:] = {buffer} * 0.9 + {x}.mean({axes}) * 0.1",
            ]
        )
    )
    after = {"wave": "[:, None]", "image": "[:, None, None]"}.get(x.kind, "")
    return d.let(f"{x} - {buffer}{after}", x)


@peculiarity("cache written by index", "rows")
def kv_cache(d: Draft, x: Value) -> Value | None:
    x = d.floating(x)
    buffer, at = (
        d.buffer(f"torch.zeros(8, {x.features})", persistent=False),
        d.buffer("torch.zeros(1, dtype=torch.int64)"),
    )
    d.say(
        d.rng.choice([f"{buffer}.index_copy_(0, {at}, {x}.mean(0, keepdim=True))", f"{buffer}[{at}] = {x}.mean(0)"]),
        f"{at}.add_(1).remainder_(8)",
    )
    return d.let(f"{x} + {buffer}.sum(0)", x)


@peculiarity("buffer set anew")
def reassigned(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    buffer = d.buffer("torch.zeros(3)")
    d.say(f"{buffer} = {buffer} + {d.rng.choice(['1', f'{x}.mean()'])}")
    return d.let(f"{x} + {buffer}.sum()", x)


@peculiarity("input changed in place")
def input_changed(d: Draft, x: Value) -> Value | None:
    name = next(iter(d.inputs))
    tensor = d.inputs[name].get("tensor")
    if tensor is None or tensor["dtype"] == "bool":
        return None
    line = d.rng.choice([f"{name}.add_(1)", f"{name}[0] = 1", f"{name}.mul_(2)", f"{name}[..., -1] = {name}[..., 0]"])
    if tensor["range"]:
        line = f"{name}[0] = 1"
    d.say(line)
    return x


@peculiarity("input changed and buffer")
def both_changed(d: Draft, x: Value) -> Value | None:
    state = d.input((4,), "float32", "rows")
    buffer = d.buffer("torch.ones(4, dtype=torch.float32)")
    d.say(
        f"{state}.add_({buffer}.to({state}.dtype))",
        f"{buffer}.mul_(0.5).add_({state}.detach().to({buffer}.dtype), alpha=0.1)",
    )
    x = d.floating(x)
    return d.let(f"{x} + ({state}.mean() * {buffer}.mean()).to({x}.dtype)", x)


@peculiarity("parameter changed")
def parameter_changed(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    weight = d.fresh("w")
    d.init.append(f"self.{weight} = nn.Parameter(torch.ones(1))")
    d.say(
        "with torch.no_grad():",
        f"    self.{weight}.{d.rng.choice(['mul_(0.9)', 'add_(0.1)', f'copy_({x}.mean().reshape(1))'])}",
    )
    return d.let(f"{x} * self.{weight}", x)


@peculiarity("number in an attribute", refusable=("export",))
def attribute_number(d: Draft, x: Value) -> Value:
    name = d.fresh("n")
    d.init.append(f"self.{name} = 0")
    d.say(f"self.{name} += 1")
    x = d.floating(x)
    return d.let(
        d.rng.choice(
            [f"{x} + self.{name}", f"{x} * (1 if self.{name} < 3 else 2)", f"{x} + torch.tensor(self.{name})"]
        ),
        x,
    )


@peculiarity("tensor in an attribute", refusable=("export",))
def attribute_tensor(d: Draft, x: Value) -> Value:
    x, name = d.floating(x), d.fresh("t")
    d.init.append(f"self.{name} = {d.rng.choice(['torch.zeros(1)', 'None'])}")
    if "None" in d.init[-1]:
        d.say(f"last = self.{name}", f"self.{name} = {x}.mean()", f"last = self.{name} if last is None else last")
        return d.let(f"{x} + last", x)
    d.say(d.rng.choice([f"self.{name} = self.{name} + {x}.mean()", f"self.{name}.add_(1)"]))
    return d.let(f"{x} + self.{name}.to({x}.dtype)", x)


@peculiarity("tensor in an attribute that is only written")
def attribute_written(d: Draft, x: Value) -> Value:
    name = d.fresh("t")
    d.init.append(f"self.{name} = None")
    d.say(f"self.{name} = {x}")
    return x


@peculiarity("list in an attribute", refusable=("export",))
def attribute_list(d: Draft, x: Value) -> Value:
    x, name = d.floating(x), d.fresh("l")
    if d.rng.random() < 0.5:
        d.init.append(f"self.{name} = []")
        d.say(f"self.{name}.append(1)")
        return d.let(f"{x} + len(self.{name})", x)
    d.init.append(f"self.{name} = {{'n': 0}}")
    d.say(f"self.{name}['n'] += 1")
    return d.let(f"{x} * self.{name}['n']", x)


@peculiarity("table made at the first call", "tokens", "rows")
def first_call(d: Draft, x: Value) -> Value:
    x, name = d.floating(x), d.fresh("t")
    d.init.append(f"self.{name} = None")
    d.say(f"if self.{name} is None:", f"    self.{name} = torch.linspace(0, 1, {x.features}, dtype=torch.{x.dtype})")
    return d.let(f"{x} + self.{name}", x)


@peculiarity("table made at the first call, by length", "tokens")
def first_call_length(d: Draft, x: Value) -> Value:
    x, name = d.floating(x), d.fresh("t")
    d.init.append(f"self.{name} = {{}}")
    d.say(
        f"if {x}.shape[1] not in self.{name}:",
        f"    self.{name}[{x}.shape[1]] = torch.arange({x}.shape[1], dtype={x}.dtype).unsqueeze(-1)",
    )
    return d.let(f"{x} + self.{name}[{x}.shape[1]]", x)


@peculiarity("tied weights", "rows", "tokens")
def tied(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    one, two = d.module(f"nn.Linear({x.features}, {x.features})"), d.module(f"nn.Linear({x.features}, {x.features})")
    d.init.append(f"{two}.weight = {one}.weight")
    return d.let(f"{two}({one}({x}).relu())", x)


@peculiarity("weights that are views", "rows", "tokens")
def views(d: Draft, x: Value) -> Value:
    x, base = d.floating(x), d.fresh("w")
    size = x.features
    d.init += [f"{base} = torch.randn(2, {size}, {size}) * 0.3"]
    if d.rng.random() < 0.5:
        names = [d.buffer(f"{base}[0]"), d.buffer(f"{base}[1].t()")]
    else:
        names = [f"self.{d.fresh('p')}", f"self.{d.fresh('p')}"]
        d.init += [f"{names[0]} = nn.Parameter({base}[0])", f"{names[1]} = nn.Parameter({base}[1].t())"]
    return d.let(f"{x} @ {names[0]} @ {names[1]}", x)


@peculiarity("batch norm held in train mode", "rows", "wave", "image")
def batch_norm_train(d: Draft, x: Value) -> Value | None:
    if d.low(x.shape[0]) < 2:
        return None
    x = d.floating(x)
    layer = d.module(f"nn.BatchNorm{2 if x.kind == 'image' else 1}d({x.features})")
    if d.rng.random() < 0.5:
        layer_call = f"{layer}({x})"
        _hold_in_train(d, layer)
    else:
        layer_call = f"F.batch_norm({x}, {layer}.running_mean, {layer}.running_var, training=True)"
    return d.let(layer_call, x)


@peculiarity("dropout held in train mode", "rows", "tokens")
def dropout_train(d: Draft, x: Value) -> Value:
    x, d.seeded = d.floating(x), True
    layer = d.module("nn.Dropout(0.5)")
    _hold_in_train(d, layer)
    return d.let(f"{layer}({x})", x)


def _hold_in_train(d: Draft, layer: str) -> None:
    if any("def train" in line for line in d.methods):
        d.methods.insert(
            next(i for i, line in enumerate(d.methods) if "return self" in line), f"    {layer}.training = True"
        )
        return
    d.methods += [
        "",
        "def train(self, mode=True):",
        "    super().train(mode)",
        f"    {layer}.training = True",
        "    return self",
    ]


@peculiarity("embedding with max_norm", "rows", "tokens")
def max_norm(d: Draft, x: Value) -> Value | None:
    if not d.exact():
        return None
    ids = d.let(f"{x}.mean(-1).mul(4).to(torch.int64).remainder(10)", x)
    layer = d.module("nn.Embedding(10, 8, max_norm=1.0)")
    return d.let(f"{layer}({ids})", x, *x.shape[:-1], 8, dtype=d.floats)
