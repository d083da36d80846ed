"""Sessions and plans: what a command knows before any work, and what it plans."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from batchexport.core.errors import ManifestError, StoreError, UsageError
from batchexport.core.job import Job
from batchexport.core.options import RunOptions
from batchexport.core.plan import JobState, PlannedJob
from batchexport.planning.lookup import Hit
from batchexport.planning.planner import job_state, make_plan, plan_job
from batchexport.planning.session import Session, cache_folder, open_session
from batchexport.store.outputs import FILES, stamp
from batchexport.store.results import Result
from support import builders
from support.builders import export_result

MANIFEST = """
schema = 1
[cache]
dir = "cache"
[[entry]]
name = "bert"
model = "models:bert"
tags = ["text"]
[[entry]]
name = "plain"
model = "models:plain"
compile.format = "none"
"""


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunOptions:
    monkeypatch.delenv("BATCHEXPORT_CACHE_DIR", raising=False)
    (tmp_path / "manifest.toml").write_text(MANIFEST)
    monkeypatch.chdir(tmp_path)
    return RunOptions(manifest=Path("manifest.toml"))


def publish(session: Session, kind: str, key: str, facts: dict[str, Any], *names: str) -> Result:
    files = {}
    for name in names:
        files[name] = session.store.attempt("job") / name
        files[name].write_text(f"{kind} {name}")
    return session.results.publish(kind, key, files=files, facts=facts, more={"stats": {}})


def build(session: Session, job: Job, *, upto: str = "verify") -> dict[str, Result]:
    """Publish the results of a run that built a job up to a stage."""
    lookup = session.lookup
    facts = dict(export_result().facts)
    export = publish(session, "export", builders.key(job.name), facts, "exported", "reference")
    session.traces.add(lookup.request_key(job), [], export.key)
    session.timings.learn(job, "export", 3.0, 1)
    results = {"export": export}
    if upto != "export" and job.compile.format != "none":
        results["compile"] = publish(session, "compile", lookup.compile_key(job, export), {}, "compiled")
        session.timings.learn(job, "compile", 20.0, 1)
    if upto == "verify":
        key = lookup.verify_key(job, export, results.get("compile"))
        results["verify"] = publish(session, "verify", key, {"evidence": {}})
    return results


def deliver(session: Session, job: Job, results: dict[str, Result]) -> None:
    sources = {}
    for kind, inner in (("export", "exported"), ("compile", "compiled")):
        if kind in results:
            record = session.results.record(kind, results[kind].key)
            assert record is not None
            sources[FILES[job.compile.format if kind == "compile" else "exported"]] = (record, inner)
    made_from = stamp(job, results["export"], results.get("compile"), results["verify"])
    session.delivery.deliver(job.folder, sources, {}, made_from)
    session.delivery.remember()


def actions(job: PlannedJob) -> dict[str, str]:
    return {name: stage.action for name, stage in job.stages.items()}


def plan_of(options: RunOptions, name: str) -> PlannedJob:
    with open_session(options) as session:
        return next(plan_job(session, job) for job in session.jobs if job.name == name)


def state_of(options: RunOptions, name: str) -> JobState:
    with open_session(options) as session:
        return next(job_state(session, job) for job in session.jobs if job.name == name)


# ── sessions ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("option", "variable", "written", "expected"),
    [
        ("o", "v", "m", "o"),
        (None, "v", "m", "v"),
        (None, None, "m", "m"),
        (None, "", "m", "m"),
        (None, None, None, "cache"),
    ],
)
def test_the_cache_folder_follows_the_precedence(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    option: str | None,
    variable: str | None,
    written: str | None,
    expected: str,
) -> None:
    monkeypatch.delenv("BATCHEXPORT_CACHE_DIR", raising=False)
    if variable is not None:
        monkeypatch.setenv("BATCHEXPORT_CACHE_DIR", variable)
    manifest = builders.manifest(tmp_path, cache_dir=Path(written) if written else None)
    chosen = RunOptions(manifest=Path("m.toml"), cache_dir=Path(option) if option else None)
    assert cache_folder(chosen, manifest) == Path(expected)


def test_a_session_has_the_selected_jobs_and_their_store(options: RunOptions, tmp_path: Path) -> None:
    with open_session(RunOptions(manifest=options.manifest, tags=("text",))) as session:
        assert [job.name for job in session.jobs] == ["bert@cpu"]
        assert session.store.layout.root == tmp_path / "cache"
        assert session.manifest.output_dir == tmp_path / "dist"


def test_an_option_replaces_the_output_folder(options: RunOptions, tmp_path: Path) -> None:
    with open_session(RunOptions(manifest=options.manifest, output_dir=Path("other"))) as session:
        assert session.delivery.folder("bert@cpu") == str(tmp_path / "other/bert@cpu")


def test_a_wrong_manifest_an_unknown_job_and_an_unusable_cache_raise_different_errors(
    options: RunOptions, tmp_path: Path
) -> None:
    (tmp_path / "wrong.toml").write_text("schema = 2")
    (tmp_path / "file").touch()
    for chosen, error in (
        (RunOptions(manifest=tmp_path / "wrong.toml"), ManifestError),
        (RunOptions(manifest=options.manifest, only=("nobody@cpu",)), UsageError),
        (RunOptions(manifest=options.manifest, cache_dir=tmp_path / "file"), StoreError),
    ):
        with pytest.raises(error), open_session(chosen):
            pass


def test_an_option_that_the_installed_torch_does_not_know_is_a_mistake_and_torch_is_not_imported_to_tell(
    options: RunOptions, tmp_path: Path
) -> None:
    loaded = "torch" in sys.modules
    head, _, _ = MANIFEST.partition("[[entry]]")
    entry = '[[entry]]\nname = "a"\nmodel = "m:M"\ncompile.options = { max_autotun = true, "cpp.threads" = 1 }\n'
    options.manifest.write_text(head + entry)
    with pytest.raises(ManifestError, match=r'max_autotun: .* did you mean "max_autotune"\?$'), open_session(options):
        pass
    assert not (tmp_path / "cache").exists()
    assert ("torch" in sys.modules) == loaded


def test_a_plan_imports_no_torch(options: RunOptions) -> None:
    loaded = "torch" in sys.modules
    with open_session(options) as session:
        make_plan(session, manifest="m", workers=1)
    assert ("torch" in sys.modules) == loaded


# ── plans ────────────────────────────────────────────────────────────────────────────────────────


def test_a_job_that_was_never_built_must_be_exported_before_the_rest_is_known(options: RunOptions) -> None:
    assert actions(plan_of(options, "bert@cpu")) == {"export": "run", "compile": "maybe", "verify": "maybe"}
    assert actions(plan_of(options, "plain@cpu")) == {"export": "run", "verify": "maybe"}
    assert plan_of(options, "bert@cpu").stages["export"].reason == "never built"


def test_a_job_that_was_exported_must_be_compiled(options: RunOptions) -> None:
    with open_session(options) as session:
        build(session, session.jobs[0], upto="export")
    assert actions(plan_of(options, "bert@cpu")) == {"export": "cached", "compile": "run", "verify": "maybe"}


def test_a_job_that_was_compiled_must_be_verified(options: RunOptions) -> None:
    with open_session(options) as session:
        build(session, session.jobs[0], upto="compile")
    plan = plan_of(options, "bert@cpu")
    assert actions(plan) == {"export": "cached", "compile": "cached", "verify": "run"}
    assert not plan.delivered


def test_a_job_that_was_verified_must_only_be_delivered(options: RunOptions) -> None:
    with open_session(options) as session:
        build(session, session.jobs[0])
    plan = plan_of(options, "bert@cpu")
    assert actions(plan) == {"export": "cached", "compile": "cached", "verify": "cached"}
    assert not plan.delivered
    assert not plan.up_to_date


def test_a_job_that_was_delivered_is_up_to_date(options: RunOptions) -> None:
    with open_session(options) as session:
        for job in session.jobs:
            deliver(session, job, build(session, job))
    assert plan_of(options, "bert@cpu").up_to_date
    assert plan_of(options, "plain@cpu").up_to_date


def test_the_run_that_follows_decides_the_same(options: RunOptions) -> None:
    with open_session(options) as session:
        build(session, session.jobs[0])
    with open_session(options) as session:
        plan = make_plan(session, manifest="m", workers=1)
        for job, planned in zip(session.jobs, plan.jobs, strict=True):
            assert isinstance(session.lookup.export(job), Hit) == (planned.stages["export"].action == "cached")


def test_the_expected_time_is_shared_among_workers(options: RunOptions) -> None:
    with open_session(options) as session:
        for job in session.jobs:
            session.timings.learn(job, "export", 6.0, 1)
        assert make_plan(session, manifest="m", workers=2).expected_seconds == 6.0


def test_without_history_no_time_is_expected(options: RunOptions) -> None:
    with open_session(options) as session:
        session.timings.learn(session.jobs[0], "export", 6.0, 1)
        assert make_plan(session, manifest="m", workers=1).expected_seconds is None


def test_no_time_is_expected_for_jobs_that_are_up_to_date(options: RunOptions) -> None:
    with open_session(options) as session:
        for job in session.jobs:
            build(session, job)
        assert make_plan(session, manifest="m", workers=1).expected_seconds == 0.0


# ── states ───────────────────────────────────────────────────────────────────────────────────────


def test_outputs_are_missing_delivered_or_stale(options: RunOptions, tmp_path: Path) -> None:
    missing = JobState(name="bert@cpu", state="missing", path="dist/bert@cpu", detail="not delivered yet")
    assert state_of(options, "bert@cpu") == missing
    with open_session(options) as session:
        deliver(session, session.jobs[0], build(session, session.jobs[0]))
    assert state_of(options, "bert@cpu").state == "delivered"
    (tmp_path / "dist/bert@cpu/compiled.pt2").write_text("edited")
    edited = state_of(options, "bert@cpu")
    assert (edited.state, edited.detail) == ("stale", "outputs were changed")
    (tmp_path / "manifest.toml").write_text(MANIFEST.replace('model = "models:bert"', 'model = "models:other"'))
    stale = state_of(options, "bert@cpu")
    assert stale.state == "stale"
    assert str(stale.detail).startswith("export: ")
