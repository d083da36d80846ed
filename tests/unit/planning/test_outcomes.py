"""Last outcomes: what --failed selects, whatever runs came between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchexport.core.report import JobReport, Outcome
from batchexport.planning.outcomes import LastOutcomes, any_failed, still_failed
from batchexport.store.index import Index
from support.reports import built, cached, failure, job, stage

FAILS = job("a", error=failure(stage="compile"), stages={"export": built(), "compile": stage(Outcome.FAILED)})
PASSES = job("a", stages={"export": built(), "compile": built(), "verify": built()})
EXPORTED = job("a", stages={"export": built(), "compile": stage(Outcome.SKIPPED), "verify": stage(Outcome.SKIPPED)})
CANCELLED = job("a", ok=False, stages={"export": cached(), "compile": stage(Outcome.CANCELLED)})
EXPECTED = job("a", error=failure(stage="compile"), expected=True)


@pytest.fixture
def outcomes(tmp_path: Path) -> Any:
    index = Index(tmp_path / "index")
    yield LastOutcomes(index, tmp_path / "m.toml")
    index.close()


@pytest.mark.parametrize(
    ("report", "failed"),
    [
        (FAILS, {"a": "compile"}),
        (PASSES, {}),
        (EXPECTED, {}),
        (EXPORTED, {"a": "compile"}),
        (CANCELLED, {"a": "compile"}),
        (job("b"), {"a": "compile"}),
        (job("b", error=failure(stage="verify")), {"a": "compile", "b": "verify"}),
    ],
    ids=["fails again", "passes", "expected now", "exported only", "cancelled", "not run", "another fails"],
)
def test_a_job_counts_as_failed_until_it_passes_the_stage(report: JobReport, failed: dict[str, str]) -> None:
    assert still_failed({"a": "compile"}, [report]) == failed


def test_failed_jobs_are_selected_in_the_order_of_the_manifest(outcomes: LastOutcomes) -> None:
    outcomes.remember([job("c", error=failure()), job("b"), FAILS])
    jobs: Any = [job("a"), job("b"), job("c")]
    chosen, note = outcomes.select_failed(jobs)
    assert [one.name for one in chosen] == ["a", "c"]
    assert note is None


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (lambda known: None, "no earlier run"),
        (lambda known: known.remember([PASSES]), "no job failed in the last run"),
        (lambda known: known.remember([job("gone", error=failure())]), "none of them is selected"),
    ],
    ids=["no run", "none failed", "another failed"],
)
def test_selecting_nothing_says_why(outcomes: LastOutcomes, before: Callable[[LastOutcomes], None], words: str) -> None:
    before(outcomes)
    jobs: Any = [job("a")]
    chosen, note = outcomes.select_failed(jobs)
    assert chosen == ()
    assert note is not None
    assert words in note


def test_a_run_with_nothing_to_do_keeps_the_outcome_of_the_one_that_built(outcomes: LastOutcomes) -> None:
    outcomes.remember([PASSES])
    outcomes.remember([job("a")])
    known = outcomes.job("a")
    assert known is not None
    assert known["report"]["stages"]["export"]["outcome"] == "built"


def test_a_mended_job_loses_its_failure_even_if_all_of_it_was_cached(outcomes: LastOutcomes, tmp_path: Path) -> None:
    outcomes.remember([FAILS])
    assert any_failed(outcomes._index, tmp_path / "m.toml")
    outcomes.remember([job("a")])
    assert not any_failed(outcomes._index, tmp_path / "m.toml")
    known = outcomes.job("a")
    assert known is not None
    assert known["report"]["error"] is None


def test_manifests_have_outcomes_of_their_own(outcomes: LastOutcomes, tmp_path: Path) -> None:
    outcomes.remember([FAILS])
    assert LastOutcomes(outcomes._index, tmp_path / "n.toml").failed() is None
