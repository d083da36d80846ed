"""Render reports, plans and checks as lines of plain text. Every function is pure.

Names and messages come from manifests, models and compilers: each is cleaned of terminal control
characters before it becomes part of a line.
"""

from __future__ import annotations

import os.path
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from batchexport.core.errors import ExitCode
from batchexport.core.report import STAGES, Failure, JobReport, Outcome, RunReport, StageReport
from batchexport.core.text import approximate_duration, clean, clean_lines, counted, format_duration

if TYPE_CHECKING:
    from batchexport.core.plan import JobState, Plan, PlannedJob, PlannedStage
    from batchexport.toolchain.doctor import Check

SEPARATOR = " · "
RUN_WORD = 9  # the first column of a run: as wide as "cancelled"
_PLAN_WORD = 10  # and of a plan: as wide as "up-to-date"
_INDENT = " " * (RUN_WORD + 1)
_AT_REST = (Outcome.CACHED, Outcome.SKIPPED)


# --- run -----------------------------------------------------------------------------------------


def job_word(job: JobReport) -> str:
    """Return the first word of a job's line: ok, expected (to fail, and failed), failed, skipped or cancelled."""
    if job.ok:
        return "ok"
    if job.error is not None:
        return "expected" if job.expected else "failed"
    if any(stage.outcome is Outcome.CANCELLED for stage in job.stages.values()):
        return "cancelled"
    return "skipped"


def is_idle(job: JobReport) -> bool:
    """Return True if a job is delivered and no stage had to run."""
    if not job.ok:
        return False
    for stage in job.stages.values():  # noqa: SIM110 - asked for thousands of times in a no-op run
        if stage.outcome not in _AT_REST:
            return False
    return True


def job_line(job: JobReport, *, reasons: bool = False) -> str:
    """Return the line of a finished job. `reasons` adds why cached stages are cached."""
    head = f"{job_word(job):<{RUN_WORD}} {clean(job.name)}"
    if not reasons and is_idle(job):
        return f"{head}  cached"
    parts = [_stage(name, stage, reasons=reasons) for name, stage in _in_order(job.stages)]
    return f"{head}  {SEPARATOR.join(parts)}" if parts else head


def failure_lines(failure: Failure, *, base: str = "") -> list[str]:
    """Return the details of a failed job, for below its line; `base` is the manifest's folder."""
    lines = _labelled("error", f"{failure.message} (stage: {failure.stage}, kind: {failure.kind})")
    if failure.remedy:
        lines += _labelled("remedy", failure.remedy)
    if failure.findings:
        lines += _labelled("findings", "\n".join(failure.findings))
    if failure.log:
        path = os.path.normpath(PurePath(base, failure.log))
        lines += _labelled("log", "\n".join([path, *(f"  {line}" for line in failure.log_tail)]))
    if failure.reproduce:
        lines += _labelled("reproduce", failure.reproduce)
    return lines


def job_lines(job: JobReport, *, base: str = "", reasons: bool = False) -> list[str]:
    """Return the line of a finished job, its warnings unless it was at rest, and, if it failed, the details."""
    lines = [job_line(job, reasons=reasons)]
    if reasons or not is_idle(job):
        lines += [line for warning in job.warnings for line in _labelled("warning", warning)]
    if job.error is not None and job.expected and not reasons:
        return [*lines, *_labelled("failure", f"{_first_line(job.error.message)} (kind: {job.error.kind})")]
    return lines if job.error is None else [*lines, *failure_lines(job.error, base=base)]


def stage_started_line(job: str, stage: str, reason: str) -> str:
    """Return the line for the start of a stage, for --verbose."""
    return f"{'started':<{RUN_WORD}} {clean(job)}  {clean(stage)}" + (f" ({clean(reason)})" if reason else "")


def stage_finished_line(job: str, stage: str, seconds: float) -> str:
    """Return the line for the end of a stage, for --verbose."""
    return f"{'ended':<{RUN_WORD}} {clean(job)}  {clean(stage)} after {format_duration(seconds)}"


def recap_lines(report: RunReport) -> list[str]:
    """Return the jobs that failed unexpectedly once more, a line each, for a run too long to scroll back through."""
    return [
        f"{'failed':<{RUN_WORD}} {clean(job.name)}  {job.error.stage}: {clean(_first_line(job.error.message))}"
        for job in report.jobs
        if job.error is not None and not job.expected
    ]


