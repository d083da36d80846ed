"""Render runs, checks and errors as lines of plain text. Every function is pure.

Names and messages come from manifests, models and compilers: each is cleaned of terminal control
characters before it becomes part of a line.
"""

from __future__ import annotations

import os.path
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from batchexport.core.errors import ExitCode, Kind
from batchexport.core.report import FIRST_TIME, STAGES, Failure, JobReport, Outcome, RunReport, StageReport
from batchexport.core.text import clean, clean_lines, counted, first_line, format_duration

if TYPE_CHECKING:
    from batchexport.toolchain.machine_checks import Check

SEPARATOR = " · "
RUN_WORD = 9  # the first column of a run: as wide as "cancelled"
_INDENT = " " * (RUN_WORD + 1)
_AT_REST = (Outcome.CACHED, Outcome.SKIPPED)
_WORST = (Kind.INTERNAL, Kind.CRASH, Kind.OOM, Kind.TIMEOUT, Kind.DISK, Kind.TOOLCHAIN)
_SAME_INPUTS = re.compile(r"; \d+ other inputs? same")
_COMMON = (*FIRST_TIME.values(), "forced")  # reasons that say no more than that a stage was asked for
_MESSAGE = 100  # characters of a failure's message in the line of its job


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


def job_line(job: JobReport, *, base: str = "", reasons: bool = False) -> str:
    """Return the line of a finished job; that of a failed one has the kind, the message and the path of the log.

    It says why a stage was built again. `reasons` adds the outcome and the reason of every stage.
    """
    head = f"{job_word(job):<{RUN_WORD}} {clean(job.name)}"
    if not reasons and is_idle(job):
        return f"{head}  cached"
    stages = [(name, stage) for name, stage in _in_order(job.stages) if reasons or not _is_noise(job, stage)]
    parts = [head, *(_stage(name, stage, reasons=reasons) for name, stage in stages)]
    if job.error is not None:
        parts.append(_failure_note(job.error, base, with_log=not job.expected))
    return "  ".join(parts)


def failure_lines(failure: Failure, *, base: str = "") -> list[str]:
    """Return the details of a failed job, for below its name; `base` is the manifest's folder."""
    return [line for label, text in failure_parts(failure.to_json(), base) for line in labelled(label, text)]


def failure_parts(error: Mapping[str, Any], base: str) -> list[tuple[str, str]]:
    """Return label and text of what a failure tells, given as in the JSON report; `base` is the manifest's folder."""
    parts = [("error", f"{error['message']} (stage: {error['stage']}, kind: {error['kind']})")]
    parts += [("remedy", error["remedy"])] if error.get("remedy") else []
    parts += [("findings", "\n".join(error["findings"]))] if error.get("findings") else []
    if error.get("log"):
        tail = [f"  {line}" for line in error.get("log_tail", ())]
        parts.append(("log", "\n".join([log_path(error["log"], base), *tail])))
    parts += [("reproduce", error["reproduce"])] if error.get("reproduce") else []
    return parts


def log_path(log: str, base: str) -> str:
    """Return the path of a log, which is relative to the manifest's folder, as seen from the working directory."""
    return os.path.normpath(PurePath(base, log))


def job_lines(job: JobReport, *, base: str = "", reasons: bool = False) -> list[str]:
    """Return the line of a finished job, and its warnings unless it was at rest."""
    lines = [job_line(job, base=base, reasons=reasons)]
    if reasons or not is_idle(job):
        lines += [line for warning in job.warnings for line in labelled("warning", warning)]
    if job.error is not None and job.expected and reasons:
        lines += failure_lines(job.error, base=base)
    return lines


def stage_started_line(job: str, stage: str, reason: str) -> str:
    """Return the line for the start of a stage, for --verbose."""
    return f"{'started':<{RUN_WORD}} {clean(job)}  {clean(stage)}" + (f" ({clean(reason)})" if reason else "")


def stage_finished_line(job: str, stage: str, seconds: float) -> str:
    """Return the line for the end of a stage, for --verbose."""
    return f"{'ended':<{RUN_WORD}} {clean(job)}  {clean(stage)} after {format_duration(seconds)}"


