"""Forms of outputs: how `forward` returns its last values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fuzz.draft import Draft, Value

Make = Callable[[Draft, Value], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A name, the expression that is returned, and the stages at which it may be refused."""

    name: str
    make: Make
    refusable: tuple[str, ...] = ()


FORMS: dict[str, Form] = {}


def _form(name: str, make: Make, *refusable: str) -> None:
    FORMS[name] = Form(name=name, make=make, refusable=refusable)


def _registered(d: Draft, x: Value) -> str:
    d.header += [
        "",
        "",
        "@dataclass",
        "class Out:",
        "    first: torch.Tensor",
        "    second: Optional[torch.Tensor] = None",
    ]
    name = d.rng.choice(["", ", serialized_type_name='fuzz.Out'"])
    d.header += ["", "", f"torch.export.register_dataclass(Out{name})"]
    return d.rng.choice([f"Out({x}, {x} + 1)", f"Out(first={x})"])


def _unregistered(d: Draft, x: Value) -> str:
    d.header += [
        "",
        "",
        "@dataclass",
        "class Out:",
        "    first: torch.Tensor",
        "    second: Optional[torch.Tensor] = None",
    ]
    return d.rng.choice([f"Out({x}, {x} + 1)", f"({x}, Out(first={x}))"])


def _named(d: Draft, x: Value) -> str:
    d.header += ["", "", "class Pair(NamedTuple):", "    one: torch.Tensor", "    two: torch.Tensor"]
    if d.rng.random() < 0.6:
        register = "torch.utils._pytree._register_namedtuple"
        d.header += ["", "", f"{register}(Pair, serialized_type_name='fuzz.Pair')"]
    return d.rng.choice([f"Pair({x}, {x} * 2)", f"{{'pair': Pair(two={x}, one={x} - 1), 'a': {x}}}"])


def _input(d: Draft, x: Value) -> str:
    names = [name for name, tree in d.inputs.items() if "tensor" in tree and name.isidentifier() and name != "extra"]
    name = d.rng.choice(names)
    return d.rng.choice([f"({x}, {name})", f"({name}, {x})", f"[{x}, {name}.detach()]"])


def _view(d: Draft, x: Value) -> str:
    name = next(iter(d.inputs))
    return d.rng.choice(
        [f"({x}, {name}[:1])", f"({x}, {name}.view({name}.shape))", f"({x}, {name}.transpose(0, -1))", f"{x}[0]"]
    )


def _buffer(d: Draft, x: Value) -> str:
    return (
        d.rng.choice(["({}, {})", "({1}, {0})"])
        .replace("{}", "{0}", 1)
        .replace("{}", "{1}")
        .format(x, d.buffer(d.rng.choice(["torch.arange(3)", "torch.ones(2, 2)"])))
    )


def _parameter(d: Draft, x: Value) -> str:
    name = d.fresh("w")
    d.init.append(f"self.{name} = nn.Parameter(torch.ones(3))")
    return d.rng.choice([f"({x}, self.{name})", f"({x}, self.{name}[:2])", f"{{'w': self.{name}, 'a': {x}}}"])


def _pick(*texts: str) -> Make:
    return lambda d, x: d.rng.choice(texts).replace("{}", str(x))


_form("single tensor", lambda d, x: str(x))
_form("tuple", _pick("({}, {} * 2)", "({},)", "({} + 1, {}.sum())"))
_form("list", _pick("[{}, {} + 1]", "[{}]"))
_form("dict", _pick("{'z': {}, 'a': {} + 1}", "{'out': {}}", "{'b': {}, 'a': {} * 2, 'c': {} - 1}"))
_form("nested", _pick("({}, [{} + 1, {'z': {}, 'a': ({} - 1,)}])", "{'z': [({} * 2, {}), {}], 'a': {'b': {}}}"))
_form("with None", _pick("({}, None)", "(None, {})", "{'aux': None, 'y': {}}", "[{}, (None, None)]"))
_form("same twice", _pick("({}, {})", "[{}, {}, {}]", "{'x': {}, 'y': {}}"))
_form("an input", _input)
_form("a view of an input", _view)
_form("a buffer", _buffer)
_form("a parameter", _parameter)
_form(
    "a size", _pick("({}, {}.shape[0])", "({}, {}.shape[-1], {}.shape[0] * 2)", "{'n': {}.size(0), 'y': {}}"), "compile"
)
_form(
    "numbers", _pick("({}, 3)", "({}, 0.5)", "({}, True)", "{'y': {}, 'k': 4, 'f': False}", "[{}, -1, 2.5]"), "compile"
)
_form("text", _pick("({}, 'detect')", "{'y': {}, 'task': 'x'}"), "export")
_form("named tuple", _named)
_form("registered dataclass", _registered)
_form("unregistered dataclass", _unregistered, "export")
_form(
    "integer tensors",
    _pick(
        "({}.argmax(-1), {})", "({}, {} > 0)", "{'ids': ({} * 2).floor().to(torch.int64), 'ok': {}.isfinite().all()}"
    ),
)
_form(
    "empty or scalar", _pick("({}, {}.mean())", "({}, {}[:0])", "({}, torch.tensor(3))", "({}.sum(), torch.zeros(0))")
)
_form("complex", _pick("({}, torch.complex({}.float(), {}.float()))", "({}, {}.to(torch.complex64) * 1j)"))
