"""Runs of one manifest at the same time: each key is built by one of them, and all of them deliver."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable

from fault_injection.audit import unaccounted
from fault_injection.workspace import Workspace


def concurrent_runs(workspace: Workspace, count: int, say: Callable[[str], None]) -> dict[str, object]:
    """`count` runs, started at once over an empty cache."""
    workspace.manifest([1, 2, 3])
    reports = [workspace.root / f"report-{number}.json" for number in range(count)]
    processes = [workspace.start("run", "manifest.toml", "--jobs", "1", "--json", str(path)) for path in reports]
    wrong: list[str] = []
    built: Counter[str] = Counter()
    stages = 0
    for number, process in enumerate(processes):
        ended = workspace.ended(process)
        if ended.code or "Traceback" in ended.output:
            wrong.append(f"run {number} ended with {ended.code}: {ended.output[-600:]}")
            continue
        for job in json.loads(reports[number].read_text())["jobs"]:
            for stage, told in job["stages"].items():
                if told["outcome"] == "built":
                    built[f"{job['name']} {stage} {told['key'][:12]}"] += 1
                    stages += 1
    wrong += [f"built {times} times: {name}" for name, times in built.items() if times != 1]
    if len(built) != 6:
        wrong.append(f"6 stages should have been built, and {len(built)} were")
    got, want = workspace.outputs(), workspace.truth()
    if got != want:
        wrong.append("what was delivered is not what a clean run delivers")
    workspace.do("cache", "gc", "manifest.toml")
    wrong += [f"left behind: {path}" for path in unaccounted(workspace)]
    say(f"  {count} runs, {stages} stages built")
    return {"runs": count, "stages built": stages, "wrong": wrong}
