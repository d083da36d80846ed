"""Gather what is known of one job: its outputs, how it ended last, and its logs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchexport.core.errors import UsageError
from batchexport.core.job import Job
from batchexport.core.plan import JobState
from batchexport.core.report import STAGES
from batchexport.planning.planner import job_state
from batchexport.planning.session import Session
from batchexport.store.layout import Layout

_DRAFT_REPORT = "draft_export.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """The log of a stage. `path` is relative to the working directory, `modified` is Unix time."""

    stage: str
    path: str
    bytes: int
    modified: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDetails:
    """What is known of a job. `ended` and `report` tell of its last run that had something to do, None without one.

    `files` are the bytes of each delivered file. `job_json` is the content of that file, empty without one.
    """

    state: JobState
    files: Mapping[str, int] = field(default_factory=dict)
    job_json: Mapping[str, Any] = field(default_factory=dict)
    ended: str | None = None
    report: Mapping[str, Any] | None = None
    logs: tuple[LogFile, ...] = ()
    draft_report: str | None = None

    @property
    def error(self) -> Mapping[str, Any] | None:
        """Return the failure of the last run, as in the JSON report."""
        return self.report.get("error") if self.report else None

    def log(self, stage: str | None = None) -> LogFile:
        """Return the log of a stage: of the one that failed, else the newest. Raises UsageError without one."""
        if not self.logs:
            raise UsageError(f"no stage of {self.state.name} has left a log in this cache; run it first")
        wanted = stage or (self.error or {}).get("stage")
        for log in self.logs:
            if log.stage == wanted:
                return log
        if stage is None:
            return max(self.logs, key=lambda log: log.modified)
        others = ", ".join(log.stage for log in self.logs)
        raise UsageError(f"the stage {stage} of {self.state.name} has left no log; there is one of {others}")

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "name": self.state.name,
            "state": self.state.state,
            "detail": self.state.detail,
            "folder": self.state.path,
            "files": dict(self.files),
            "ended": self.ended,
            "report": self.report,
            "job": dict(self.job_json),
            "logs": {log.stage: log.path for log in self.logs},
            "draft_report": self.draft_report,
        }


def job_details(session: Session, job: Job) -> JobDetails:
    """Return what is known of a job."""
    folder = Path(session.delivery.folder(job.folder))
    last = session.outcomes.job(job.name)
    # Those of a read-only cache too, whose own runs log to a private folder.
    logs = Layout(session.store.layout.root).logs / job.folder
    draft = logs / _DRAFT_REPORT
    return JobDetails(
        state=job_state(session, job),
        files=_sizes(folder),
        job_json=_job_json(folder / "job.json"),
        ended=last["ended"] if last else None,
        report=last["report"] if last else None,
        logs=tuple(log for stage in STAGES if (log := _log(logs / f"{stage}.log", stage)) is not None),
        draft_report=os.path.relpath(draft) if draft.is_file() else None,
    )


def _sizes(folder: Path) -> dict[str, int]:
    try:
        return {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    except OSError:
        return {}


def _job_json(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        form = json.loads(path.read_text(encoding="utf-8"))
        return form if isinstance(form, dict) else {}
    return {}


def _log(path: Path, stage: str) -> LogFile | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return LogFile(stage=stage, path=os.path.relpath(path), bytes=stat.st_size, modified=stat.st_mtime)
