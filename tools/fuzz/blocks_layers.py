"""Blocks of torch.nn: linear and convolutional layers, norms, pools, attention, recurrence, embeddings."""

from __future__ import annotations

from fuzz.blocks import block
from fuzz.draft import Draft, Value


@block("linear", "rows", "tokens")
def linear(d: Draft, x: Value) -> Value:
    x, size = d.floating(x), d.rng.choice([2, 4, 8, 12])
    bias = d.rng.choice(["", ", bias=False"])
    layer = d.module(f"nn.Linear({x.features}, {size}{bias})")
    return d.let(f"{layer}({x})", x, *x.shape[:-1], size)


@block("mlp", "rows", "tokens")
def mlp(d: Draft, x: Value) -> Value:
    x, size = d.floating(x), d.rng.choice([4, 8])
    act = d.rng.choice(["nn.ReLU()", "nn.GELU()", "nn.SiLU()", "nn.Dropout(0.1)", "nn.ReLU(inplace=True)"])
    layer = d.module(f"nn.Sequential(nn.Linear({x.features}, {size}), {act}, nn.Linear({size}, {size}))")
    return d.let(f"{layer}({x})", x, *x.shape[:-1], size)


@block("conv1d", "wave")
def conv1d(d: Draft, x: Value) -> Value:
    x, size = d.floating(x), d.rng.choice([2, 4, 8])
    mode = d.rng.choice(["", ", padding_mode='replicate'", ", dilation=1"])
    layer = d.module(f"nn.Conv1d({x.features}, {size}, 3, padding=1{mode})")
    return d.let(f"{layer}({x})", x, x.shape[0], size, x.shape[2])


