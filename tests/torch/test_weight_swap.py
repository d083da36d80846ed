"""New weights go into the stored archive where a new capture would give the same graph, and give the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from batchexport.pipeline import export, weight_swap
from batchexport.pipeline.model_structure import structure_digest
from support.exporting import Export, Exported
from support.models import Affine, Buffers, Tied

pytestmark = pytest.mark.torch

ENTRY = """
model = "reweighed:{model}"
weights = "weights.pt"
inputs = {{ x = {{ shape = ["n", 4] }} }}
dims = {{ n = {{ min = 1, max = 8, example = 3 }} }}
"""
MODELS = """
import torch
from torch import nn

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("fixed", torch.arange(4.0), persistent=False)
        self.shift = torch.full((4,), 2.0)

    def forward(self, x):
        return self.norm(self.linear(x)) + self.fixed + self.shift

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x))

class Nothing(nn.Module):
    def __init__(self):
        super().__init__()
        self.empty = nn.Parameter(torch.zeros(0, 4))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return torch.cat([self.empty, x]) * self.scale

class Branches(Plain):
    def __init__(self):
        super().__init__()
        self.register_load_state_dict_post_hook(lambda self, _: self.look())

    def look(self):
        self.is_positive = bool(self.linear.weight.sum() > 0)

    def forward(self, x):
        y = super().forward(x)
        return y + 1 if self.is_positive else y

class Remembers(Plain):
    def forward(self, x):
        if not torch.compiler.is_exporting():
            self.is_positive = bool(self.linear.weight.sum() > 0)
        y = super().forward(x)
        return y + 1 if self.is_positive else y

class Derives(Plain):
    def __init__(self):
        super().__init__()
        self.register_load_state_dict_post_hook(lambda self, _: self.look())

    def look(self):
        self.shift = self.linear.weight.sum(0).detach().clone()

class Keeps(Plain):
    def __init__(self):
        super().__init__()
        self.register_load_state_dict_post_hook(lambda self, _: self.look())

    def look(self):
        self.fixed.copy_(self.linear.weight.sum(0).detach())

CLIP = {}
LOGGER = __import__("logging").getLogger(__name__)

class Outside(Plain):
    scale = 1.0

    def found(self):
        return float(self.linear.weight.sum())

    def forward(self, x):
        if not torch.compiler.is_exporting():
            self.look()  # stores somewhere else what it finds in the weights
        return super().forward(x) * self.stored()

class InGlobalDict(Outside):
    def look(self): CLIP["a"] = self.found()
    def stored(self): return CLIP.get("a", 1.0)

class InGlobal(Outside):
    def look(self):
        global SCALE
        SCALE = self.found()
    def stored(self): return globals().get("SCALE", 1.0)

class InClass(Outside):
    def look(self): type(self).scale = self.found()
    def stored(self): return self.scale

class InBaseClass(Outside):
    def look(self): Outside.scale = self.found()
    def stored(self): return self.scale

class InFunction(Outside):
    def look(self): InFunction.stored.scale = self.found()
    def stored(self): return getattr(InFunction.stored, "scale", 1.0)

class InDefault(Outside):
    def look(self): InDefault.stored.__defaults__ = (self.found(),)
    def stored(self, scale=1.0): return scale

class InKeywordDefault(Outside):
    def look(self): InKeywordDefault.stored.__kwdefaults__ = {"scale": self.found()}
    def stored(self, *, scale=1.0): return scale

def counter():
    value = 1.0
    def put(new):
        nonlocal value
        value = new
    def get():
        return value
    return put, get

PUT, GET = counter()

class InClosure(Outside):
    def look(self): PUT(self.found())
    def stored(self): return GET()

class Box:
    pass

BOX = Box()

class InObject(Outside):
    def look(self): BOX.held = [self.found()]
    def stored(self): return getattr(BOX, "held", [1.0])[0]

class InCache(Outside):
    @staticmethod
    @__import__("functools").lru_cache
    def cached(key, value=None): return value
    def look(self): self.kept = None; InCache.cached("a", self.found())
    def stored(self): return 2.0 if InCache.cached.cache_info().currsize else 1.0

class InTensor(Outside):
    def look(self): CLIP["tensor"] = self.linear.weight.detach().sum()
    def stored(self): return CLIP["tensor"]

class InArray(Outside):
    def look(self): CLIP["array"] = self.linear.weight.detach().sum().numpy()
    def stored(self): return float(CLIP["array"])

class InHook(Outside):
    def __init__(self):
        super().__init__()
        self.register_load_state_dict_post_hook(lambda self, _: self.look_once())

    def look(self): pass
    def look_once(self): torch.nn.Linear.batchexport_scale = self.found()
    def stored(self): return torch.nn.Linear.batchexport_scale

class InOverride(Plain):
    def _load_from_state_dict(self, state, *args):
        super()._load_from_state_dict(state, *args)
        torch.nn.Linear.batchexport_scale = float(self.fixed.sum())
    def forward(self, x): return super().forward(x) * torch.nn.Linear.batchexport_scale

class InAlias(Outside):
    def look(self): CLIP["alias"] = self.linear.weight
    def stored(self): return CLIP["alias"].detach().sum()

class Hides(Plain):
    def __init__(self):
        super().__init__()
        self.held = iter([1])