def worst_first(report: RunReport) -> list[JobReport]:
    """Return the jobs that failed unexpectedly: first those whose process died or that batchexport itself failed."""
    failed = [job for job in report.jobs if job.error is not None and not job.expected]
    rank = {kind: place for place, kind in enumerate(_WORST)}
    return sorted(failed, key=lambda job: rank.get(job.error.kind, len(rank)) if job.error else 0)


def all_failure_lines(report: RunReport, *, base: str = "") -> list[str]:
    """Return the details of every job that failed unexpectedly, worst first; no line if there is none."""
    failed = worst_first(report)
    if not failed:
        return []
    kinds = Counter(str(job.error.kind) for job in failed if job.error)
    order = ", worst first" if len(kinds) > 1 else ""
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    lines = ["", f"{counted(len(failed), 'failure')}{order}: {counts}", ""]
    for job in failed:
        if job.error is not None:
            lines += [f"  {clean(job.name)}", *failure_lines(job.error, base=base), ""]
    return lines


def duration_lines(report: RunReport, most: int) -> list[str]:
    """Return the `most` slowest stages of a run, all for 0; no line if none ran."""
    ran = [(stage.seconds, name, job.name) for job in report.jobs for name, stage in job.stages.items()]
    slowest = sorted((one for one in ran if one[0] > 0), key=lambda one: -one[0])
    shown = slowest[: most or None]
    if not shown:
        return []
    lines = [f"  {format_duration(seconds):>7}  {name:<8} {clean(job)}" for seconds, name, job in shown]
    return [f"slowest {counted(len(shown), 'stage')} of {len(slowest)}", *lines, ""]


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


def _is_noise(job: JobReport, stage: StageReport) -> bool:
    """Return True for a stage that a delivered job did not need, such as a compile with format "none"."""
    return job.ok and stage.outcome is Outcome.SKIPPED


def _stage(name: str, stage: StageReport, *, reasons: bool) -> str:
    took = f" {format_duration(stage.seconds)}" if stage.seconds or stage.outcome is Outcome.BUILT else ""
    if reasons:
        reason = f" ({clean(stage.reason)})" if stage.reason else ""
        return f"{name} {stage.outcome}{took}{reason}"
    if stage.outcome is Outcome.FAILED:
        return f"{name} failed{took}"
    if stage.outcome is Outcome.BUILT:
        reason = _news(stage.reason)
        return f"{name}{took}{reason and f' ({reason})'}"
    if stage.outcome is Outcome.CACHED:  # what took time is a package of new weights around stored code
        return f"{name} packed{took}" if stage.seconds else f"{name} cached"
    return f"{name} {stage.outcome} ({clean(stage.reason)})" if stage.reason else f"{name} {stage.outcome}"


def _news(reason: str) -> str:
    """Return a reason without what every first build has in common, and what did not change."""
    for common in _COMMON:
        if reason == common or reason.startswith(f"{common};"):
            reason = reason[len(common) :].removeprefix(";").strip()
    return clean(_SAME_INPUTS.sub("", reason))


def _failure_note(failure: Failure, base: str, *, with_log: bool) -> str:
    message = clean(first_line(failure.message))
    shown = message if len(message) <= _MESSAGE else f"{message[: _MESSAGE - 1]}…"
    log = f" (log: {clean(log_path(failure.log, base))})" if failure.log and with_log else ""
    return f"{failure.kind}: {shown}{log}"


def _in_order(stages: Mapping[str, StageReport]) -> Iterator[tuple[str, StageReport]]:
    for name in STAGES:
        if name in stages:
            yield name, stages[name]


def labelled(label: str, text: str, *, indent: str = _INDENT, width: int = 9) -> list[str]:
    """Return the lines of `text`, the first behind its label."""
    first, *rest = clean_lines(text) or [""]
    return [f"{indent}{label:<{width}} {first}", *(f"{indent}{'':<{width}} {line}" for line in rest)]


# --- doctor, verify, errors -----------------------------------------------------------------------


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
