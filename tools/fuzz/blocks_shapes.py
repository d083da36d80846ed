"""Blocks that move elements: split and join, reshape, gather and scatter, pad, roll; and from kind to kind."""

from __future__ import annotations

from fuzz.blocks import block
from fuzz.draft import Draft, Value


@block("split and cat", "rows", "tokens")
def split_cat(d: Draft, x: Value) -> Value | None:
    if x.features % 2:
        return None
    one, two, half = d.fresh("s"), d.fresh("s"), x.features // 2
    d.say(
        f"{one}, {two} = {x}" + d.rng.choice([f".split({half}, dim=-1)", ".chunk(2, dim=-1)", ".tensor_split(2, -1)"])
    )
    if d.rng.random() < 0.5:
        return d.let(f"torch.cat([{two}, {one}, {two}], dim=-1)", x, *x.shape[:-1], 3 * half)
    return d.let(f"{one} * {two}.sigmoid()" if x.dtype != "int64" else f"{one} + {two}", x, *x.shape[:-1], half)


@block("unbind and stack", "rows", "tokens")
def unbind_stack(d: Draft, x: Value) -> Value | None:
    if x.features > 8:
        return None
    return d.let(f"torch.stack(list(reversed({x}.unbind(-1))), dim=-1)", x)


@block("cat over a varying axis", "tokens", "wave")
def cat_length(d: Draft, x: Value) -> Value:
    axis = 1 if x.kind == "tokens" else 2
    shape = list(x.shape)
    shape[axis] = d.affine(shape[axis], 2)
    return d.let(f"torch.cat([{x}, {x} + 1], dim={axis})", x, *shape)


@block("pad")
def pad(d: Draft, x: Value) -> Value:
    if x.kind in ("rows", "tokens"):
        return d.let(f"F.pad({x}, (1, 1))", x, *x.shape[:-1], x.features + 2)
    value = d.rng.choice(["", ", value=0.5"])
    return d.let(f"F.pad({x}, (1, 2){value})", x, *x.shape[:-1], d.affine(x.shape[-1], 1, 3))


@block("roll and flip")
def roll_flip(d: Draft, x: Value) -> Value:
    call = d.rng.choice(["{}.roll(1, dims=-1)", "{}.flip(-1)", "torch.roll({}, (1, 1), (0, 1))", "{}.flip([0, 1])"])
    return d.let(call.format(x), x)


@block("expand and squeeze", "rows", "tokens")
def expand_squeeze(d: Draft, x: Value) -> Value:
    big = d.let(f"{x}.unsqueeze(-2).expand({', '.join(['-1'] * (len(x.shape) - 1))}, 3, -1)", x)
    return d.let(f"{big}.sum(-2)" if d.rng.random() < 0.5 else f"{big}[..., :1, :].squeeze(-2)", x)


@block("reshape", "tokens", "wave")
def reshape(d: Draft, x: Value) -> Value | None:
    last = x.shape[-1]
    if not isinstance(last, int) or last % 2:
        return None
    return d.let(f"{x}.reshape({x}.shape[0], -1, 2, {last // 2}).transpose(2, 3).flatten(2)", x)


@block("view from shape", "tokens")
def view_shape(d: Draft, x: Value) -> Value:
    flat = d.let(f"{x}.contiguous().view(-1, {x}.size(-1))", x)
    return d.let(f"{flat}.view({x}.shape[0], {x}.shape[1], -1)", x)


@block("gather", "rows", "tokens")
def gather(d: Draft, x: Value) -> Value:
    index = d.let(f"(torch.arange({x}.shape[-1], device={x}.device) + 1).remainder({x}.shape[-1]).expand({x}.shape)", x)
    call = f"torch.take_along_dim({x}, {index}, dim=-1)" if d.rng.random() < 0.2 else f"{x}.gather(-1, {index})"
    return d.let(call, x)


@block("scatter", "rows", "tokens")
def scatter(d: Draft, x: Value) -> Value:
    index = d.let(f"torch.arange({x}.shape[-1]).flip(0).expand({x}.shape)", x)
    call = d.rng.choice(["scatter(-1, {0}, {1})", "scatter_add(-1, {0}, {1})"])
    return d.let(f"torch.zeros_like({x}).{call.format(index, x)}", x)