def key_lines(report: RunReport) -> list[str]:
    """Return the cost of cache keys, as a share of building; no line if nothing was built."""
    cost = report.keys()
    if cost is None:
        return []
    most = f"; at most {cost.worst_share:.1%}, for {clean(cost.worst)}" if len(report.jobs) > 1 else ""
    return [f"cache-key overhead: {cost.seconds:.1f} s ({cost.share:.1%} of building{most})"]


def summary_line(report: RunReport) -> str:
    """Return the last line of a run: counts, seconds and the path of the report."""
    interrupted = report.exit_code == ExitCode.INTERRUPTED
    head = f"{'interrupted; ' if interrupted else ''}{counted(len(report.jobs), 'job')}: {report.ok} ok"
    as_expected = f" ({report.expected} as expected)" if report.expected else ""
    head += f", {report.failed} failed{as_expected}, {report.skipped} {'not finished' if interrupted else 'skipped'}"
    stages = _totals(report)
    tail = f" in {report.seconds:.1f} s"
    if report.seconds >= 60:
        tail += f" ({format_duration(report.seconds)})"
    if report.path:
        tail += f"; report: {clean(report.path)}"
    return head + (f" ({stages})" if stages else "") + tail


def _totals(report: RunReport) -> str:
    """Return the outcomes of all stages, counted, without stages that no job had."""
    if report.jobs and all(is_idle(job) for job in report.jobs):
        return "everything cached"
    parts = []
    for stage in STAGES:
        counts = Counter(str(job.stages[stage].outcome) for job in report.jobs if stage in job.stages)
        if counts:
            known = [f"{counts[name]} {name}" for name in ("built", "cached")]
            more = [f"{counts[name]} {name}" for name in ("failed", "skipped", "cancelled") if counts[name]]
            parts.append(f"{stage} {', '.join(known + more)}")
    return "; ".join(parts)


def _stage(name: str, stage: StageReport, *, reasons: bool) -> str:
    text = f"{name} {stage.outcome}"
    if stage.outcome is Outcome.FAILED:
        return f"{text} after {format_duration(stage.seconds)}"
    if stage.outcome is Outcome.BUILT:
        text += f" {format_duration(stage.seconds)}"
    elif stage.outcome is Outcome.CACHED and not reasons:
        return text
    return f"{text} ({clean(stage.reason)})" if stage.reason else text


def _in_order(stages: Mapping[str, StageReport]) -> Iterator[tuple[str, StageReport]]:
    for name in STAGES:
        if name in stages:
            yield name, stages[name]


def _labelled(label: str, text: str) -> list[str]:
    first, *rest = clean_lines(text) or [""]
    return [f"{_INDENT}{label:<9} {first}", *(f"{_INDENT}{'':<9} {line}" for line in rest)]


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


# --- plan, explain, ls ---------------------------------------------------------------------------


def plan_word(job: PlannedJob) -> str:
    """Return the first word of a planned job: build, may build, skip, deliver or up-to-date."""
    actions = {stage.action for stage in job.stages.values()}
    for action, word in (("run", "build"), ("maybe", "may build"), ("skip", "skip")):
        if action in actions:
            return word
    return "up-to-date" if job.delivered else "deliver"


_PLAN_WORDS = {
    "build": "to build",
    "may build": "may have to build",
    "skip": "to skip",
    "deliver": "to copy from the cache",
    "up-to-date": "up to date",
}
_ACTIONS = {"run": "runs", "maybe": "may run", "skip": "is skipped", "cached": "cached"}


def plan_lines(plan: Plan) -> list[str]:
    """Return a line per job, what would run and why, and a summary."""
    counts: Counter[str] = Counter()
    lines = []
    for job in plan.jobs:
        word = plan_word(job)
        counts[word] += 1
        lines.append(f"{word:<{_PLAN_WORD}} {clean(job.name)}{_plan_detail(word, job)}")
    parts = [f"{counts[word]} {text}" for word, text in _PLAN_WORDS.items() if counts[word]]
    total = f"{counted(len(plan.jobs), 'job')}: {', '.join(parts)}" if parts else "0 jobs"
    if plan.expected_seconds is not None and (counts["build"] or counts["may build"]):
        total += f"; {approximate_duration(plan.expected_seconds)}"
    return [*lines, total]


