"""Publishing: a child's files become a result under the key of all its inputs, and the trace is written last."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from batchexport.core import keys
from batchexport.core.digests import bytes_digest
from batchexport.dependencies.checker import relative_to
from batchexport.dependencies.dependency import Dependency, DependencyKind, source_digest
from batchexport.engine.job_run import JobRun
from batchexport.engine.publish import Published, Publisher, fingerprint
from batchexport.planning.lookup import Hit, Miss, PackWeights
from batchexport.store.errors import StoreError
from batchexport.store.results import Result, Results
from batchexport.store.store import Store
from batchexport.workers.exit_status import Success
from support import builders
from support.builders import job, key

WEIGHT = ["w", "parameter", "torch.float32", [2], [1], 0, "weights 1"]
CONSTANT = ["c", "constant", "torch.float32", [2], [1], 1, "constant 1"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cache")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "m.py").write_text("x = 1")
    return folder


def publisher(store: Store, root: Path) -> Publisher:
    """The publisher of a new run."""
    lookup = builders.lookup(store, root)
    return Publisher(
        results=lookup._results,
        traces=lookup._traces,
        lookup=lookup,
        history=lookup._history,
        root=str(root),
    )


def outcome(
    root: Path, *, state: tuple[list[Any], ...] = (WEIGHT, CONSTANT), uncacheable: tuple[str, ...] = ()
) -> Success:
    """The success of an export stage that read one file."""
    data = (root / "m.py").read_bytes()
    stats = {
        "op_count": 1,
        "parameter_bytes": 8,
        "buffer_bytes": 0,
        "strict": False,
        "ops": {"add": 1},
        "seconds": {"build": 1.0},
    }
    output = {
        "program": key("program"),
        "skeleton": key("skeleton"),
        "state": list(state),
        "modules": [],
        "likeness": key("likeness"),
        "auto": None,
        "reweighed": False,
        "packed": None,
        "warnings": [],
        "call": {"args": [], "kwargs": ["x"], "positions": ["x"]},
        "stats": stats,
    }
    dependencies = [Dependency(DependencyKind.FILE, str(root / "m.py"), (bytes_digest(data),))]
    return Success(output=output, dependencies=dependencies, uncacheable=list(uncacheable))


def left(store: Store, exported: bytes = b"exported") -> Path:
    """The folder of an attempt whose child has succeeded."""
    folder = store.attempt("job")
    (folder / "exported.pt2").write_bytes(exported)
    (folder / "reference.pt").write_bytes(b"reference")
    return folder


def published(store: Store, root: Path, **more: Any) -> Published:
    miss = Miss(key=None, lock="lock", reason="never built")
    return publish(publisher(store, root), JobRun(job()), "export", miss, left(store), outcome(root, **more))


def export(store: Store, root: Path, **more: Any) -> tuple[Result, JobRun]:
    return published(store, root, **more).result, JobRun(job())


def publish(one: Publisher, run: JobRun, stage: str, miss: Miss, folder: Path, success: Success) -> Published:
    return one.publish(run, stage, miss, folder, success, reason=miss.reason)


def decide(store: Store, root: Path) -> Hit | Miss:
    """The lookup of a new run."""
    return builders.lookup(store, root).export(job())


def test_an_export_is_found_by_the_next_run(store: Store, root: Path) -> None:
    first = published(store, root)
    found = decide(store, root)
    assert isinstance(found, Hit)
    assert found.result == first.result
    assert first.reason == "never built"


def test_its_key_is_made_of_request_sources_and_state(store: Store, root: Path) -> None:
    made = outcome(root)
    state = keys.digest("state", keys.STATE_VERSION, made.output["state"])
    source = source_digest(relative_to(str(root), made.dependencies, []))
    request_key = builders.lookup(store, root).request_key(job())
    assert export(store, root)[0].key == keys.export_key(request_key, source, state)


@pytest.mark.parametrize(
    ("state", "moved"),
    [
        ((WEIGHT, CONSTANT), set()),
        (([*WEIGHT[:-1], "weights 2"], CONSTANT), {"state"}),
        ((WEIGHT, [*CONSTANT[:-1], "constant 2"]), {"state", "folded"}),
        (([*WEIGHT[:3], [4], *WEIGHT[4:]], CONSTANT), {"state", "layout"}),
        (([*WEIGHT[:2], "torch.float16", *WEIGHT[3:]], CONSTANT), {"state", "layout"}),
        (([*WEIGHT[:5], 1, WEIGHT[6]], CONSTANT), {"state", "layout"}),
        ((["v", *WEIGHT[1:]], CONSTANT), {"state", "layout"}),
    ],
    ids=["nothing", "a weight", "a constant", "a shape", "a dtype", "a tie", "a name"],
)
def test_layout_and_constants_are_distinguished_from_weights(
    store: Store, root: Path, state: tuple[list[Any], ...], moved: set[str]
) -> None:
    before, after = export(store, root)[0].facts, export(store, root, state=state)[0].facts
    assert {name for name in ("state", "layout", "folded") if before[name] != after[name]} == moved


def test_the_record_holds_all_that_was_observed(store: Store, root: Path) -> None:
    result, _ = export(store, root)
    record = Results(store).record("export", result.key)
    assert record is not None
    assert record.data["dependencies"] == [["file", "m.py", bytes_digest(b"x = 1")]]
    assert record.data["state"] == [WEIGHT, CONSTANT]
    assert record.data["stats"]["ops"] == {"add": 1}
    assert set(record.files) == {"exported", "reference"}


def test_a_file_outside_the_root_is_recorded_with_its_place(store: Store, root: Path, tmp_path: Path) -> None:
    (tmp_path / "far").touch()
    made = outcome(root)
    made.dependencies.append(Dependency(DependencyKind.FILE, str(tmp_path / "far"), (bytes_digest(b""),)))
    run = JobRun(job())
    publish(publisher(store, root), run, "export", Miss(key=None, lock="l", reason=""), left(store), made)
    request_key = builders.lookup(store, root).request_key(job())
    [[set_key, _]] = store.index.get("trace", request_key)  # type: ignore[misc]
    assert "place" in {kind for kind, *_ in store.index.get("set", set_key)}  # type: ignore[union-attr]


def test_an_uncacheable_export_is_used_by_this_run_only(store: Store, root: Path) -> None:
    first = published(store, root, uncacheable=("the network is read",))
    assert first.reason == "never built; uncacheable: the network is read"
    assert Results(store).record("export", first.result.key) is not None
    assert isinstance(decide(store, root), Miss)
    again, _ = export(store, root, uncacheable=("the network is read",))
    assert again.key != first.result.key


def test_an_export_that_could_not_be_published_leaves_no_trace(store: Store, root: Path) -> None:
    folder = left(store)
    (folder / "reference.pt").unlink()
    run = JobRun(job())
    with pytest.raises((StoreError, OSError)):
        publish(publisher(store, root), run, "export", Miss(key=None, lock="l", reason=""), folder, outcome(root))
    assert isinstance(decide(store, root), Miss)


def test_a_file_that_changed_after_the_child_had_read_it_makes_no_wrong_hit(store: Store, root: Path) -> None:
    made = outcome(root)
    (root / "m.py").write_text("x = 2")
    run = JobRun(job())
    publish(publisher(store, root), run, "export", Miss(key=None, lock="l", reason=""), left(store), made)
    missed = decide(store, root)
    assert isinstance(missed, Miss)
    assert "m.py changed" in missed.reason


def test_a_nondeterministic_export_is_not_reused_until_two_builds_agree(store: Store, root: Path) -> None:
    export(store, root)
    publisher(store, root).mark_nondeterministic(job())
    assert isinstance(decide(store, root), Miss)
    assert "different results" in published(store, root).reason
    assert isinstance(decide(store, root), Miss)
    publisher(store, root).clear_nondeterministic(job())
    export(store, root)
    assert isinstance(decide(store, root), Hit)


def test_the_mark_of_a_nondeterministic_export_survives_the_loss_of_the_index(store: Store, root: Path) -> None:
    export(store, root)
    publisher(store, root).mark_nondeterministic(job())
    store.close()
    for path in store.layout.index.iterdir():
        os.unlink(path)
    store = Store.open(store.layout.root)
    assert isinstance(decide(store, root), Miss)


def test_two_builds_are_equal_by_program_weights_archive_and_outputs(store: Store, root: Path) -> None:
    same = fingerprint(left(store), outcome(root))
    assert fingerprint(left(store), outcome(root, uncacheable=("why",))) == same
    assert fingerprint(left(store, b"other"), outcome(root)) != same
    assert fingerprint(left(store), outcome(root, state=(WEIGHT,))) != same
    folder = left(store)
    (folder / "reference.pt").write_bytes(b"other numbers")
    assert fingerprint(folder, outcome(root)) != same


def compile_miss(store: Store, root: Path, result: Result) -> Miss:
    found = builders.lookup(store, root).compile(job(), result)
    assert isinstance(found, Miss)
    return found


def test_compiled_code_is_found_under_its_key_and_its_parts_for_other_weights(store: Store, root: Path) -> None:
    result, run = export(store, root)
    run.export = result
    miss = compile_miss(store, root, result)
    folder = store.attempt("job")
    (folder / "code").mkdir()
    for name in ("compiled.pt2", "frozen.bin", "code/m.so", "code/m_weights.blob"):
        (folder / name).write_text(name)
    code = {"files": ["m.so", "m_weights.blob"], "blob": "m_weights.blob", "wrapper": "m.cpp", "frozen": []}
    success = Success(output={"compiled": "compiled.pt2", "code": code}, dependencies=[], uncacheable=[])
    publish(publisher(store, root), run, "compile", miss, folder, success)
    assert isinstance(builders.lookup(store, root).compile(job(), result), Hit)
    record = Results(store).record("code", miss.lock)
    assert record is not None
    assert set(record.files) == {"m.so", "frozen.bin"}
    other, _ = export(store, root, state=([*WEIGHT[:-1], "weights 2"], CONSTANT))
    packed = compile_miss(store, root, other)
    assert isinstance(packed, PackWeights)
    assert packed.code.facts == code


def test_of_code_that_cannot_take_other_weights_only_the_reason_is_stored(store: Store, root: Path) -> None:
    result, run = export(store, root)
    run.export = result
    folder = store.attempt("job")
    (folder / "compiled.pt2").write_text("code")
    success = Success(output={"compiled": "compiled.pt2", "code": {"why": "folded"}}, dependencies=[], uncacheable=[])
    miss = compile_miss(store, root, result)
    publish(publisher(store, root), run, "compile", miss, folder, success)
    record = Results(store).record("code", miss.lock)
    assert record is not None
    assert (dict(record.files), record.data["facts"]) == ({}, {"why": "folded"})


def test_evidence_is_stored_under_its_key(store: Store, root: Path) -> None:
    result, run = export(store, root)
    miss = builders.lookup(store, root).verify(job(), result, None)
    assert isinstance(miss, Miss)
    success = Success(output={"samples": [], "refused": None}, dependencies=[], uncacheable=[])
    publish(publisher(store, root), run, "verify", miss, store.attempt("job"), success)
    found = builders.lookup(store, root).verify(job(), result, None)
    assert isinstance(found, Hit)
    assert found.result.facts["evidence"] == {"samples": [], "refused": None}
