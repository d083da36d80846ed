"""Render plans and the states of outputs as lines of plain text. Every function is pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from batchexport.cli.render import RUN_WORD, SEPARATOR
from batchexport.core.report import STAGES
from batchexport.core.text import approximate_duration, clean, clean_lines, counted

if TYPE_CHECKING:
    from batchexport.core.plan import JobState, Plan, PlannedJob, PlannedStage

_WORD = 10  # the first column of a plan: as wide as "up-to-date"
_PLAN_WORDS = {
    "build": "to build",
    "may build": "may have to build",
    "skip": "to skip",
    "deliver": "to copy from the cache",
    "up-to-date": "up to date",
}
_ACTIONS = {"run": "runs", "maybe": "may run", "skip": "is skipped", "cached": "cached"}
_IF_SAME = "if the graph stays the same"


def plan_word(job: PlannedJob) -> str:
    """Return the first word of a planned job: build, may build, skip, deliver or up-to-date."""
    actions = {stage.action for stage in job.stages.values()}
    for action, word in (("run", "build"), ("maybe", "may build"), ("skip", "skip")):
        if action in actions:
            return word
    return "up-to-date" if job.delivered else "deliver"


def plan_lines(plan: Plan) -> list[str]:
    """Return a line per job, what would run and why, and a summary."""
    counts: Counter[str] = Counter()
    lines = []
    for job in plan.jobs:
        word = plan_word(job)
        counts[word] += 1
        lines.append(f"{word:<{_WORD}} {clean(job.name)}{_plan_detail(word, job)}")
    parts = [f"{counts[word]} {text}" for word, text in _PLAN_WORDS.items() if counts[word]]
    total = f"{counted(len(plan.jobs), 'job')}: {', '.join(parts)}" if parts else "0 jobs"
    if counts["build"] or counts["may build"]:
        guess = any(job.is_guess for job in plan.jobs)
        total += f"; {_range(plan.least_seconds, plan.most_seconds, guess, 'if every graph stays the same')}"
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
            if stage.seconds and stage.action in ("run", "maybe"):
                text += f" ({approximate_duration(stage.seconds, guess=stage.expected_seconds is None)})"
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
    seconds = _range(job.least_seconds, job.most_seconds, job.is_guess, _IF_SAME)
    return f"  {SEPARATOR.join(parts)}" + (f"  {seconds}" if job.most_seconds else "")


def _range(least: float, most: float, guess: bool, condition: str) -> str:
    low, high = (approximate_duration(seconds, guess=guess) for seconds in (least, most))
    return high if low == high else f"{low} {condition}, {high} if not"


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
