"""What an entry asks of the capture is what the exported program has: inputs, methods, state, IR, archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.export.graph_signature import InputKind

from batchexport.core.errors import Kind
from batchexport.pipeline.failure import StageFailure
from support import models
from support.exporting import Export, Exported

pytestmark = pytest.mark.torch

AFFINE = 'model = ":Affine"\ninputs = { x = { shape = [3, 4] } }\n'


def targets(exported: Exported) -> set[str]:
    """The operators of the program, sub-graphs included."""
    modules = [
        module for module in exported.program().graph_module.modules() if isinstance(module, torch.fx.GraphModule)
    ]
    return {str(node.target) for module in modules for node in module.graph.nodes if node.op == "call_function"}


def inputs_of_kind(exported: Exported, kind: InputKind) -> list[Any]:
    return [spec for spec in exported.program().graph_signature.input_specs if spec.kind == kind]


# ── inputs ───────────────────────────────────────────────────────────────────────────────────────


def test_scalars_texts_and_nothing_are_passed_as_they_are(exported: Export) -> None:
    made = exported("""
        model = ":Scalars"
        inputs.x = { shape = [3] }
        inputs.factor = 1.5
        inputs.power = 2
        inputs.mode = "scale"
        inputs.flip = true
        inputs.bias = "none"
        """)
    made.verify()
    x = torch.ones(3)
    run = made.program().module()
    told = {"factor": 1.5, "power": 2, "mode": "scale", "flip": True, "bias": None}
    assert torch.equal(run(x=x, **told), torch.full((3,), -2.25))
    with pytest.raises((RuntimeError, AssertionError, ValueError)):
        run(x=x, **{**told, "power": 3})


def test_keyword_only_parameters_are_passed_by_name(exported: Export) -> None:
    made = exported('model = ":KeywordOnly"\ninputs.left = { shape = [2] }\ninputs.right = { shape = [2] }')
    made.verify()
    run = made.program().module()
    assert torch.equal(run(right=torch.ones(2), left=torch.zeros(2)), torch.tensor([-1.0, -1.0]))
    assert torch.equal(run(left=torch.zeros(2), right=torch.ones(2)), torch.tensor([-1.0, -1.0]))


def test_values_and_ranges_of_inputs_are_kept(exported: Export) -> None:
    made = exported("""
        model = ":Attention"
        inputs.ids = { shape = [4, 250], dtype = "int64", range = [3, 6] }
        inputs.mask = { shape = [4, 250], dtype = "int64", value = 7 }
        """)
    case, _ = made.reference()["calls"]
    assert set(case["inputs"]["ids"].unique().tolist()) == {3, 4, 5}
    assert set(case["inputs"]["mask"].unique().tolist()) == {7}


def test_inputs_are_a_function_of_the_seed_alone(exported: Export) -> None:
    one, same, other = (exported(f"{AFFINE}seed = {seed}").reference()["calls"][0] for seed in (1, 1, 2))
    assert torch.equal(one["inputs"]["x"], same["inputs"]["x"])
    assert torch.equal(one["outputs"][0], same["outputs"][0])
    assert not torch.equal(one["inputs"]["x"], other["inputs"]["x"])


def test_inputs_may_come_from_a_factory(exported: Export) -> None:
    made = exported('model = ":Affine"\ninputs = "support.models:affine_inputs"')
    assert torch.equal(made.reference()["calls"][0]["inputs"]["x"], torch.arange(12.0).reshape(3, 4))
    made.verify()


def test_inputs_may_come_from_a_file(exported: Export, tmp_path: Path) -> None:
    x = torch.arange(20.0).reshape(5, 4)
    save_file({"x": x}, tmp_path / "given.safetensors")
    torch.save({"x": x + 1}, tmp_path / "given.pt")
    for name, expected in (("given.safetensors", x), ("given.pt", x + 1)):
        made = exported(f'model = ":Affine"\ninputs = "{name}"')
        assert torch.equal(made.reference()["calls"][0]["inputs"]["x"], expected)
        made.verify()


@pytest.mark.parametrize("kind", ["box", "crate"])
def test_inputs_and_outputs_may_be_containers_of_the_model(exported: Export, kind: str) -> None:
    made = exported(
        f'model = ":{kind.title()}{"es" if kind == "box" else "s"}"\ninputs = "support.models:{kind}_inputs"'
    )
    assert made.output["modules"] == ["support.models"]
    made.verify()


def test_a_factory_must_give_a_table_or_a_list(exported: Export) -> None:
    with pytest.raises(StageFailure, match="gives a Tensor, not a dict by parameter name or a list") as failure:
        exported('model = ":Affine"\ninputs = "support.models:bare_input"')
    assert failure.value.kind is Kind.INPUTS


@pytest.mark.parametrize(
    ("inputs", "message", "remedy"),
    [
        ("{ xx = { shape = [3, 4] } }", "takes no input 'xx'; it takes x", "'x'"),
        ("{}", "needs the input 'x'", "add x to"),
        ("{ x = { shape = [3, 4] }, y = 1 }", "takes no input 'y'", ""),
    ],
)
def test_inputs_that_the_method_does_not_take_are_refused(
    exported: Export, inputs: str, message: str, remedy: str
) -> None:
    with pytest.raises(StageFailure, match=message) as failure:
        exported(f'model = ":Affine"\ninputs = {inputs}')
    assert failure.value.kind is Kind.INPUTS
    assert remedy in (failure.value.remedy or "")


# ── model, method, dtype ─────────────────────────────────────────────────────────────────────────


def test_another_method_than_forward_is_exported_under_its_own_parameter_names(exported: Export) -> None:
    made = exported('model = ":OtherMethod"\nmethod = "encode"\ninputs = { text = { shape = [2, 4] } }\nseed = 3')
    made.verify()
    torch.manual_seed(3)
    model = models.OtherMethod()
    text = torch.rand(2, 4)
    assert torch.equal(made.program().module()(text=text), model.encode(text))


def test_a_model_is_cast_and_its_inputs_follow(exported: Export) -> None:
    made = exported(AFFINE + 'dtype = "bfloat16"')
    assert {str(tensor.dtype) for tensor in made.program().state_dict.values()} == {"torch.bfloat16"}
    case, _ = made.reference()["calls"]
    assert (case["inputs"]["x"].dtype, case["outputs"][0].dtype) == (torch.bfloat16, torch.bfloat16)
    made.verify()


def test_a_model_is_exported_in_eval_mode(exported: Export) -> None:
    made = exported('model = ":Dropped"\ninputs = { x = { shape = [3, 4] } }')
    made.verify()
    x = torch.rand(3, 4)
    run = made.program().module()
    assert torch.equal(run(x=x), run(x=x))


def test_weights_are_loaded_into_the_archive(exported: Export, tmp_path: Path) -> None:
    weights = {"linear.weight": torch.full((2, 4), 0.5), "linear.bias": torch.tensor([1.0, -9.0])}
    save_file(weights, tmp_path / "weights.safetensors")
    torch.save({"state_dict": weights}, tmp_path / "weights.pt")
    for name in ("weights.safetensors", "weights.pt"):
        made = exported(AFFINE + f'weights = "{name}"')
        assert torch.equal(made.program().module()(x=torch.ones(1 + 2, 4)), torch.tensor([[3.0, 0.0]] * 3))


def test_weights_may_be_stored_in_the_dtype_that_is_asked_for(exported: Export, tmp_path: Path) -> None:
    half = {"linear.weight": torch.ones(2, 4).bfloat16(), "linear.bias": torch.ones(2).bfloat16()}
    save_file(half, tmp_path / "half.safetensors")
    made = exported(AFFINE + 'weights = "half.safetensors"\ndtype = "bfloat16"')
    assert torch.equal(made.program().state_dict["linear.bias"], half["linear.bias"])
    with pytest.raises(StageFailure, match="has dtype bfloat16, the model has float32"):
        exported(AFFINE + 'weights = "half.safetensors"')


def test_tied_weights_may_be_stored_once(exported: Export, tmp_path: Path) -> None:
    weight = torch.arange(20.0).reshape(5, 4)
    save_file({"embed.weight": weight}, tmp_path / "one.safetensors")
    made = exported("""
        model = ":Tied"
        weights = "one.safetensors"
        inputs.ids = { shape = [3], dtype = "int64", range = [0, 5] }
        """)
    made.verify()
    assert torch.equal(made.program().module()(ids=torch.tensor([0, 1, 4])), weight[[0, 1, 4]] @ weight.t())
    with pytest.raises(StageFailure, match=r"'head.weight' is missing") as failure:
        exported("""
            model = ":Tied"
            kwargs = { tied = false }
            weights = "one.safetensors"
            inputs.ids = { shape = [3], dtype = "int64", range = [0, 5] }
            """)
    assert failure.value.kind is Kind.WEIGHTS


def test_an_archive_may_be_the_model(exported: Export, tmp_path: Path) -> None:
    first = exported('model = ":Affine"\ninputs = { x = { shape = ["n", 4] } }\ndims = { n = { min = 1, max = 9 } }')
    first.path.rename(tmp_path / "first.pt2")
    made = exported('model = "first.pt2"\ninputs = { x = { shape = [5, 4] } }\nexport.ir = "core-aten"')
    made.verify()
    x = torch.rand(5, 4)
    torch.manual_seed(0)
    assert torch.equal(made.program().module()(x=x), models.Affine().eval()(x))


def test_an_archive_takes_its_inputs_by_name_whichever_way_it_was_exported(exported: Export, tmp_path: Path) -> None:
    dims = "dims = { n = { min = 1, max = 9 } }"
    first = exported(f'model = ":Affine"\ninputs = [ {{ shape = ["n", 4] }} ]\n{dims}')
    first.path.rename(tmp_path / "first.pt2")
    torch.save({name: tensor * 2 for name, tensor in models.Affine().state_dict().items()}, tmp_path / "w.pt")
    for inputs in ('{ x = { shape = ["n", 4] } }', '[ { shape = ["n", 4] } ]'):
        made = exported(f'model = "first.pt2"\ninputs = {inputs}\n{dims}\nweights = "w.pt"')
        made.verify()
        assert made.output["call"]["args"] == ["x"]
    with pytest.raises(StageFailure, match=r"Guard failed: x.size\(\)\[0\] <= 9") as failure:
        exported('model = "first.pt2"\ninputs = [ { shape = ["n", 4] } ]\ndims = { n = { min = 1, max = 20 } }')
    assert failure.value.remedy == "write `n = { min = 1, max = 9 }` in [entry.dims]"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('method = "encode"', "first.pt2 is an exported program, which has no method 'encode'"),
        ("args = [1]", "first.pt2 is a model, which args and kwargs can't change"),
    ],
)
def test_an_archive_takes_no_method_and_no_arguments(exported: Export, more: str, message: str) -> None:
    with pytest.raises(StageFailure, match=message) as failure:
        exported(f'model = "first.pt2"\ninputs = [ {{ shape = [3, 4] }} ]\n{more}')
    assert failure.value.kind is Kind.BUILD


# ── state ────────────────────────────────────────────────────────────────────────────────────────


def test_buffers_are_kept_as_what_they_are_and_constants_are_lifted(exported: Export) -> None:
    made = exported('model = ":Buffers"\ninputs = { x = { shape = ["n", 3] } }\ndims = { n = { max = 8 } }')
    made.verify()
    buffers = {spec.target: spec.persistent for spec in inputs_of_kind(made, InputKind.BUFFER)}
    assert buffers == {"kept": True, "passing": False}
    program = made.program()
    assert "kept" in program.state_dict
    assert "passing" not in program.state_dict
    assert len(inputs_of_kind(made, InputKind.CONSTANT_TENSOR)) == 2
    rows = {row[0]: row[1] for row in made.output["state"]}
    assert rows["kept"] == "buffer"
    assert rows["passing"] == "constant"
    assert sorted(rows.values()) == ["buffer", "constant", "constant", "constant"]


def test_a_buffer_that_the_model_changes_starts_as_it_was_built(exported: Export) -> None:
    made = exported('model = ":Counts"\ninputs = { x = { shape = ["n"] } }\ndims = { n = { min = 1, max = 8 } }')
    run = made.program().module()
    assert [run(x=torch.zeros(2))[0].item() for _ in range(3)] == [1.0, 2.0, 3.0]
    assert len(made.verify()["samples"]) == 4


def test_what_running_the_samples_leaves_in_a_model_is_not_exported(exported: Export) -> None:
    made = exported("""
        model = ":Remembers"
        inputs = { x = { shape = ["n", 3] } }
        dims = { n = { max = 8 } }
        """)
    assert torch.equal(made.program().module()(x=torch.ones(4, 3)), torch.ones(4, 3))
    with pytest.raises(StageFailure, match=r"the buffer 'last' after the call differs from eager by up to 1"):
        made.verify()


def test_a_lazy_module_is_exported_as_its_first_run_has_made_it(exported: Export) -> None:
    made = exported('model = ":Lazy"\ninputs = { x = { shape = ["n", 3] } }\ndims = { n = { max = 8 } }')
    assert {name: list(tensor.shape) for name, tensor in made.program().state_dict.items()} == {
        "linear.weight": [2, 3],
        "linear.bias": [2],
    }
    made.verify()


def test_tied_weights_stay_tied(exported: Export) -> None:
    entry = 'model = ":Tied"\ninputs.ids = { shape = [3], dtype = "int64", range = [0, 5] }\n'
    tied, untied = exported(entry), exported(entry + "kwargs = { tied = false }")
    tied.verify()
    groups = [{row[0]: row[5] for row in made.output["state"]} for made in (tied, untied)]
    assert len(set(groups[0].values())) == 1
    assert len(set(groups[1].values())) == 2
    assert tied.path.stat().st_size < untied.path.stat().st_size


def test_a_buffer_of_any_dtype_shape_and_stride_is_kept(exported: Export) -> None:
    made = exported('model = ":ManyTypes"\ninputs = { x = { shape = [2] } }\nexport = {}')
    made.verify()
    original = models.ManyTypes().state_dict()
    loaded = made.program().state_dict
    assert loaded.keys() == original.keys()
    for name, tensor in original.items():
        assert torch.equal(loaded[name], tensor.float() if tensor.is_floating_point() else tensor), name
    assert {row[0] for row in made.output["state"]} == original.keys()


# ── capture and lowering ─────────────────────────────────────────────────────────────────────────


def test_each_ir_has_its_own_operators(exported: Export) -> None:
    entry = 'model = ":Silu"\ninputs = { x = { shape = ["n"] } }\ndims = { n = { max = 8 } }\n'
    found = {}
    for ir in ("training", "inference", "core-aten"):
        made = exported(entry + f'export.ir = "{ir}"')
        made.verify()
        found[ir] = targets(made)
    assert found["training"] == found["inference"] == {"aten.silu.default", "aten.tanh.default", "aten.add.Tensor"}
    assert "aten.silu.default" not in found["core-aten"]
    assert {"aten.sigmoid.default", "aten.mul.Tensor"} <= found["core-aten"]


def test_inference_ir_is_functional(exported: Export) -> None:
    entry = 'model = ":Counts"\ninputs = { x = { shape = [2] } }\n'
    assert "aten.add_.Tensor" in targets(exported(entry))
    assert "aten.add_.Tensor" not in targets(exported(entry + 'export.ir = "inference"'))


def test_chosen_operators_are_decomposed_and_no_others(exported: Export) -> None:
    made = exported('model = ":Silu"\ninputs = { x = { shape = [3] } }\nexport.decompositions = ["aten.silu"]')
    assert "aten.silu.default" not in targets(made)
    assert "aten.tanh.default" in targets(made)
    made.verify()


def test_strict_capture_gives_the_same_numbers(exported: Export) -> None:
    made = exported("""
        model = ":Affine"
        inputs = { x = { shape = ["batch", 4] } }
        dims = { batch = { min = 1, max = 8 } }
        export.strict = true
        """)
    assert len(made.verify()["samples"]) == 3


def test_sub_graphs_are_exported_and_verified(exported: Export) -> None:
    made = exported('model = ":Branches"\ninputs = { x = { shape = ["n", 4] } }\ndims = { n = { max = 8 } }')
    made.verify()
    assert {"cond", "aten.sin.default"} <= {
        target.rpartition(".")[2] if "cond" in target else target for target in targets(made)
    }


def test_signatures_of_inner_modules_are_preserved_where_asked(exported: Export) -> None:
    entry = 'model = ":Encoder"\ninputs = { x = { shape = [3, 4] } }\n'
    made = exported(entry + 'export.preserve_module_call_signature = ["encoder"]')
    made.verify()
    preserved = {call.fqn for call in made.program().module_call_graph if call.signature is not None}
    assert "encoder" in preserved
    plain = {call.fqn for call in exported(entry).program().module_call_graph if call.signature is not None}
    assert "encoder" not in plain
    inner = torch.export.unflatten(made.program()).encoder
    assert inner(torch.ones(3, 4)).shape == (3, 3)


# ── archive ──────────────────────────────────────────────────────────────────────────────────────


def test_extra_files_are_in_the_archive(exported: Export, tmp_path: Path) -> None:
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "bert.json").write_text('{"licence": "ä"}', encoding="utf-8")
    made = exported(
        AFFINE + 'export.extra_files = { "card.json" = "cards/bert.json", "deep/card" = "cards/bert.json" }'
    )
    found = {"card.json": "", "deep/card": ""}
    torch.export.load(made.path, extra_files=found)
    assert found == {"card.json": '{"licence": "ä"}', "deep/card": '{"licence": "ä"}'}


def test_stats_count_operators_and_bytes_once(exported: Export) -> None:
    made = exported('model = ":Tied"\ninputs.ids = { shape = [3], dtype = "int64", range = [0, 5] }')
    stats = made.output["stats"]
    assert stats["ops"] == {"aten.embedding.default": 1, "aten.linear.default": 1}
    assert (stats["op_count"], stats["parameter_bytes"], stats["buffer_bytes"]) == (2, 5 * 4 * 4, 0)