"""


# Where a model may store what it finds in its weights, other than in itself.
OUTSIDE = ["InGlobalDict", "InGlobal", "InClass", "InBaseClass", "InFunction", "InDefault", "InKeywordDefault",
           "InClosure", "InObject", "InCache", "InTensor", "InArray", "InAlias",
           "InHook", "InOverride"]  # fmt: skip


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "reweighed.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    made = pytest.importorskip("reweighed")
    for place in (export, weight_swap):  # this process has more first-party modules than a child has: the tests
        monkeypatch.setattr(place, "first_party_modules", lambda: [made])
    return made


def write_weights(root: Path, made: nn.Module, value: float) -> None:
    state = {name: torch.full_like(tensor, value) for name, tensor in made.state_dict().items()}
    torch.save(state, root / "weights.pt")


def twice(exported: Export, root: Path, model: Any, name: str, entry: str = ENTRY) -> tuple[Exported, Exported]:
    """Another export with other weights that may keep the first one's graph; and one that may not."""
    entry = entry.format(model=name)
    write_weights(root, getattr(model, name)(), 1.0)
    first = exported(entry)
    write_weights(root, getattr(model, name)(), -2.0)
    return exported(entry, first.base()), exported(entry)


@pytest.mark.parametrize("name", ["Plain", "Tied", "Nothing"])
def test_an_archive_with_new_weights_is_what_a_new_capture_gives_byte_for_byte(
    exported: Export, tmp_path: Path, model: Any, name: str
) -> None:
    kept, captured = twice(exported, tmp_path, model, name)
    assert kept.output["reweighed"]
    assert not captured.output["reweighed"]
    assert kept.path.read_bytes() == captured.path.read_bytes()
    assert (kept.folder / "reference.pt").read_bytes() == (captured.folder / "reference.pt").read_bytes()
    for part in ("program", "skeleton", "modules", "likeness", "state"):
        assert json.dumps(kept.output[part]) == json.dumps(captured.output[part])
    assert kept.output["stats"]["ops"] == captured.output["stats"]["ops"]
    assert len(kept.verify()["samples"]) == 3


def test_new_weights_are_verified_at_the_same_sizes_of_an_auto_dim(
    exported: Export, tmp_path: Path, model: Any
) -> None:
    auto = ENTRY.replace("min = 1, max = 8", "auto = true, min = 2, max = 8")
    kept, captured = twice(exported, tmp_path, model, "Plain", auto)
    assert (kept.output["reweighed"], captured.output["reweighed"]) == (True, False)
    assert kept.points() == captured.points() == [{"n": 3}, {"n": 2}, {"n": 8}]
    assert (kept.folder / "reference.pt").read_bytes() == (captured.folder / "reference.pt").read_bytes()
    assert kept.output["auto"] == captured.output["auto"] == kept.base()["auto"]
    assert kept.verify()["refused"]["point"] == {"n": 9}


@pytest.mark.parametrize("name", ["Branches", "Remembers", "Derives", "Keeps", "Hides", *OUTSIDE])
def test_a_model_that_could_know_its_weights_is_captured_anew(
    exported: Export, tmp_path: Path, model: Any, name: str
) -> None:
    kept, captured = twice(exported, tmp_path, model, name)
    assert not kept.output["reweighed"]
    assert kept.path.read_bytes() == captured.path.read_bytes()


def test_strict_capture_is_always_done_anew(exported: Export, tmp_path: Path, model: Any) -> None:
    kept, _ = twice(exported, tmp_path, model, "Plain", ENTRY + "export.strict = true\n")
    assert not kept.output["reweighed"]


def test_new_ties_are_another_program(exported: Export, tmp_path: Path, model: Any) -> None:
    write_weights(tmp_path, model.Tied(), 1.0)
    first = exported(ENTRY.format(model="Tied"))
    state = first.base()["state"]
    loose = [[*row[:5], index, row[6]] for index, row in enumerate(state)]
    again = exported(ENTRY.format(model="Tied"), {**first.base(), "state": loose})
    assert not again.output["reweighed"]


class Holds(nn.Module):
    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        vars(self).update(attributes)

    def forward(self, x: Tensor) -> Any:
        return self.linear(x)


class Config:
    def __init__(self, size: int) -> None:
        self.size = size


def adder(number: int) -> Any:
    return lambda x: x + number


@pytest.mark.parametrize("make", [Affine, Buffers, Tied])
def test_models_are_alike_whatever_their_weights(make: Any) -> None:
    torch.manual_seed(0)
    one = make()
    torch.manual_seed(1)
    assert structure_digest(one) == structure_digest(make()) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1, True),
        (1.0, 1.5),
        ("a", "b"),
        ([1, [2]], [1, [3]]),
        ({"a": 1}, {"a": 2}),
        ({1, 2}, {1, 3}),
        (torch.zeros(2), torch.ones(2)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (Config(1), Config(2)),
        (adder(1), adder(2)),
        (torch.relu, torch.tanh),
        (torch.float32, torch.float64),
    ],
)
def test_what_a_module_holds_tells_models_apart(one: Any, other: Any) -> None:
    assert structure_digest(Holds(held=one)) == structure_digest(Holds(held=one)) is not None
    assert structure_digest(Holds(held=one)) != structure_digest(Holds(held=other))


def test_what_cannot_be_looked_into_is_like_nothing() -> None:
    assert structure_digest(Holds(held=iter([1]))) is None
    assert structure_digest(Holds(held=torch.Generator())) is None


def test_a_model_that_holds_itself_can_be_compared() -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    assert structure_digest(Holds(held=circle)) == structure_digest(Holds(held=circle)) is not None