@block("index_put", "rows", "tokens")
def index_put(d: Draft, x: Value) -> Value:
    copy = d.let(f"{x}.clone()", x)
    d.say(
        d.rng.choice(
            [
                f"{copy}[..., 0] = 1",
                f"{copy}[:, -1] += 2",
                f"{copy}[{copy} > 1] = 1",
                f"{copy}[..., ::2] = {copy}[..., :1]",
            ]
        )
    )
    return copy


@block("index", "rows", "tokens")
def index(d: Draft, x: Value) -> Value:
    return d.let(f"{x}[..., torch.tensor([0, -1, 0])]", x, *x.shape[:-1], 3)


@block("slice", "tokens", "wave")
def slice_length(d: Draft, x: Value) -> Value | None:
    axis = 1 if x.kind == "tokens" else 2
    if d.low(x.shape[axis]) < 3:
        return None
    shape = list(x.shape)
    shape[axis] = d.affine(x.shape[axis], 1, -1)
    return d.let(f"{x}[:, 1:]" if axis == 1 else f"{x}[..., :-1]", x, *shape)


@block("tokens to rows", "tokens")
def tokens_rows(d: Draft, x: Value) -> Value:
    if x.dtype not in ("int64", "int32", "bool"):
        call = d.rng.choice(["mean(1)", "amax(1)", "logsumexp(1)", "std(1, unbiased=False)", "select(1, -1)", "sum(1)"])
    else:
        call = d.rng.choice(["select(1, -1)", "sum(1)"])
    dtype = "int64" if call == "sum(1)" and x.dtype in ("int32", "bool") else x.dtype
    return d.let(f"{x}.{call}", x, x.shape[0], x.features, kind="rows", dtype=dtype)


@block("rows to tokens", "rows")
def rows_tokens(d: Draft, x: Value) -> Value | None:
    if x.features % 2:
        return None
    return d.let(f"{x}.reshape(-1, 2, {x.features // 2})", x, x.shape[0], 2, x.features // 2, kind="tokens")


@block("tokens and waves", "tokens", "wave")
def transpose(d: Draft, x: Value) -> Value:
    swap = d.rng.choice(["transpose(1, 2)", "permute(0, 2, 1)", "mT"])
    kind = "wave" if x.kind == "tokens" else "tokens"
    return d.let(f"{x}.{swap}", x, x.shape[0], x.shape[2], x.shape[1], kind=kind)


@block("image to rows", "image")
def image_rows(d: Draft, x: Value) -> Value:
    x, sizes = d.floating(x), x.shape[1:]
    if all(isinstance(size, int) for size in sizes) and d.rng.random() < 0.5:
        total = 1
        for size in sizes:
            total *= d.low(size)
        if total <= 128:
            return d.let(
                d.rng.choice([f"{x}.flatten(1)", f"{x}.reshape({x}.shape[0], -1)"]), x, x.shape[0], total, kind="rows"
            )
    call = d.rng.choice([f"{x}.mean((2, 3))", f"F.adaptive_avg_pool2d({x}, 1).flatten(1)", f"{x}.amax(dim=[2, 3])"])
    return d.let(call, x, x.shape[0], x.features, kind="rows")


@block("image to tokens", "image")
def image_tokens(d: Draft, x: Value) -> Value | None:
    if not all(isinstance(size, int) for size in x.shape[2:]):
        return None
    length = d.low(x.shape[2]) * d.low(x.shape[3])
    return d.let(f"{x}.flatten(2).transpose(1, 2)", x, x.shape[0], length, x.features, kind="tokens")


@block("wave to rows", "wave")
def wave_rows(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    call = d.rng.choice([f"F.adaptive_max_pool1d({x}, 1).squeeze(-1)", f"{x}.mean(-1)", f"{x}.sum(-1)"])
    return d.let(call, x, x.shape[0], x.features, kind="rows")
