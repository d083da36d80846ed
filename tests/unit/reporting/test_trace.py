"""The timeline of a run, and the trace that browsers open."""

from __future__ import annotations

import json

from batchexport.core.events import Event, StageFinished, StageStarted
from batchexport.core.report import Outcome, StageReport
from batchexport.reporting.timeline import Span, Timeline
from batchexport.reporting.trace import chrome_trace
from support.reports import job, run_report


def recorded(*steps: tuple[float, Event]) -> list[Span]:
    spans: list[Span] = []
    times = iter([time for time, _ in steps])
    timeline = Timeline(lambda event: None, spans, began=0.0, clock=lambda: next(times))
    for _, event in steps:
        timeline(event)
    return spans


def started(name: str, stage: str = "export") -> StageStarted:
    return StageStarted(job=name, stage=stage, reason="never built")


def ended(name: str, stage: str = "export") -> StageFinished:
    return StageFinished(job=name, stage=stage, seconds=0.0)


def test_a_stage_has_its_times_and_a_worker_that_no_other_has_meanwhile() -> None:
    spans = recorded(
        (1, started("a")), (2, started("b")), (3, ended("a")), (4, started("c")), (5, ended("c")), (6, ended("b"))
    )
    assert {span.job: (span.start, span.end, span.worker) for span in spans} == {
        "a": (1, 3, 0),
        "c": (4, 5, 0),
        "b": (2, 6, 1),
    }


def test_events_are_passed_on() -> None:
    seen: list[Event] = []
    event = started("a")
    Timeline(seen.append, [], began=0.0)(event)
    assert seen == [event]


def test_the_trace_has_a_complete_event_for_each_stage() -> None:
    spans = recorded((1, started("a")), (2, started("b")), (3, ended("a")), (4, ended("b")))
    stages = {"export": StageReport(outcome=Outcome.BUILT, reason="r", seconds=2.0, peak_rss_bytes=5_000_000)}
    trace = json.loads(json.dumps(chrome_trace(run_report(job("a", stages=stages), job("b")), spans)))
    complete = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert [(one["name"], one["ts"], one["dur"], one["tid"]) for one in complete] == [
        ("export a", 1_000_000, 2_000_000, 1),
        ("export b", 2_000_000, 2_000_000, 2),
    ]
    named = {event["tid"]: event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "thread_name"}
    assert named == {1: "worker 1", 2: "worker 2"}
    memory = [event["args"]["MB"] for event in trace["traceEvents"] if event["ph"] == "C"]
    assert memory == [5, 0]


def test_a_run_without_stages_gives_an_empty_trace() -> None:
    assert [event["ph"] for event in chrome_trace(run_report(), [])["traceEvents"]] == ["M"]
