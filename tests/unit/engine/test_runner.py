"""The runner: the event that opens a run says how long it should take, from history."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from batchexport.core.events import Event, RunStarted
from batchexport.core.options import RunOptions
from batchexport.core.report import STAGES
from batchexport.engine import runner
from batchexport.engine.kept_servers import KeptServers
from batchexport.planning.session import open_session
from support.builders import export_result, key

MANIFEST = """
schema = 1
[[entry]]
name = "bert"
model = "models:bert"
[[entry]]
name = "plain"
model = "models:plain"
compile.format = "none"
"""
SECONDS = {"export": 3.0, "compile": 20.0, "verify": 1.0}


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunOptions:
    monkeypatch.delenv("BATCHEXPORT_CACHE_DIR", raising=False)
    (tmp_path / "manifest.toml").write_text(MANIFEST)
    monkeypatch.chdir(tmp_path)
    return RunOptions(manifest=Path("manifest.toml"), jobs=1)


def learn(options: RunOptions) -> None:
    """Leave the timings of an earlier run."""
    with open_session(options) as session:
        for job in session.jobs:
            for stage in STAGES:
                if stage != "compile" or job.compile.format != "none":
                    session.timings.learn(job, stage, SECONDS[stage], 1)


def started(options: RunOptions) -> RunStarted:
    """The event that opens a run."""
    heard: list[Event] = []
    with open_session(options) as session:
        runner._coordinator(session, options, heard.append, KeptServers())
    (event,) = heard
    assert isinstance(event, RunStarted)
    return event


def test_a_first_run_has_no_expected_time(options: RunOptions) -> None:
    assert (started(options).to_build, started(options).expected) == (2, None)


def test_a_later_run_expects_what_the_earlier_one_took(options: RunOptions) -> None:
    learn(options)
    assert started(options).expected == 3.0 + 20.0 + 1.0 + 3.0 + 1.0
    assert started(replace(options, jobs=2)).expected == 24.0


def test_stages_that_the_run_leaves_out_are_not_expected(options: RunOptions) -> None:
    learn(options)
    assert started(replace(options, stage="compile")).expected == 3.0 + 20.0 + 3.0


def test_a_run_with_nothing_to_export_reads_no_timings(options: RunOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    learn(options)
    facts = dict(export_result().facts)
    with open_session(options) as session:
        for job in session.jobs:
            files = {name: session.store.attempt("job") / name for name in ("exported", "reference")}
            for path in files.values():
                path.write_text(job.name)
            export = session.results.publish("export", key(job.name), files=files, facts=facts, more={})
            session.traces.add(session.lookup.request_key(job), [], export.key)
    monkeypatch.setattr("batchexport.planning.estimates.Timings.prefetch", lambda *_: pytest.fail("read"))
    assert (started(options).to_build, started(options).expected) == (0, None)
