"""Lookups: each component changes the keys that it should and no other, in every process alike."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchexport.core.digests import bytes_digest
from batchexport.core.job import Job
from batchexport.dependencies.dependency import Dependency
from batchexport.dependencies.traces import Traces
from batchexport.planning.lookup import CacheLookup, Hit, Miss, PackWeights, SwapWeights
from batchexport.store.results import Result, Results
from batchexport.store.store import Store
from batchexport.toolchain.probe import Toolchain
from support import builders
from support.builders import export_result, job, key, toolchain


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cache")


@pytest.fixture
def decide(store: Store, tmp_path: Path) -> Callable[..., CacheLookup]:
    """A lookup as a new command has it."""

    def make(tools: Toolchain | None = None, force: tuple[str, ...] = ()) -> CacheLookup:
        return builders.lookup(store, tmp_path, tools=tools, force=force)

    return make


def keys(lookup: CacheLookup, one: Job, export: Result, compiled: Result | None = None) -> dict[str, str]:
    """All keys of a job whose export gave `export` and whose compile gave `compiled`."""
    return {
        "request": lookup.request_key(one),
        "code": lookup.code_key(one, export),
        "compile": lookup.compile_key(one, export),
        "verify": lookup.verify_key(one, export, compiled),
    }


def moved(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


COMPILED = Result(key=key("compiled"), files={"compiled": key("artifact")}, facts={})

EXPORT_WORDS: dict[str, dict[str, Any]] = {
    "model": {"model": "models:other"},
    "head": {"head": "CausalLM"},
    "args": {"args": (1,)},
    "kwargs": {"kwargs": {"layers": 2}},
    "weights": {"weights": "w.safetensors"},
    "weights_key": {"weights_key": "state_dict"},
    "weights_prefix": {"weights_prefix": "module."},
    "seed": {"seed": 1},
    "method": {"method": "encode"},
    "dtype": {"dtype": "bfloat16"},
    "mode": {"mode": "train"},
    "inputs": {"inputs": {"x": {"value": 1}}},
    "inputs by name": {"inputs": "inputs.safetensors"},
    "dims": {"dims": {"batch": {"min": 1}}},
    "derived": {"derived": {"double": "2*batch"}},
    "additional_inputs": {"additional_inputs": ({"x": {"value": 1}},)},
    "shapes": {"shapes": {"x": ("batch", 3)}},
    "fixed": {"fixed": {"batch": 3}},
    "measured": {"measured": ("batch",)},
    "data": {"data": ("a.json",)},
    "imports": {"imports": ("mylib.ops",)},
    "strict": {"strict": True},
    "strict by itself": {"strict": "auto"},
    "ir": {"ir": "core-aten"},
    "loss": {"ir": "joint", "loss": 0},
    "preserve_module_call_signature": {"preserve_module_call_signature": ("encoder",)},
    "keep": {"keep": ("aten.silu",)},
    "decompose": {"decompose": {"aten.silu": True}},
    "decompose_triton": {"decompose_triton": True},
    "extra_files": {"extra_files": {"card.json": "card.json"}},
    "prefer_deferred_runtime_asserts": {"prefer_deferred_runtime_asserts": True},
}


def test_every_field_of_an_export_spec_is_tried_here() -> None:
    tried = {name for words in EXPORT_WORDS.values() for name in words}
    assert tried | {"env"} == set(job().export.to_json()) == set(job().export.__dataclass_fields__)
    assert set(job().compile.to_json()) == set(job().compile.__dataclass_fields__)
    assert set(job().verify.to_json()) == set(job().verify.__dataclass_fields__)


@pytest.mark.parametrize("words", EXPORT_WORDS.values(), ids=EXPORT_WORDS)
def test_the_spec_of_an_export_changes_its_request_key_and_the_rest_by_its_result_alone(
    decide: Callable[..., CacheLookup], words: dict[str, Any]
) -> None:
    plain, other = job(), job(export=words)
    found = moved(keys(decide(), plain, export_result(), COMPILED), keys(decide(), other, export_result(), COMPILED))
    assert found == {"request"}


def test_the_environment_of_an_entry_reaches_every_stage(decide: Callable[..., CacheLookup]) -> None:
    plain, other = job(), job(export={"env": {"OMP_NUM_THREADS": "1"}})
    found = moved(keys(decide(), plain, export_result(), COMPILED), keys(decide(), other, export_result(), COMPILED))
    assert found == {"request", "code", "compile", "verify"}


TOOLS = {"python": "CPython 3.12", "torch": "2.14.0", "numpy": "2.0", "TORCHINDUCTOR_FREEZING": "1"}
CODE_TOOLS: dict[str, Any] = {"cxx": "clang 18", "isa": "avx512", "threads": 8}


@pytest.mark.parametrize(("name", "value"), TOOLS.items(), ids=TOOLS)
def test_the_tools_that_capture_change_the_keys_of_every_stage(
    decide: Callable[..., CacheLookup], name: str, value: str
) -> None:
    before = keys(decide(), job(), export_result(), COMPILED)
    after = keys(decide(toolchain(**{name: value})), job(), export_result(), COMPILED)
    assert moved(before, after) == {"request", "code", "compile", "verify"}


@pytest.mark.parametrize(("name", "value"), CODE_TOOLS.items(), ids=CODE_TOOLS)
def test_the_tools_that_compile_do_not_change_the_keys_of_exports(
    decide: Callable[..., CacheLookup], name: str, value: Any
) -> None:
    before = keys(decide(), job(), export_result(), COMPILED)
    after = keys(decide(toolchain(**{name: value})), job(), export_result(), COMPILED)
    assert moved(before, after) == {"code", "compile", "verify"}


COMPILE_WORDS: dict[str, dict[str, Any]] = {
    "target": {"target": "cpu-avx2"},
    "options": {"options": {"max_autotune": True}},
    "weights": {"weights": "embedded"},
    "format": {"format": "so"},
}


@pytest.mark.parametrize("words", COMPILE_WORDS.values(), ids=COMPILE_WORDS)
def test_the_spec_of_a_compile_changes_its_keys_alone(
    decide: Callable[..., CacheLookup], words: dict[str, Any]
) -> None:
    before = keys(decide(), job(), export_result(), COMPILED)
    after = keys(decide(), job(compile=words), export_result(), COMPILED)
    assert moved(before, after) == {"code", "compile"}


@pytest.mark.parametrize("words", [{"rtol": 1.0}, {"atol": 1.0}, {"negative": False}], ids=str)
def test_a_tolerance_changes_the_verify_key_alone(decide: Callable[..., CacheLookup], words: dict[str, Any]) -> None:
    before = keys(decide(), job(), export_result(), COMPILED)
    assert moved(before, keys(decide(), job(verify=words), export_result(), COMPILED)) == {"verify"}


def test_samples_are_made_by_the_export_and_used_by_verify(decide: Callable[..., CacheLookup]) -> None:
    before = keys(decide(), job(), export_result(), COMPILED)
    after = keys(decide(), job(verify={"samples": "example"}), export_result(), COMPILED)
    assert moved(before, after) == {"request", "verify"}


def test_the_target_changes_the_verify_key_of_an_exported_program(decide: Callable[..., CacheLookup]) -> None:
    cpu = keys(decide(), job("m@cpu", compile={"format": "none"}), export_result())
    cuda = keys(decide(), job("m@cuda", compile={"format": "none"}), export_result())
    assert "verify" in moved(cpu, cuda)
    assert cpu["request"] == cuda["request"], "both are verified against one export"


@pytest.mark.parametrize("more", [{"tags": ("nightly",)}, {"timeout": 1.0}, {"name": "x@cpu", "folder": "x"}], ids=str)
def test_a_field_that_reaches_no_artifact_changes_no_key(
    decide: Callable[..., CacheLookup], more: dict[str, Any]
) -> None:
    before = keys(decide(), job(), export_result(), COMPILED)
    assert moved(before, keys(decide(), job(**more), export_result(), COMPILED)) == set()


@pytest.mark.parametrize("fact", ["program", "layout", "folded"])
def test_another_program_needs_other_code(decide: Callable[..., CacheLookup], fact: str) -> None:
    before = keys(decide(), job(), export_result(), COMPILED)
    after = keys(decide(), job(), export_result("other", **{fact: key("other")}), COMPILED)
    assert moved(before, after) == {"code", "compile"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({"weights": "external"}, {"compile"}),
        ({"weights": "embedded"}, {"code", "compile"}),
        ({"format": "so", "weights": "external"}, {"code", "compile"}),
    ],
    ids=["external", "embedded", "a library"],
)
def test_new_weights_need_other_code_only_where_they_end_up_inside(
    decide: Callable[..., CacheLookup], words: dict[str, Any], expected: set[str]
) -> None:
    one = job(compile=words)
    before = keys(decide(), one, export_result(), COMPILED)
    after = keys(decide(), one, export_result("other", state=key("other")), COMPILED)
    assert moved(before, after) == expected


def test_the_verify_key_contains_the_digests_of_artifact_and_reference(decide: Callable[..., CacheLookup]) -> None:
    other = Result(key=COMPILED.key, files={"compiled": key("other bytes")}, facts={})
    before = keys(decide(), job(), export_result(), COMPILED)
    assert moved(before, keys(decide(), job(), export_result(), other)) == {"verify"}
    assert moved(before, keys(decide(), job(), export_result(reference=key("numbers")), COMPILED)) == {"verify"}
    assert moved(before, keys(decide(), job(), export_result(exported=key("archive")), COMPILED)) == set()
    bare = keys(decide(), job(), export_result())
    assert moved(bare, keys(decide(), job(), export_result(exported=key("archive")))) == {"verify"}


def test_a_new_file_that_matches_a_data_pattern_changes_the_request_key(
    decide: Callable[..., CacheLookup], tmp_path: Path
) -> None:
    one = job(export={"data": ("vocab/*.json",)})
    before = decide().request_key(one)
    (tmp_path / "vocab").mkdir()
    assert decide().request_key(one) == before
    (tmp_path / "vocab/a.json").touch()
    assert decide().request_key(one) != before


def test_jobs_that_share_an_export_but_not_their_samples_have_different_request_keys(
    decide: Callable[..., CacheLookup],
) -> None:
    one, other = job(), job(verify={"samples": "example"})
    object.__setattr__(other, "export", one.export)
    lookup = decide()
    assert lookup.request_key(one) != lookup.request_key(other)


PROGRAM = """
import json, sys
from pathlib import Path
from batchexport.store.store import Store
from support import builders
with Store.open(Path(sys.argv[1]) / "cache") as store:
    lookup = builders.lookup(store, Path(sys.argv[1]))
    one = builders.job(
        export={"kwargs": {"b": {2, 1} and [1, 2], "a": {"y": 1, "x": None}}, "env": {"B": "1", "A": "2"}},
        compile={"options": {"z": 1, "a": True}},
    )
    export = builders.export_result()
    print(json.dumps([lookup.request_key(one), lookup.compile_key(one, export), lookup.verify_key(one, export, None)]))