@block("conv1d stride", "wave")
def conv1d_stride(d: Draft, x: Value) -> Value | None:
    length = x.shape[2]
    if not isinstance(length, int) or length < 4 or length % 2:
        return None
    x = d.floating(x)
    layer = d.module(f"nn.Conv1d({x.features}, 4, 2, stride=2)")
    return d.let(f"{layer}({x})", x, x.shape[0], 4, length // 2)


@block("conv2d", "image")
def conv2d(d: Draft, x: Value) -> Value:
    x, size = d.floating(x), d.rng.choice([2, 4, 8])
    more = ", groups=2" if x.features % 2 == 0 and d.rng.random() < 0.3 else ""
    layer = d.module(f"nn.Conv2d({x.features}, {size}, 3, padding='same'{more})")
    return d.let(f"{layer}({x})", x, x.shape[0], size, *x.shape[2:])


@block("batch norm", "rows", "wave", "image")
def batch_norm(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    layer = d.module(f"nn.BatchNorm{2 if x.kind == 'image' else 1}d({x.features})")
    return d.let(f"{layer}({x})", x)


@block("layer norm", "rows", "tokens")
def layer_norm(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    kind = d.rng.choice(["LayerNorm", "RMSNorm"])
    layer = d.module(f"nn.{kind}({x.features})")
    return d.let(f"{layer}({x})", x)


@block("group norm", "wave", "image")
def group_norm(d: Draft, x: Value) -> Value | None:
    x = d.floating(x)
    if x.features % 2:
        return None
    layer = d.module(f"nn.GroupNorm(2, {x.features})")
    return d.let(f"{layer}({x})", x)


@block("instance norm", "wave", "image")
def instance_norm(d: Draft, x: Value) -> Value | None:
    if any(d.low(size) < 2 for size in x.shape[2:]):
        return None
    x = d.floating(x)
    more = d.rng.choice(["", ", affine=True", ", affine=True, track_running_stats=True"])
    layer = d.module(f"nn.InstanceNorm{2 if x.kind == 'image' else 1}d({x.features}{more})")
    return d.let(f"{layer}({x})", x)


@block("pool", "wave", "image")
def pool(d: Draft, x: Value) -> Value | None:
    if any(not isinstance(size, int) or size % 2 or size < 4 for size in x.shape[2:]):
        return None
    x, two = d.floating(x), 2 if x.kind == "image" else 1
    call = d.rng.choice(
        [f"F.max_pool{two}d({x}, 2)", f"F.avg_pool{two}d({x}, 2)", f"F.adaptive_avg_pool{two}d({x}, 2)"]
    )
    half = [2 if "adaptive" in call else size // 2 for size in x.shape[2:] if isinstance(size, int)]
    return d.let(call, x, *x.shape[:2], *half)


@block("pool with padding", "wave", "image")
def pool_padded(d: Draft, x: Value) -> Value:
    x, two = d.floating(x), 2 if x.kind == "image" else 1
    return d.let(d.rng.choice([f"F.max_pool{two}d({x}, 3, 1, 1)", f"F.avg_pool{two}d({x}, 3, 1, 1)"]), x)


@block("attention", "tokens")
def attention(d: Draft, x: Value) -> Value | None:
    if x.features % 2:
        return None
    x = d.floating(x)
    layer = d.module(f"nn.MultiheadAttention({x.features}, 2, batch_first=True)")
    if d.rng.random() < 0.5:
        return d.let(f"{layer}({x}, {x}, {x}, need_weights=False)[0]", x)
    return d.let(f"{layer}({x}, {x}, {x})[0]", x)


@block("scaled dot product", "tokens")
def scaled_dot_product(d: Draft, x: Value) -> Value | None:
    if x.features % 2:
        return None
    x = d.floating(x)
    layer = d.module(f"nn.Linear({x.features}, {3 * x.features})")
    heads = f".unflatten(-1, (2, {x.features // 2})).transpose(1, 2)"
    q, k, v = d.fresh("q"), d.fresh("k"), d.fresh("w")
    d.say(f"{q}, {k}, {v} = (one{heads} for one in {layer}({x}).chunk(3, dim=-1))")
    causal = d.rng.choice(["", ", is_causal=True"])
    return d.let(f"F.scaled_dot_product_attention({q}, {k}, {v}{causal}).transpose(1, 2).flatten(2)", x)


@block("encoder layer", "tokens")
def encoder_layer(d: Draft, x: Value) -> Value | None:
    if x.features % 2:
        return None
    x = d.floating(x)
    first = d.rng.choice(["", ", norm_first=True"])
    layer = d.module(f"nn.TransformerEncoderLayer({x.features}, 2, 8, batch_first=True{first})")
    return d.let(f"{layer}({x})", x)


@block("recurrent", "tokens")
def recurrent(d: Draft, x: Value) -> Value | None:
    if d.floats in ("bfloat16", "float16"):
        return None
    x, kind = d.floating(x), d.rng.choice(["LSTM", "GRU", "RNN"])
    both = d.rng.choice(["", ", bidirectional=True"])
    layer = d.module(f"nn.{kind}({x.features}, 4, batch_first=True{both})")
    return d.let(f"{layer}({x})[0]", x, *x.shape[:-1], 8 if both else 4)


@block("embedding", "rows", "tokens")
def embedding(d: Draft, x: Value) -> Value | None:
    if not d.exact():
        return None
    ids = d.let(f"{x}.mean(-1).mul(4).to(torch.int64).remainder(10)", x, *x.shape[:-1], dtype="int64")
    more = d.rng.choice(["", ", padding_idx=0", ", scale_grad_by_freq=True"])
    layer = d.module(f"nn.Embedding(10, 8{more})")
    return d.let(f"{layer}({ids})", x, *x.shape[:-1], 8, dtype=d.floats)


@block("embedding bag", "tokens")
def embedding_bag(d: Draft, x: Value) -> Value | None:
    if not d.exact():
        return None
    ids = d.let(f"{x}.mean(-1).mul(4).to(torch.int64).remainder(10)", x, *x.shape[:-1], dtype="int64")
    layer = d.module(f"nn.EmbeddingBag(10, 8, mode='{d.rng.choice(['mean', 'sum'])}')")
    return d.let(f"{layer}({ids})", x, x.shape[0], 8, dtype=d.floats, kind="rows")


@block("interpolate", "image", "wave")
def interpolate(d: Draft, x: Value) -> Value:
    x = d.floating(x)
    mode = d.rng.choice(["nearest", "bilinear" if x.kind == "image" else "linear"])
    return d.let(
        f"F.interpolate({x}, scale_factor=2, mode='{mode}')", x, *x.shape[:2], *(d.affine(s, 2) for s in x.shape[2:])
    )


@block("pixel shuffle", "image")
def pixel_shuffle(d: Draft, x: Value) -> Value | None:
    if x.features % 4:
        return None
    sizes = [d.affine(size, 2) for size in x.shape[2:]]
    return d.let(f"F.pixel_shuffle({x}, 2)", x, x.shape[0], x.features // 4, *sizes)
