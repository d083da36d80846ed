"""A model is a text of Python, its entry of a manifest, and what a judge has to know of it; all drawn from a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from fuzz import (
    blocks_layers,
    blocks_numbers,
    blocks_shapes,
    peculiar_control,
    peculiar_modules,
    peculiar_state,
)
from fuzz.blocks import BLOCKS, PECULIARITIES
from fuzz.draft import Draft, Value
from fuzz.peculiar_outputs import FORMS
from fuzz.starts import start

assert all((blocks_layers, blocks_numbers, blocks_shapes, peculiar_control, peculiar_modules, peculiar_state))
_TRIES = 20
_MOST = 40  # features at the end: larger ones only take time
_NEEDS_EXACT = ("integer tensors",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """`card` describes inputs, dims and options as JSON, for processes that do not know the manifest.

    `refusable` are the stages at which the product does right to refuse it.
    """

    number: int
    source: str
    entry: Mapping[str, Any]
    card: Mapping[str, Any]
    features: tuple[str, ...]
    refusable: frozenset[str]

    @property
    def module(self) -> str:
        """The name of its Python file."""
        return f"n{self.number:05}"

    @property
    def job(self) -> str:
        """The name of its job."""
        return f"{self.module}@cpu"


def generate(seed: int, number: int, *, compiled: bool = True) -> Model:
    """Draw a model. The same arguments give the same model, whatever `compiled` is, but for its compile format."""
    rng = Random(f"{seed}:{number}")
    cast = rng.choice(["keep"] * 14 + ["float32"] * 2 + ["bfloat16"] * 2 + ["float64"] * 2)
    floats = "float32" if cast == "keep" else cast
    draft = Draft(rng=rng, cast=cast, floats=floats, loose=floats == "bfloat16")
    value = _compose(draft, start(draft))
    form = FORMS["single tensor" if rng.random() < 0.4 else rng.choice(list(FORMS))]
    if form.name in _NEEDS_EXACT and not draft.exact():
        form = FORMS["single tensor"]
    draft.say(f"return {form.make(draft, value)}")
    draft.features.append(f"output: {form.name}")
    draft.refusable |= set(form.refusable)
    _settle_auto(draft)
    return _finished(draft, number, compiled=compiled)


def _compose(draft: Draft, value: Value) -> Value:
    rng = draft.rng
    plan = ["block"] * rng.randint(1, 5) + ["peculiarity"] * rng.choice([0, 0, 0, 1, 1, 1, 1, 2, 2])
    rng.shuffle(plan)
    for what in plan:
        registry = BLOCKS if what == "block" else PECULIARITIES
        for _ in range(_TRIES):
            one = registry[rng.choice(list(registry))]
            if value.kind not in one.kinds or one.name in draft.features:
                continue
            made = one.make(draft, value)
            if made is not None:
                value = made
                draft.features.append(one.name)
                draft.refusable |= set(one.refusable)
                break
        if value.kind in ("rows", "tokens") and value.features > _MOST:
            value = draft.let(f"{value}[..., :8]", value, *value.shape[:-1], 8)
    return value


def _settle_auto(draft: Draft) -> None:
    """Give sizes that the manifest does not list the examples that the product chooses: from 2 up, none twice."""
    taken = {dim.example for dim in draft.dims.values() if not dim.auto}
    for name, dim in draft.dims.items():
        if dim.auto:
            example = 2
            while example in taken:
                example += 1
            taken.add(example)
            draft.dims[name] = replace(dim, example=example, min=max(dim.min, 2))


def _finished(draft: Draft, number: int, *, compiled: bool) -> Model:
    rng = draft.rng
    used = {size[1] for size in _sizes(draft.inputs)}
    dims = {name: dim for name, dim in draft.dims.items() if name in used}
    export: dict[str, Any] = {}
    if rng.random() < 0.15:
        export["strict"] = True
    if rng.random() < 0.25:
        export["ir"] = rng.choice(["inference", "core-aten"])
    if rng.random() < 0.1:
        export["prefer_deferred_runtime_asserts"] = True
    submodules = [
        line.partition(" = ")[0] for line in draft.init if line.startswith("self.m") and " = nn.Linear" in line
    ]
    if submodules and rng.random() < 0.15:
        export["preserve_module_call_signature"] = [submodules[0].removeprefix("self.")]
    form = rng.choice(["package"] * 7 + ["so", "none"])
    compile_ = {"format": form}
    if form == "package" and rng.random() < 0.35:
        compile_["weights"] = "embedded"
    if not compiled:
        compile_ = {"format": "none"}
    if draft.loose and compile_["format"] != "none":
        draft.refusable.add("verify")
    seed = rng.randrange(100)
    name = f"n{number:05}"
    entry: dict[str, Any] = {"name": name, "model": f"{name}:Model", "seed": seed}
    entry |= {"dtype": draft.cast} if draft.cast != "keep" or rng.random() < 0.2 else {}
    entry |= {"method": draft.method} if draft.method != "forward" else {}
    entry["inputs"] = {key: _written(tree) for key, tree in draft.inputs.items()}
    entry["dims"] = {key: dim.to_manifest() for key, dim in dims.items() if not dim.auto}
    entry |= {"export": export} if export else {}
    card = {
        "module": name,
        "seed": seed,
        "dtype": draft.cast,
        "method": draft.method,
        "inputs": draft.inputs,
        "dims": {key: {**dim.to_manifest(), "auto": dim.auto} for key, dim in dims.items()},
        "export": export,
        "positional": draft.signature[: draft.signature.index("/")] if "/" in draft.signature else [],
        "seeded": draft.seeded,
        "loose": draft.loose,
    }
    return Model(
        number=number,
        source=draft.source(),
        entry={**entry, "compile": compile_},
        card=card,
        features=tuple(draft.features),
        refusable=frozenset(draft.refusable),
    )


def _sizes(tree: Any) -> list[Any]:
    """The sizes that vary, of all shapes in a tree of inputs."""
    if isinstance(tree, dict):
        if isinstance(tree.get("shape"), list):
            return [size for size in tree["shape"] if isinstance(size, list)]
        return [size for item in tree.values() for size in _sizes(item)]
    return [size for item in tree for size in _sizes(item)] if isinstance(tree, list) else []


def _written(tree: Any) -> Any:
    """The form of an input in a manifest."""
    if "list" in tree:
        return [_written(item) for item in tree["list"]]
    if "table" in tree:
        return {key: _written(item) for key, item in tree["table"].items()}
    if "value" in tree:
        return "none" if tree["value"] is None else tree["value"]
    tensor = tree["tensor"]
    form: dict[str, Any] = {"shape": [_size(size) for size in tensor["shape"]], "dtype": tensor["dtype"]}
    return form | ({"range": tensor["range"]} if tensor["range"] else {})


def _size(size: Any) -> Any:
    if isinstance(size, int):
        return size
    times, name, plus = size
    return (f"{times}*{name}" if times != 1 else name) + (f" + {plus}" if plus else "")
