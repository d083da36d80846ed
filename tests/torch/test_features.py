"""Each entry of manifests/features.toml has in its artifact what it is named after."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from support.projects import GUARD

pytestmark = [pytest.mark.process, pytest.mark.torch]

MANIFESTS = Path(__file__).parents[2] / "manifests"
REFUSED = (RuntimeError, AssertionError, ValueError)


@dataclass(frozen=True)
class Features:
    """The manifest after a run: what was delivered, by job, and the report."""

    root: Path
    report: dict[str, Any]

    def folder(self, job: str) -> Path:
        return self.root / "dist" / "features" / f"{job}@cpu"

    def program(self, job: str) -> ExportedProgram:
        """The delivered archive, loaded by plain torch."""
        return torch.export.load(self.folder(job) / "exported.pt2")

    def job(self, job: str) -> dict[str, Any]:
        """The delivered job.json."""
        about: dict[str, Any] = json.loads((self.folder(job) / "job.json").read_text())
        return about

    def compiled(self, job: str) -> Any:
        return torch._inductor.aoti_load_package(str(self.folder(job) / "compiled.pt2"))


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Features:
    root = tmp_path_factory.mktemp("features")
    shutil.copytree(MANIFESTS / "features", root / "manifests" / "features")
    shutil.copy(MANIFESTS / "features.toml", root / "manifests")
    report = root / "report.json"
    command = [sys.executable, "-P", "-m", "batchexport", "run", "manifests/features.toml", "--json", str(report)]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=GUARD, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    # To compare with, and what registers classes and operators, as job.json's `imports` tells.
    sys.path.insert(0, str(root / "manifests"))
    try:
        for module in ("calls", "models", "operators"):
            importlib.import_module(f"features.{module}")
    finally:
        sys.path.remove(str(root / "manifests"))
    return Features(root, json.loads(report.read_text()))


def operators(program: ExportedProgram) -> set[str]:
    return {str(node.target) for node in program.graph.nodes if node.op == "call_function"}


def ranges(program: ExportedProgram) -> list[tuple[int, int]]:
    return sorted((int(span.lower), int(span.upper)) for span in program.range_constraints.values())


def names(program: ExportedProgram, kind: InputKind) -> list[str | None]:
    return [spec.target for spec in program.graph_signature.input_specs if spec.kind == kind]


def features_of(module: str) -> Any:
    return sys.modules[f"features.{module}"]


def eager(features: Features, job: str, **kwargs: Any) -> Any:
    """Build the model of most entries, with the weights that were delivered."""
    model = features_of("models").Net(**kwargs).eval()
    model.load_state_dict(features.program(job).state_dict)
    return model


def test_every_entry_has_a_test_here(features: Features) -> None:
    entries = tomllib.loads((MANIFESTS / "features.toml").read_text())["entry"]
    source = Path(__file__).read_text()
    assert [entry["name"] for entry in entries if f'"{entry["name"]}' not in source] == []


def test_all_is_verified_but_for_the_known_failure(features: Features) -> None:
    failed = {job["entry"]: job["error"]["kind"] for job in features.report["jobs"] if not job["ok"]}
    assert failed == {"known-failure": "export"}
    assert features.report["totals"]["expected"] == 1


# ── forms of models ──────────────────────────────────────────────────────────────────────────────


def test_classes_factories_and_instances_are_models(features: Features) -> None:
    x = torch.randn(3, 16)
    assert torch.equal(features.program("class").module()(x=x), eager(features, "class", hidden=32)(x))
    assert features.program("factory").module()(x=torch.randn(3, 8)).shape == (3, 4)
    assert features.program("factory").state_dict["encoder.0.weight"].shape == (4, 8)
    assert torch.equal(features.program("instance").module()(x=x[:2]), eager(features, "instance")(x[:2]))
    assert features.program("torch-class").module()(x[:2]).shape == (2, 4)


def test_a_method_takes_the_place_of_forward(features: Features) -> None:
    x = torch.randn(2, 16)
    called = features.program("method-of-a-call").module()
    assert torch.equal(called(x=x), eager(features, "method-of-a-call").logits(x))
    assert torch.equal(features.program("method").module()(x=x), eager(features, "method").encode(x))
    program, model = features.program("method-of-a-part"), features_of("models").Pipeline()
    model.load_state_dict(program.state_dict)
    assert torch.equal(program.module()(x=x), model.net.encode(x))
    assert torch.equal(features.program("static-method").module()(x=x), x * 2)


def test_a_function_is_a_model_with_the_state_that_it_names(features: Features) -> None:
    program, x = features.program("function"), torch.randn(8, 16)
    assert "NET.head.weight" in program.state_dict
    model = features_of("models").Net()
    model.load_state_dict({name.removeprefix("NET."): tensor for name, tensor in program.state_dict.items()})
    assert torch.equal(program.module()(x=x), model(x) * 2)


@pytest.mark.parametrize("job", ["scripted", "traced"])
def test_torchscript_keeps_its_names_and_dims(features: Features, job: str) -> None:
    program, x = features.program(job), torch.randn(8, 16)
    assert set(program.state_dict) == {"linear.weight", "linear.bias"}
    told = features_of("models").Scriptable()
    told.load_state_dict(program.state_dict)
    assert torch.allclose(program.module()(x=x), told(x), atol=1e-6)
    with pytest.raises(REFUSED):
        program.module()(x=torch.randn(9, 16))


def test_a_model_of_a_library_needs_only_its_name(features: Features) -> None:
    for module in features.job("library")["imports"]:
        importlib.import_module(module)
    program = features.program("library")
    assert (1, 4) in ranges(program) or (2, 4) in ranges(program)
    found = program.module()(**{name: torch.ones(3, 12, dtype=torch.int64) for name in program.example_inputs[1]})
    assert found["logits"].shape == (3, 2)


# ── state ────────────────────────────────────────────────────────────────────────────────────────


def test_the_seed_decides_the_weights(features: Features) -> None:
    seven, none, other = (
        features.program(job).state_dict["head.weight"] for job in ("seed", "signature", "strict-auto")
    )
    assert torch.equal(none, other)
    assert not torch.equal(none, seven)


def test_tied_weights_stay_one_tensor(features: Features) -> None:
    state = features.program("tied").state_dict
    assert state["embed.weight"].data_ptr() == state["out.weight"].data_ptr()


def test_buffers_and_constants_keep_their_kinds(features: Features) -> None:
    program = features.program("buffers")
    persistent = {s.target: s.persistent for s in program.graph_signature.input_specs if s.kind == InputKind.BUFFER}
    assert persistent == {"kept": True, "dropped": False}
    assert names(program, InputKind.CONSTANT_TENSOR) == ["constant"]
    assert "dropped" not in program.state_dict


def test_a_changed_buffer_is_changed_by_each_call(features: Features) -> None:
    program = features.program("changed-buffer")
    assert "aten.add_.Tensor" in operators(program)
    run, x = program.module(), torch.ones(4, 16)
    assert torch.equal(run(x=x), torch.zeros(4, 16))
    assert torch.equal(run(x=x), -torch.ones(4, 16))


def test_dtypes_stay_unless_a_cast_is_asked_for(features: Features) -> None:
    mixed = features.program("mixed-dtypes").state_dict
    assert (mixed["table"].dtype, mixed["linear.weight"].dtype) == (torch.float64, torch.float32)
    assert {tensor.dtype for tensor in features.program("cast").state_dict.values()} == {torch.bfloat16}


def test_train_mode_keeps_dropout_batch_statistics_and_gradients(features: Features) -> None:
    program = features.program("train")
    assert {"aten.dropout.default", "aten.batch_norm.default"} <= operators(program)
    assert "norm.running_mean" in names(program, InputKind.BUFFER)
    assert all(parameter.requires_grad for parameter in program.parameters())
    run, x = program.module(), torch.randn(8, 16)
    assert (run(x=x) == 0).float().mean() > 0.1


@pytest.mark.parametrize("job", ["weights", "weights-nested", "weights-sharded", "checkpoints[base]"])
def test_weights_are_those_of_the_file(features: Features, job: str) -> None:
    told = load_file(MANIFESTS / "features" / "weights" / "net.safetensors")
    held = features.program(job).state_dict
    assert held.keys() == told.keys()
    assert all(torch.equal(held[name], told[name]) for name in told)


def test_each_checkpoint_has_its_own_weights(features: Features) -> None:
    base, tuned = (features.program(f"checkpoints[{name}]").state_dict for name in ("base", "tuned"))
    assert torch.equal(tuned["head.bias"], base["head.bias"] + 0.125)


def test_a_matrix_gives_a_job_for_each_combination(features: Features) -> None:
    jobs = [job["name"] for job in features.report["jobs"] if job["entry"] == "matrix"]
    assert jobs == [f"matrix[hidden={hidden},seed={seed}]@cpu" for hidden in (4, 12) for seed in (0, 1)]
    assert features.program("matrix[hidden=12,seed=1]").state_dict["head.weight"].shape == (4, 12)


# ── inputs ───────────────────────────────────────────────────────────────────────────────────────


def test_inputs_are_passed_by_name_and_by_position(features: Features) -> None:
    model = features_of("calls").Positions()
    a, b, c, d, e = (torch.randn(3, 4) for _ in range(5))
    by_name = features.program("by-name").module()
    assert torch.equal(by_name(a, b, c, d, scale=3.0, extra=e), model(a, b, c, d, scale=3.0, extra=e))
    assert torch.equal(features.program("by-position").module()(a, b, c), model(a, b, c))


def test_nested_inputs_come_in_their_own_classes(features: Features) -> None:
    calls = features_of("calls")
    a, b, c, d, e, f, g, h = (torch.randn(5, 4) for _ in range(8))
    given: dict[str, Any] = {
        "table": {"a": a, "more": [b]},
        "pair": calls.Pair(c, d),
        "state": calls.State(e, f),
        "both": (g, h),
    }
    found, told = features.program("nested").module()(**given), calls.Nested()(**given)
    assert type(found) is calls.State
    assert torch.equal(found.hidden, told.hidden)
    assert torch.equal(found.cell, told.cell)
    assert features.job("nested")["imports"] == ["features.calls"]


def test_plain_values_are_part_of_the_program(features: Features) -> None:
    run, x = features.program("values").module(), torch.full((2, 4), 2.0)
    assert torch.equal(run(x=x, power=3, mode="power", flip=True, bias=None), -(x**3))
    with pytest.raises(REFUSED):
        run(x=x, power=2, mode="power", flip=True, bias=None)


def test_a_whole_number_varies(features: Features) -> None:
    run, x = features.program("dynamic-int").module(), torch.randn(4)
    assert run(x=x, n=12).shape == (12, 4)
    with pytest.raises(REFUSED):
        run(x=x, n=13)


def test_inputs_come_from_a_factory_and_from_a_file(features: Features) -> None:
    for job, shape in (("factory-inputs", (2, 6, 16)), ("file-inputs", (2, 6, 16))):
        args, kwargs = features.program(job).example_inputs
        assert not args
        assert kwargs["x"].shape == shape
    told = load_file(MANIFESTS / "features" / "weights" / "inputs.safetensors")
    assert torch.equal(features.program("file-inputs").example_inputs[1]["x"], told["x"])


@pytest.mark.parametrize(("job", "sizes"), [("factory-shapes", (8, 12)), ("file-shapes", (8, 6))])
def test_inputs_of_a_factory_or_file_have_dims(features: Features, job: str, sizes: tuple[int, int]) -> None:
    run, by_position = features.program(job).module(), job == "factory-shapes"
    x = torch.randn(*sizes, 16)
    assert (run(x) if by_position else run(x=x)).shape == (*sizes[:1], 16)
    x = torch.randn(9, sizes[1], 16)
    with pytest.raises(REFUSED):
        run(x) if by_position else run(x=x)


def test_outputs_keep_their_structure(features: Features) -> None:
    x = torch.randn(3, 4)
    found = features.program("outputs").module()(x=x)
    assert (list(found), found["nothing"], found["order"]) == (["sum", "parts", "nothing", "order"], None, 2)
    assert torch.equal(found["parts"][1], x * 2)


# ── dims ─────────────────────────────────────────────────────────────────────────────────────────


def test_one_name_is_one_size(features: Features) -> None:
    program = features.program("shared-dim")
    run = program.module()
    assert run(x=torch.randn(8, 16), y=torch.randn(8, 32)).shape == (8, 16)
    for x, y in (((8, 16), (8, 30)), ((8, 16), (7, 32)), ((9, 16), (9, 32)), ((8, 17), (8, 34))):
        with pytest.raises(REFUSED):
            run(x=torch.randn(x), y=torch.randn(y))


def test_a_size_of_another_dim_has_a_name(features: Features) -> None:
    run = features.program("derived-dim").module()
    assert run(x=torch.randn(8, 16), y=torch.randn(8, 32)).shape == (8, 16)
    with pytest.raises(REFUSED):
        run(x=torch.randn(8, 16), y=torch.randn(8, 31))


def test_only_multiples_are_taken(features: Features) -> None:
    run = features.program("multiple").module()
    assert run(x=torch.randn(2, 32)).shape == (2, 16)
    for size in (2, 5, 34):
        with pytest.raises(REFUSED):
            run(x=torch.randn(2, size))


def test_an_automatic_dim_has_the_range_that_torch_finds(features: Features) -> None:
    run = features.program("auto").module()
    assert run(x=torch.randn(8, 100, 16)).shape == (8, 16)
    with pytest.raises(REFUSED):
        run(x=torch.randn(9, 100, 16))


def test_an_automatic_dim_keeps_within_its_bounds(features: Features) -> None:
    run = features.program("auto-bounds").module()
    assert run(x=torch.randn(3, 32, 16)).shape == (3, 16)
    with pytest.raises(REFUSED):
        run(x=torch.randn(3, 33, 16))


def test_a_further_call_tells_what_varies(features: Features) -> None:
    assert features.program("additional-inputs").module()(x=torch.randn(7, 11, 16)).shape == (7, 16)


def test_a_number_is_the_only_size(features: Features) -> None:
    run = features.program("static").module()
    assert run(x=torch.randn(8, 5, 16)).shape == (8, 16)
    with pytest.raises(REFUSED):
        run(x=torch.randn(8, 6, 16))


# ── capture, lowering, archive ───────────────────────────────────────────────────────────────────


def test_strict_capture_gives_the_same_program(features: Features) -> None:
    assert operators(features.program("strict")) == operators(features.program("class"))
    x = torch.randn(8, 16)
    assert torch.equal(features.program("strict").module()(x=x), eager(features, "strict")(x))
    assert {job: features.job(job)["stats"]["strict"] for job in ("strict", "strict-auto")} == {
        "strict": True, "strict-auto": False,
    }  # fmt: skip


def test_deferred_asserts_check_at_run_time(features: Features) -> None:
    program = features.program("deferred-asserts")
    assert "aten._assert_scalar.default" in operators(program)
    run = program.module()
    assert run(x=torch.randn(5, 6), y=torch.randn(30)).shape == (30,)
    with pytest.raises(REFUSED):
        run(x=torch.randn(5, 6), y=torch.randn(31))


def test_the_signature_of_a_module_is_kept(features: Features) -> None:
    unflat = torch.export.unflatten(features.program("signature"))
    x = torch.randn(2, 16)
    assert torch.equal(unflat.encoder(x), eager(features, "signature").encode(x))


def test_both_branches_are_in_the_program(features: Features) -> None:
    run, x = features.program("branches").module(), torch.ones(3, 4)
    assert torch.equal(run(x=x), x + 1)
    assert torch.equal(run(x=-x), -x - 1)


def test_each_ir_has_its_operators(features: Features) -> None:
    found = {ir: operators(features.program(ir)) for ir in ("training", "inference", "core-aten")}
    assert {"aten.linear.default", "aten.silu.default", "aten.gelu.default"} <= found["training"]
    assert "aten.silu.default" in found["inference"]
    assert {"aten.linear.default", "aten.silu.default"} & found["core-aten"] == set()
    assert {"aten.addmm.default", "aten.gelu.default"} <= found["core-aten"]


def test_operators_are_kept_and_decomposed(features: Features) -> None:
    kept, taken_apart = operators(features.program("keep")), operators(features.program("decompose"))
    assert {"aten.linear.default", "aten.silu.default"} <= kept
    assert not {"aten.silu.default", "aten.gelu.default"} & taken_apart
    assert {"aten.sigmoid.default", "aten.tanh.default"} <= taken_apart


def test_a_joint_program_returns_the_gradients_of_backward(features: Features) -> None:
    program, model = features.program("joint"), features_of("models").Loss()
    model.load_state_dict(program.state_dict)
    x, target = torch.randn(5, 16), torch.randn(5)
    loss, found = model(x, target)
    loss.backward()
    for run in (program.module(), features.compiled("joint")):
        outputs, gradients = run(x=x, target=target)
        assert torch.allclose(outputs[0], loss, atol=1e-6)
        assert torch.allclose(outputs[1], found, atol=1e-6)
        assert set(gradients) == {"linear.weight", "linear.bias"}
        for name, parameter in model.named_parameters():
            assert torch.allclose(gradients[name], parameter.grad, atol=1e-6)


def test_extra_files_travel_in_the_archive(features: Features) -> None:
    extra = {"card.txt": ""}
    torch.export.load(features.folder("extra-files") / "exported.pt2", extra_files=extra)
    assert extra == {"card.txt": "A card that travels in the archive.\n"}


def test_a_custom_operator_is_called_and_its_module_named(features: Features) -> None:
    assert "features.triple.default" in operators(features.program("custom-operator"))
    assert features.job("custom-operator")["imports"] == ["features.operators"]


# ── compiled code ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("job", ["package", "embedded", "options"])
def test_a_package_runs_without_batchexport(features: Features, job: str) -> None:
    x = torch.randn(8, 16)
    assert torch.allclose(features.compiled(job)(x=x), eager(features, job)(x), atol=1e-6)


def test_weights_lie_beside_the_code_or_in_it(features: Features) -> None:
    import zipfile

    def members(job: str) -> list[str]:
        return zipfile.ZipFile(features.folder(job) / "compiled.pt2").namelist()

    assert any(name.endswith(".blob") for name in members("package"))
    assert not any(name.endswith(".blob") for name in members("embedded"))


def test_a_library_runs_without_batchexport(features: Features) -> None:
    run = torch._export.aot_load(str(features.folder("shared-library") / "compiled.so"), "cpu")
    x = torch.randn(8, 16)
    assert torch.allclose(run(x=x), eager(features, "shared-library")(x), atol=1e-6)


def test_options_reach_inductor(features: Features) -> None:
    def keys(job: str) -> Tensor | str:
        found = next(one for one in features.report["jobs"] if one["name"] == f"{job}@cpu")
        return str(found["stages"]["compile"]["key"])

    assert keys("options") != keys("package")