def explain_lines(job: PlannedJob) -> list[str]:
    """Return what each stage of one job would do, and why."""
    lines = [clean(job.name)]
    for name in STAGES:
        if name in job.stages:
            stage = job.stages[name]
            text = _ACTIONS.get(stage.action, clean(stage.action))
            if stage.reason:
                text += f": {stage.reason}"
            if stage.expected_seconds is not None and stage.action in ("run", "maybe"):
                text += f" ({approximate_duration(stage.expected_seconds)})"
            first, *rest = clean_lines(text)
            lines += [f"  {name:<8} {first}", *(f"  {'':<8} {line}" for line in rest)]
    outputs = "in place" if job.delivered else "missing or stale"
    return [*lines, f"  {'outputs':<8} {outputs}"]


def ls_lines(jobs: Sequence[JobState]) -> list[str]:
    """Return every job with the state of its outputs, in columns, and the counts."""
    width = max((len(clean(job.name)) for job in jobs), default=0)
    lines = [
        f"{clean(job.state):<{RUN_WORD}} {clean(job.name):<{width}}  {clean(job.path)}"
        + (f"  ({clean(job.detail)})" if job.detail and job.state == "stale" else "")
        for job in jobs
    ]
    counts = Counter(job.state for job in jobs)
    parts = [f"{count} {clean(state)}" for state, count in counts.most_common()]
    return [*lines, f"{counted(len(jobs), 'job')}: {', '.join(parts)}" if parts else "0 jobs"]


def _plan_detail(word: str, job: PlannedJob) -> str:
    if word == "up-to-date":
        return ""
    if word == "deliver":
        return "  every stage cached, outputs to be copied"
    parts = _planned(job.stages)
    known = [stage.expected_seconds for stage in job.stages.values() if stage.action == "run"]
    seconds = [one for one in known if one is not None]
    guess = f"  {approximate_duration(sum(seconds))}" if seconds and len(seconds) == len(known) else ""
    return f"  {SEPARATOR.join(parts)}{guess}"


def _planned(stages: Mapping[str, PlannedStage]) -> list[str]:
    """Return what the stages would do; stages with the same action and reason share a phrase."""
    names: dict[str, list[str]] = {}
    for name in STAGES:
        if name in stages:
            stage = stages[name]
            text = _ACTIONS.get(stage.action, clean(stage.action))
            if stage.action != "cached" and stage.reason:
                text += f" ({clean(stage.reason)})"
            names.setdefault(text, []).append(name)
    return [f"{', '.join(sharing)} {text}" for text, sharing in names.items()]


# --- cache, doctor, errors -----------------------------------------------------------------------


def doctor_lines(checks: Sequence[Check]) -> list[str]:
    """Return every check with its state and remedy, and the overall state."""
    width = max((len(check.name) for check in checks), default=0)
    lines = []
    for check in checks:
        lines.append(f"{check.state:<5} {check.name:<{width}}  {clean(check.detail)}")
        if check.remedy and check.state != "ok":
            lines += [f"{'':<5} {'':<{width}}  → {line}" for line in clean_lines(check.remedy)]
    states = Counter(check.state for check in checks)
    verdict = {
        "fail": f"not ready: {counted(states['fail'], 'check')} failed",
        "warn": f"ready, with {counted(states['warn'], 'warning')}",
        "ok": "ready",
    }
    return [*lines, verdict[next((state for state in ("fail", "warn") if states[state]), "ok")]]


def error_lines(message: str) -> Iterable[str]:
    """Return the lines of an error message, one mistake per line."""
    return [f"error: {line}" for line in clean_lines(message) if line] or ["error: (no message)"]


def rebuilt_lines(rebuilt: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Return the rebuilt jobs, each with what differs from the stored result."""
    lines = [
        f"{'differs' if differences else 'same':<10}{clean(name)}"
        + (f"  {'; '.join(differences)}" if differences else "")
        for name, differences in rebuilt
    ]
    wrong = sum(bool(differences) for _, differences in rebuilt)
    if not rebuilt:
        return ["no job is delivered yet, so there is nothing to rebuild"]
    return [*lines, f"{counted(len(rebuilt), 'job')} rebuilt: {len(rebuilt) - wrong} the same, {wrong} different"]