"""


@pytest.mark.process
def test_the_same_job_has_the_same_keys_in_every_process(tmp_path: Path) -> None:
    path = ":".join([str(Path(__file__).parents[2]), *sys.path])
    answers = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path)],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": path, "LANG": language},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, language in (("1", "C"), ("2", "C.UTF-8"), ("random", "C"))
    }
    assert len(answers) == 1
    assert len(json.loads(answers.pop())) == 3


# ── hits and misses ──────────────────────────────────────────────────────────────────────────────


def publish(store: Store, lookup: CacheLookup, one: Job, tmp_path: Path, *, kind: str = "file") -> Result:
    """An export as a run leaves it: a record, then a trace, of one dependency of that kind."""
    path = store.attempt("job") / "artifact"
    path.write_bytes(b"artifact")
    reference = path.with_name("reference")
    reference.write_bytes(b"reference")
    facts = {**export_result().facts, "likeness": key("likeness")}
    files = {"exported": path, "reference": reference}
    result = Results(store).publish("export", key("export"), files=files, facts=facts, more={})
    (tmp_path / "m.py").write_text("x = 1")
    dependencies = [Dependency.from_row([kind, "m.py", bytes_digest(b"x = 1")])]
    Traces(store, builders.checker(store, tmp_path)).add(lookup.request_key(one), dependencies, result.key)
    return result


def test_an_unchanged_export_is_a_hit_and_a_changed_one_a_miss_with_a_reason(
    decide: Callable[..., CacheLookup], store: Store, tmp_path: Path
) -> None:
    result = publish(store, decide(), job(), tmp_path)
    found = decide().export(job())
    assert isinstance(found, Hit)
    assert found.result == result
    (tmp_path / "m.py").write_text("x = 2")
    missed = decide().export(job())
    assert missed == Miss(key=None, lock=decide().request_key(job()), reason="data: m.py changed")


def test_another_request_is_a_miss_whose_reason_is_the_difference(
    decide: Callable[..., CacheLookup], store: Store, tmp_path: Path
) -> None:
    publish(store, decide(), job(), tmp_path)
    lookup = decide()
    lookup._history.remember("export", "bert@cpu", lookup.export_components(job()))
    missed = decide().export(job(export={"seed": 7}))
    assert isinstance(missed, Miss)
    assert missed.reason == "spec.seed 0 → 7"


def test_a_job_without_history_was_never_built(decide: Callable[..., CacheLookup]) -> None:
    missed = decide().export(job())
    assert isinstance(missed, Miss)
    assert missed.reason == "never built"


def test_an_unchanged_trace_whose_record_is_gone_is_a_miss(
    decide: Callable[..., CacheLookup], store: Store, tmp_path: Path
) -> None:
    result = publish(store, decide(), job(), tmp_path)
    Results(store).forget("export", result.key)
    store.records.remove("export", result.key)
    missed = decide().export(job())
    assert isinstance(missed, Miss)
    assert "missing or damaged" in missed.reason


def test_compile_and_verify_hit_under_their_keys_and_nowhere_else(
    decide: Callable[..., CacheLookup], store: Store, tmp_path: Path
) -> None:
    export = publish(store, decide(), job(), tmp_path)
    assert isinstance(decide().compile(job(), export), Miss)
    path = store.attempt("job") / "compiled"
    path.write_bytes(b"code")
    compiled = Results(store).publish(
        "compile", decide().compile_key(job(), export), files={"compiled": path}, facts={}, more={}
    )
    assert isinstance(decide().compile(job(), export), Hit)
    assert isinstance(decide().compile(job(compile={"options": {"a": 1}}), export), Miss)
    assert isinstance(decide().verify(job(), export, compiled), Miss)
    Results(store).publish(
        "verify", decide().verify_key(job(), export, compiled), files={}, facts={"evidence": {}}, more={}
    )
    assert isinstance(decide().verify(job(), export, compiled), Hit)
    assert isinstance(decide().verify(job(verify={"rtol": 0.5}), export, compiled), Miss)


def test_code_of_the_same_program_only_needs_the_new_weights(
    decide: Callable[..., CacheLookup], store: Store, tmp_path: Path
) -> None:
    export = publish(store, decide(), job(), tmp_path)
    Results(store).publish("code", decide().code_key(job(), export), files={}, facts={"files": []}, more={})
    missed = decide().compile(job(), export)
    assert isinstance(missed, PackWeights)
    assert missed.code.facts == {"files": []}
    without = decide().compile(job(), export, pack=False)
    assert type(without) is Miss


def test_new_weights_are_packed_in_one_go_where_they_are_all_that_changed_and_a_package_is_wanted(
    decide: Callable[..., CacheLookup], store: Store, tmp_path: Path
) -> None:
    export = publish(store, decide(), job(), tmp_path, kind="weights")
    (tmp_path / "m.py").write_text("x = 2")
    assert around(decide().export(job(), pack=True)) is None
    code = Results(store).publish("code", decide().code_key(job(), export), files={}, facts={"files": []}, more={})
    assert around(decide().export(job(), pack=True)) == code
    assert around(decide().export(job())) is None
    assert around(decide().export(job(), swap_weights=False, pack=True)) is None
    assert around(decide(force=("compile",)).export(job(), pack=True)) is None
    Results(store).publish("code", code.key, files={}, facts={"why": "folded"}, more={})
    assert around(decide().export(job(), pack=True)) is None


def around(decision: Hit | Miss) -> Result | None:
    assert isinstance(decision, Miss)
    return decision.code if isinstance(decision, SwapWeights) else None


def test_code_whose_weights_cannot_be_exchanged_is_compiled_again(
    decide: Callable[..., CacheLookup], store: Store, tmp_path: Path
) -> None:
    export = publish(store, decide(), job(), tmp_path)
    Results(store).publish("code", decide().code_key(job(), export), files={}, facts={"why": "folded"}, more={})
    missed = decide().compile(job(), export)
    assert type(missed) is Miss
    assert missed.reason.endswith("its weights can't be exchanged: folded")


def test_a_forced_stage_is_never_a_hit(decide: Callable[..., CacheLookup], store: Store, tmp_path: Path) -> None:
    export = publish(store, decide(), job(), tmp_path)
    forced = decide(force=("export",))
    assert forced.export(job()) == Miss(key=None, lock=forced.request_key(job()), reason="forced")
    assert decide(force=("compile",)).compile(job(), export).reason == "forced"
    assert decide(force=("verify",)).verify(job(), export, None).reason == "forced"
    assert isinstance(decide(force=("verify",)).export(job()), Hit)


def test_a_prefetch_changes_no_decision(decide: Callable[..., CacheLookup], store: Store, tmp_path: Path) -> None:
    jobs = [job(), job("none@cpu", compile={"format": "none"}), job("other@cpu", export={"seed": 1})]
    publish(store, decide(), jobs[0], tmp_path)
    prefetched = decide()
    prefetched.prefetch(jobs)
    assert [prefetched.export(one) for one in jobs] == [decide().export(one) for one in jobs]
