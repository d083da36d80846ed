"""The fuzzer's generator is pure and draws every part; its verdicts flag what is wrong and nothing else."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from fuzz.blocks import BLOCKS, PECULIARITIES
from fuzz.model import generate
from fuzz.peculiar_outputs import FORMS
from fuzz.project import Project, manifest
from fuzz.verdict import Seen, violations

from batchexport.manifest.resolve import load

DRAWS = 1500
OK: dict[str, Any] = {"ok": True, "error": None, "stages": {"export": {"outcome": "cached"}}}


def refused(kind: str = "export", message: str = "torch.export: no", remedy: str | None = None) -> dict[str, Any]:
    error = {"stage": "export", "kind": kind, "message": message, "remedy": remedy}
    return {"ok": False, "error": error, "stages": {"export": {"outcome": "failed"}}}


def sorts(job: dict[str, Any], **more: Any) -> list[str]:
    given: dict[str, Any] = {"exported": job, "run": job, "verified": job, "refusable": frozenset(), **more}
    return [one.sort for one in violations(Seen(**given))]


def test_the_same_seed_gives_the_same_model_and_another_seed_another() -> None:
    assert [generate(7, number) for number in range(50)] == [generate(7, number) for number in range(50)]
    assert generate(7, 0).source != generate(8, 0).source


def test_compiling_a_model_or_not_changes_nothing_else() -> None:
    one, other = generate(7, 3), generate(7, 3, compiled=False)
    assert one.source == other.source
    assert {**one.entry, "compile": 0} == {**other.entry, "compile": 0}
    assert other.entry["compile"] == {"format": "none"}


def test_every_part_turns_up() -> None:
    drawn = {name for number in range(DRAWS) for name in generate(1, number).features}
    assert drawn == {*BLOCKS, *PECULIARITIES, *(f"output: {name}" for name in FORMS)}


def test_every_option_turns_up() -> None:
    models = [generate(1, number) for number in range(300)]
    dims = [dim for model in models for dim in model.card["dims"].values()]
    export = [model.entry.get("export", {}) for model in models]
    assert {model.card["dtype"] for model in models} == {"keep", "float32", "float64", "bfloat16"}
    assert {one.get("ir") for one in export} == {None, "inference", "core-aten"}
    assert {key for one in export for key in one} >= {
        "strict",
        "prefer_deferred_runtime_asserts",
        "preserve_module_call_signature",
    }
    assert {model.entry["compile"]["format"] for model in models} == {"package", "so", "none"}
    assert {dim["auto"] for dim in dims} == {True, False}
    assert any(dim.get("multiple_of", 1) > 1 for dim in dims)
    assert any(not model.card["dims"] for model in models)


def test_models_are_python_and_their_manifest_is_one_the_product_takes(tmp_path: Path) -> None:
    project, models = Project(base=tmp_path), [generate(3, number) for number in range(200)]
    for model in models:
        compile(model.source, model.module, "exec")
        project.add(model)
    project.write(models)
    tomllib.loads(manifest([model.entry for model in models], "dist"))
    assert sorted(job.name for job in load(project.folder / "m.toml").jobs) == sorted(model.job for model in models)


def test_a_good_job_is_no_violation() -> None:
    assert sorts(OK, found={"exported.pt2": None, "compiled.pt2": None}) == []


@pytest.mark.parametrize(
    ("more", "sort"),
    [
        ({"found": {"exported.pt2": None, "compiled.pt2": "call 3 at {}: output differs"}}, "wrong"),
        ({"failed": "the process ended with status 11"}, "wrong"),
        ({"bytes_differ": "models/model.json: …"}, "bytes"),
        ({"exported": refused()}, "inconsistent"),
        ({"verified": refused("verify")}, "inconsistent"),
        ({"run": {**OK, "stages": {"export": {"outcome": "built"}}}}, "inconsistent"),
    ],
)
def test_an_ok_job_with_a_fault_is_a_violation(more: dict[str, Any], sort: str) -> None:
    assert sorts(OK, **more) == [sort]


@pytest.mark.parametrize(
    ("job", "sort"),
    [
        (refused("internal", "batchexport itself failed: KeyError"), "internal"),
        (refused("crash", "died"), "internal"),
        (refused("export", "torch.export: "), "message"),
        (refused("export", ""), "message"),
        (refused("build", "running the model"), "message"),
        (refused("save", "torch.export.save: NotImplementedError", "free some disk space"), "message"),
    ],
)
def test_an_unfit_refusal_is_a_violation(job: dict[str, Any], sort: str) -> None:
    assert sorts(job, plain={"export": "RuntimeError"}) == [sort]


def test_a_refusal_is_a_false_alarm_where_torch_alone_is_right_and_the_model_has_nothing_to_refuse() -> None:
    right, wrong = {"export": None, "call": None}, {"export": None, "call": "call 2 differs"}
    assert sorts(refused(), plain=right) == ["false alarm"]
    assert sorts(refused(), plain=wrong) == []
    assert sorts(refused(), plain=right, refusable=frozenset({"export"})) == []


def test_two_different_refusals_are_inconsistent() -> None:
    assert sorts(refused(message="torch.export: no"), exported=refused(message="other")) == ["inconsistent"]
