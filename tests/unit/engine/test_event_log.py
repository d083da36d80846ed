"""The event log: a line for each stage that starts, ends or fails, and no harm where it can't be written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from batchexport.core.errors import Kind
from batchexport.core.events import Event, JobFinished, Note, StageFinished, StageStarted
from batchexport.engine.event_log import EventLog
from support.reports import failure, job

ENTER = StageStarted(job="a@cpu", stage="export", reason="r")
EXIT = StageFinished(job="a@cpu", stage="export", seconds=1.23456789)
ERROR = JobFinished(
    report=job("a@cpu", error=failure(stage="export", kind=Kind.EXPORT, error_class="list_unpack")), done=1, total=2
)


def written(path: Path, *events: Event) -> list[dict[str, Any]]:
    heard: list[Event] = []
    log = EventLog(path, heard.append)
    for event in events:
        log(event)
    assert heard == list(events), "each is passed on"
    return [json.loads(line) for line in path.read_text().splitlines() if line[:1] == "{"] if path.exists() else []


def test_stages_enter_exit_and_fail(tmp_path: Path) -> None:
    lines = written(tmp_path / "events.jsonl", ENTER, EXIT, ERROR)
    assert [(one["job"], one["stage"], one["event"]) for one in lines] == [
        ("a@cpu", "export", event) for event in ("enter", "exit", "error")
    ]
    assert [one["seconds"] for one in lines] == [None, 1.2346, None]
    assert (lines[2]["kind"], lines[2]["class"]) == ("export", "list_unpack")
    assert lines[0]["time"] <= lines[1]["time"]
    assert len({one["run"] for one in lines}) == 1


def test_other_events_leave_no_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert written(path, Note(text="hello"), JobFinished(report=job(), done=1, total=1)) == []
    assert not path.exists()


def test_later_runs_append(tmp_path: Path) -> None:
    written(tmp_path / "events.jsonl", ENTER)
    assert len(written(tmp_path / "events.jsonl", EXIT)) == 2


def test_a_file_that_grew_large_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b" " * (4 << 20))
    written(path, ENTER)
    assert path.stat().st_size > 4 << 20, "one of this size may grow"
    assert [one["event"] for one in written(path, EXIT)] == ["exit"]


def test_a_link_is_not_followed_and_a_missing_folder_is_no_failure(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "events.jsonl").symlink_to(target)
    written(tmp_path / "events.jsonl", ENTER)
    assert not target.exists()
    assert written(tmp_path / "nowhere" / "events.jsonl", ENTER) == []
