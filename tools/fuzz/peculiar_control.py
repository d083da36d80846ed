"""Peculiarities of control flow and randomness."""

from __future__ import annotations

from fuzz.blocks import peculiarity
from fuzz.draft import Draft, Value


@peculiarity("branch on a shape")
def branch_shape(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    axis = d.rng.choice([0, 1, -1])
    limit = d.rng.choice([0, 1, 2, 4, 100])
    y = d.let(f"{x}", x)
    d.say(
        f"if {x}.shape[{axis}] {d.rng.choice(['>', '==', '<='])} {limit}:",
        f"    {y} = {x} * 2",
        "else:",
        f"    {y} = {x} - 1",
    )
    return y


@peculiarity("branch on a flag")
def branch_flag(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    if d.rng.random() < 0.5:
        d.init.append("self.flag = True")
        return d.let(f"{x} * 2 if self.flag else {x}", x)
    return d.let(f"{x} if self.training else {x} * 0.5", x)


@peculiarity("branch on a value")
def branch_value(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    test = d.rng.choice(
        [f"{x}.sum() > 0", f"{x}.abs().max().item() > 1.5", f"torch.all({x} > -2)", f"bool(({x} > 0).any())"]
    )
    return d.let(f"{x} * 2 if {test} else {x} - 1", x)


@peculiarity("torch.cond")
def cond(d: Draft, x: Value) -> Value | None:
    if not d.exact():
        return None
    x = d.floating(x)
    test = d.rng.choice([f"{x}.sum() > 0", f"{x}.mean() > 0.1", f"{x}.shape[0] > 3"])
    return d.let(f"torch.cond({test}, lambda t: t.sin(), lambda t: t.cos() * 2, ({x},))", x)


@peculiarity("loop over layers", "rows", "tokens")
def loop(d: Draft, x: Value) -> Value:
    x, size = d.floating(x), x.features
    if d.rng.random() < 0.5:
        layers = d.module(f"nn.ModuleList(nn.Linear({size}, {size}) for _ in range(3))")
        over = layers
    else:
        layers = d.module(f"nn.ModuleDict({{'z': nn.Linear({size}, {size}), 'a': nn.Tanh()}})")
        over = f"{layers}.values()"
    y = d.let(f"{x}", x)
    d.say(f"for layer in {over}:", f"    {y} = {y} + layer({y}) * 0.3")
    return y


@peculiarity("loop over a length", "tokens")
def loop_length(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    y = d.let(f"{x}[:, 0] * 0", x, x.shape[0], x.features, kind="rows")
    d.say(f"for i in range({x}.shape[1]):", f"    {y} = {y} * 0.5 + {x}[:, i]")
    return y


@peculiarity("torch._check")
def check(d: Draft, x: Value) -> Value:
    line = d.rng.choice(
        [
            "torch._check({0}.shape[0] >= 1)",
            "torch._check({0}.shape[0] < 100)",
            "assert {0}.shape[0] > 0",
            "assert {0}.dim() > 1, 'flat'",
        ]
    )
    d.say(line.format(x))
    return x


@peculiarity("nonzero")
def nonzero(d: Draft, x: Value) -> Value | None:
    if not d.exact():
        return None
    x = d.floating(x)
    call = d.rng.choice(
        [
            "({0} > 0).nonzero().to({0}.dtype).sum()",
            "{0}[{0} > 0].sum()",
            "torch.masked_select({0}, {0} > 0).mean().nan_to_num()",
            "torch.unique(({0} * 2).floor()).sum()",
        ]
    )
    return d.let(f"{x} + 0.01 * {call.format(x)}", x)


@peculiarity("item as a size", "rows")
def item_size(d: Draft, x: Value) -> Value | None:
    if not d.exact():
        return None
    n = d.input((), "int64", "rows", [1, 5])
    d.say(f"k = {n}.item()", "torch._check(k >= 1)", "torch._check(k <= 8)")
    return d.let(f"{x} + torch.ones(k, dtype={x}.dtype).sum()", d.floating(x)) if x.dtype == d.floats else None


@peculiarity("torch.rand in forward")
def rand(d: Draft, x: Value) -> Value:
    x, d.seeded = d.floating(x), True
    call = d.rng.choice(
        [
            f"torch.rand_like({x})",
            f"torch.rand({x}.shape, dtype={x}.dtype)",
            f"torch.randn(1, dtype={x}.dtype)",
            f"torch.randint(0, 5, ({x}.shape[-1],)).to({x}.dtype)",
            f"torch.bernoulli(torch.full_like({x}, 0.5))",
        ]
    )
    return d.let(f"{x} + {call}", x)


@peculiarity("dropout with training=True")
def dropout(d: Draft, x: Value) -> Value:
    x, d.seeded = d.floating(x), True
    return d.let(f"F.dropout({x}, 0.3, training=True)", x)


@peculiarity("permutation", "rows", "tokens")
def permutation(d: Draft, x: Value) -> Value:
    d.seeded = True
    return d.let(f"{x}[..., torch.randperm({x.features})]", x)


@peculiarity("own generator", refusable=("export",))
def generator(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    d.init.append("self.generator = torch.Generator().manual_seed(3)")
    return d.let(f"{x} + torch.rand({x.features}, generator=self.generator).sum().to({x}.dtype)", x)


@peculiarity("Python's random", refusable=("export",))
def python_random(d: Draft, x: Value) -> Value:
    x, d.seeded = d.floating(x), True
    return d.let(
        d.rng.choice(
            [f"{x} * random.random()", f"{x} * 2 if random.random() < 0.5 else {x}", f"{x} + random.randint(1, 5)"]
        ),
        x,
    )


@peculiarity("NumPy's random", refusable=("export",))
def numpy_random(d: Draft, x: Value) -> Value:
    x, d.seeded = d.floating(x), True
    return d.let(
        d.rng.choice(
            [
                f"{x} * float(np.random.rand())",
                f"{x} + int(np.random.randint(5))",
                f"{x} + torch.from_numpy(np.random.rand({x.features})).sum().to({x}.dtype)",
            ]
        ),
        x,
    )
