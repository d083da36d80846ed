"""Blocks that compute: functions, sorts, sums along an axis, masks, integers, complex numbers, other dtypes."""

from __future__ import annotations

from fuzz.blocks import block
from fuzz.draft import Draft, Value


@block("function")
def function(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    call = d.rng.choice(
        [
            "F.gelu({})",
            "torch.relu({})",
            "{}.sigmoid()",
            "F.silu({})",
            "{}.tanh()",
            "F.softplus({})",
            "{}.clamp(-1, 1)",
            "{}.clamp(min=0.1).log()",
            "{}.abs().sqrt()",
            "F.dropout({}, 0.5, training=self.training)",
            "{}.square() * 0.5",
            "F.leaky_relu({}, 0.2)",
            "F.elu({})",
            "{} / ({}.abs() + 1)",
            "{}.neg().exp().clamp(max=3)",
            "torch.erf({})",
            "F.hardswish({})",
            "{}.sin() + {}.cos()",
            "torch.where({}.isnan(), 0.0, {})",
            "torch.nan_to_num({})",
        ]
    )
    return d.let(call.replace("{}", str(x)), x)


@block("softmax", "rows", "tokens")
def softmax(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    call = d.rng.choice(
        ["F.softmax({}, dim=-1)", "F.log_softmax({}, -1)", "F.normalize({}, dim=-1)", "F.glu(torch.cat([{}, {}], -1))"]
    )
    return d.let(call.replace("{}", str(x)), x)


@block("cumulative")
def cumulative(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    axis = d.rng.choice([1, -1])
    return d.let(f"{x}.{d.rng.choice(['cumsum', 'logcumsumexp'])}({axis}) * 0.1", x)


@block("residual")
def residual(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    scale = d.rng.choice(["0.5", "torch.tensor(0.5)", f"torch.ones(1, dtype={x}.dtype)", "2"])
    return d.let(f"{x} + {x}.tanh() * {scale}", x)


@block("constant tensor", "rows", "tokens")
def constant(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    numbers = ", ".join(f"{d.rng.uniform(-1, 1):.3f}" for _ in range(x.features))
    dtype = d.rng.choice([f", dtype={x}.dtype", f", dtype=torch.{x.dtype}"])
    return d.let(f"{x} * torch.tensor([{numbers}]{dtype})", x)


@block("float64 table", "rows", "tokens")
def table(d: Draft, x: Value) -> Value:
    x, persistent = d.floating(x), d.rng.random() < 0.5
    buffer = d.buffer(f"torch.linspace(0, 1, {x.features}, dtype=torch.float64)", persistent=persistent)
    return d.floating(d.let(f"{x}.to(torch.float64) * {buffer}.to(torch.float64)", x, dtype="float64"))


@block("parts in another dtype")
def other_dtype(d: Draft, x: Value) -> Value:
    other = d.rng.choice(["bfloat16", "float16", "float64"] if d.exact() else ["float32"])
    d.loose = d.loose or other in ("bfloat16", "float16")
    y = d.let(f"{x}.to(torch.{other})", x, dtype=other)
    y = d.let(f"{y} * 2 + 1", y)
    return d.floating(y) if d.rng.random() < 0.7 else d.let(f"{y}.type_as({x})", x)


@block("topk", "rows", "tokens")
def topk(d: Draft, x: Value) -> Value | None:
    if not d.exact() or x.features < 2:
        return None
    return d.let(f"{d.floating(x)}.topk(2, dim=-1).values", x, *x.shape[:-1], 2, dtype=d.floats)


@block("sort", "rows", "tokens")
def sort(d: Draft, x: Value) -> Value | None:
    if not d.exact():
        return None
    x = d.floating(x)
    values, order = d.fresh("s"), d.fresh("s")
    d.say(f"{values}, {order} = {x}.sort(dim=-1, descending={d.rng.choice([True, False])})")
    return d.let(f"{values} + {order}", x)


@block("one hot", "rows", "tokens")
def one_hot(d: Draft, x: Value) -> Value | None:
    if not d.exact():
        return None
    return d.let(f"F.one_hot({x}.argmax(-1), {x.features}).to(torch.{d.floats}) + 0.5", x, dtype=d.floats)


@block("masked", "rows", "tokens")
def masked(d: Draft, x: Value) -> Value | None:
    if not d.exact():
        return None
    x = d.floating(x)
    call = d.rng.choice(
        [
            "torch.where({0} > 0, {0}, -{0} * 0.3)",
            "{0}.masked_fill({0} < 0, 0.0)",
            "{0} * ({0} > 0.1)",
            "torch.where({0} > 0, 1.0, 0.0).to({0}.dtype) + {0}",
        ]
    )
    return d.let(call.format(x), x)


@block("causal mask", "tokens")
def causal(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    scores = d.fresh("a")
    d.say(
        f"{scores} = {x} @ {x}.transpose(1, 2) * 0.1",
        f"{scores} = {scores}.masked_fill(torch.ones_like({scores}, dtype=torch.bool).triu(1), float('-inf'))",
    )
    return d.let(f"torch.bmm({scores}.softmax(-1), {x})", x)


@block("matmul", "rows", "tokens")
def matmul(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    weight = d.fresh("w")
    d.init.append(f"self.{weight} = nn.Parameter(torch.randn({x.features}, 4) * 0.3)")
    call = d.rng.choice(
        [f"{x} @ self.{weight}", f"torch.einsum('...i,ij->...j', {x}, self.{weight})", f"{x}.matmul(self.{weight})"]
    )
    return d.let(call, x, *x.shape[:-1], 4)


@block("einsum", "tokens")
def einsum(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    return d.let(f"torch.einsum('bsi,bti->bst', {x}, {x}).mean(-1, keepdim=True) * {x} * 0.2", x)


@block("integers", "rows", "tokens")
def integers(d: Draft, x: Value) -> Value | None:
    if not d.exact():
        return None
    whole = d.let(f"({x} * 3).floor().to(torch.{d.rng.choice(['int64', 'int32'])})", x)
    call = d.rng.choice(
        ["{0} // 2 + {0} % 3", "({0} & 3) | 4", "{0}.clamp(-2, 2) * 2", "{0} << 1", "torch.bitwise_xor({0}, 5)"]
    )
    return d.floating(d.let(call.format(whole), x, dtype="int64"))


@block("truth values", "rows", "tokens")
def truth(d: Draft, x: Value) -> Value | None:
    if not d.exact():
        return None
    mask = d.let(f"({x} > 0) & ({x} < 1) | ({x} < -1)", x)
    return d.let(f"{mask}.logical_not().to(torch.{d.floats}) + {mask}.any(-1, keepdim=True)", x, dtype=d.floats)


@block("spectrum", "rows", "wave")
def spectrum(d: Draft, x: Value) -> Value | None:
    length = x.shape[-1]
    if not isinstance(length, int) or length % 2:
        return None
    x = d.floating(x, "float64" if d.floats == "float64" else "float32")
    return d.floating(d.let(f"torch.fft.rfft({x}, dim=-1).abs() * 0.3", x, *x.shape[:-1], length // 2 + 1))


@block("complex", "rows", "tokens")
def complex_numbers(d: Draft, x: Value) -> Value | None:
    if x.features % 2:
        return None
    x = d.floating(x, "float64" if d.floats == "float64" else "float32")
    turned = d.let(f"torch.view_as_complex({x}.reshape(*{x}.shape[:-1], -1, 2))", x)
    turn = d.rng.choice(["torch.polar(torch.ones(1), torch.ones(1))", "1j", "(1 + 1j)", f"{turned}.conj()"])
    if x.dtype == "float64" and "polar" in turn:
        turn = "1j"
    return d.floating(d.let(f"torch.view_as_real({turned} * {turn}).flatten(-2)", x))


@block("positions", "tokens")
def positions(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    at = d.let(f"torch.arange({x}.shape[1], dtype={x}.dtype).unsqueeze(-1)", x)
    return d.let(f"{x} + ({at} * 0.1).sin()", x)


@block("statistics", "rows", "tokens")
def statistics(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    call = d.rng.choice(
        [
            "({0} - {0}.mean(-1, keepdim=True)) / ({0}.std(-1, keepdim=True, unbiased=False) + 1)",
            "{0} / ({0}.norm(dim=-1, keepdim=True) + 1)",
            "{0} - {0}.amax(-1, keepdim=True)",
            "{0} * {0}.var(-1, keepdim=True, unbiased=False)",
        ]
    )
    return d.let(call.format(x), x)


@block("batch statistics")
def over_batch(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    return d.let(
        d.rng.choice(
            [f"{x} - {x}.mean(0)", f"{x} + {x}.amax(0, keepdim=True)", f"{x} * {x}.shape[0]", f"{x} / {x}.size(0)"]
        ),
        x,
    )
