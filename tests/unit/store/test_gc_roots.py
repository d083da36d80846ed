"""What a manifest's outputs need is remembered job by job, and outlives runs that touch other jobs only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchexport.core.report import Outcome, StageReport
from batchexport.store import gc_roots
from batchexport.store.gc_roots import GcRoot
from batchexport.store.store import Store
from support.builders import key
from support.reports import failure, job


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "cache") as opened:
        yield opened


def asked(manifest: Path, **jobs: tuple[tuple[str, str], ...]) -> GcRoot:
    return GcRoot(manifest=manifest, size_limit=None, jobs=jobs, folders=tuple(jobs))


def test_a_delivered_job_names_its_stages_and_the_code_it_was_packed_from() -> None:
    stages = {
        name: StageReport(outcome=Outcome.CACHED, reason="", key=key(name)) for name in ("export", "compile", "verify")
    }
    report = job(stages=stages, outputs={"exported": "dist/x"})
    found = gc_roots.record_names(report, key("code"))
    assert found == tuple((name, key(name)) for name in ("export", "compile", "verify", "code"))
    one = GcRoot(manifest=Path("m"), size_limit=None, jobs={"a": found}, folders=())
    assert one.needed == set(found[:3])
    assert one.used == set(found)


def test_a_job_that_passes_against_its_expectation_is_delivered_and_so_names_its_records() -> None:
    stages = {"export": StageReport(outcome=Outcome.BUILT, reason="", key=key("export"))}
    passed = job(stages=stages, outputs={"exported": "dist/x"}, error=failure())
    assert gc_roots.record_names(passed, None) == (("export", key("export")),)


def test_a_failed_job_or_one_that_was_not_delivered_names_nothing() -> None:
    stages = {"export": StageReport(outcome=Outcome.BUILT, reason="", key=key("export"))}
    assert gc_roots.record_names(job(stages=stages, error=failure()), None) == ()
    assert gc_roots.record_names(job(stages=stages), None) == ()


def test_what_did_not_run_now_is_still_needed_and_what_left_the_manifest_is_not(store: Store, tmp_path: Path) -> None:
    manifest = tmp_path / "m.toml"
    a, b, b2, c = (("export", key(word)) for word in ("a", "b", "b2", "c"))
    gc_roots.save_root(store, asked(manifest, a=(a,), b=(b,), c=(c,)), ["a", "b", "c"])
    gc_roots.save_root(store, asked(manifest, a=(), b=(b2,)), ["a", "b"])
    found = gc_roots.load_root(store, gc_roots.root_key(manifest))
    assert found is not None
    assert found.jobs == {"a": (a,), "b": (b2,)}


def test_a_no_op_run_marks_the_manifest_as_used_and_says_where_it_is_not_known(store: Store, tmp_path: Path) -> None:
    manifest = tmp_path / "m.toml"
    assert not gc_roots.mark_used(store.layout, manifest)
    gc_roots.save_root(store, asked(manifest), [])
    path = store.layout.record_path("manifest", gc_roots.root_key(manifest))
    os.utime(path, (1000.0, 1000.0))
    assert gc_roots.mark_used(store.layout, manifest)
    assert path.stat().st_mtime > 1000.0


@pytest.mark.parametrize("kind", ["../../etc", "export/..", ""])
def test_a_name_in_a_manifests_record_that_leads_elsewhere_makes_it_none(kind: str) -> None:
    data = {"manifest": "m", "size_limit": None, "folders": [], "jobs": {"a": [[kind, key("a")]]}}
    assert gc_roots.parse_root({**data, "jobs": {"a": [["export", key("a")]]}}) is not None
    assert gc_roots.parse_root(data) is None
