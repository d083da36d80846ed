"""A verdict says of one job, by all that was seen of it, what should not be; nothing is run here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# Sort of violation → what it means, most serious first.
SORTS = {
    "wrong": "ok, and what is delivered is not what eager gives",
    "internal": "the product itself failed, or its child died",
    "false alarm": "refused, and plain torch exports it rightly",
    "message": "the kind or the words of a refusal do not fit",
    "inconsistent": "two commands disagree",
    "bytes": "the archive is another one where the model was not called before",
}
_NEVER = ("internal", "timeout", "crash", "oom")
# Every model was built and called in eager mode before, and needs no files.
_UNFIT = ("import", "build", "weights", "disk", "toolchain")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """All that was seen of one job.

    `exported`, `run`, `verified` are what the commands report of it. `found` is what differs by delivered file, None
    where nothing does; `plain` how far torch alone gets; `failed` is set where a judge's own process died.
    `same_bytes`: how the archive without eager calls compares, in words, None where it is the same.
    """

    exported: Mapping[str, Any]
    run: Mapping[str, Any]
    verified: Mapping[str, Any]
    refusable: frozenset[str]
    found: Mapping[str, str | None] = field(default_factory=dict)
    plain: Mapping[str, str | None] | None = None
    failed: str | None = None
    bytes_differ: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """Something that should not be."""

    sort: str
    text: str


def violations(seen: Seen) -> list[Violation]:
    """What is wrong with a job."""
    return [*_of_artifacts(seen), *_of_refusal(seen), *_of_commands(seen)]


def _of_artifacts(seen: Seen) -> Iterator[Violation]:
    for name, difference in seen.found.items():
        if difference is not None:
            yield Violation(sort="wrong", text=f"{name}: {difference}")
    if seen.run["ok"] and seen.failed:
        yield Violation(sort="wrong", text=f"using it: {seen.failed}")
    if seen.bytes_differ is not None:
        yield Violation(sort="bytes", text=seen.bytes_differ)


def _of_refusal(seen: Seen) -> Iterator[Violation]:
    if seen.run["ok"]:
        return
    error = seen.run["error"]
    if error is None:
        yield Violation(sort="message", text="neither ok nor refused")
        return
    kind, message = error["kind"], error["message"] or ""
    told = f"{error['stage']}: {kind}: {message}"
    if kind in _NEVER or "batchexport itself failed" in message:
        yield Violation(sort="internal", text=told)
        return
    if not message.strip() or message.rstrip().endswith(":"):
        yield Violation(sort="message", text=f"no words: {told}")
    if kind in _UNFIT:
        yield Violation(sort="message", text=f"the kind does not fit: {told}")
    if "disk" in (error["remedy"] or "") and kind != "disk" and "OSError" not in message:
        yield Violation(sort="message", text=f"the remedy does not fit: {told}: {error['remedy']}")
    if error["stage"] in seen.refusable or kind in seen.refusable or seen.plain is None:
        return
    if "which a bare library has not" in message:  # torch alone was asked for a package
        return
    if all(step is None for step in seen.plain.values()):
        yield Violation(sort="false alarm", text=told)


def _of_commands(seen: Seen) -> Iterator[Violation]:
    exported, run = seen.exported, seen.run
    outcome = run["stages"].get("export", {}).get("outcome")
    if exported["ok"]:
        if outcome != "cached":
            yield Violation(sort="inconsistent", text=f"exported, and then the export is {outcome}")
    else:
        one, other = _told(exported), _told(run)
        if one != other:
            yield Violation(sort="inconsistent", text=f"refused as {one}, and then {other}")
    if run["ok"] and not seen.verified["ok"]:
        yield Violation(sort="inconsistent", text=f"ok, and then verify says {_told(seen.verified)}")


def _told(job: Mapping[str, Any]) -> str:
    error = job["error"]
    return "ok" if job["ok"] else f"{error['stage']}: {error['kind']}: {error['message']}" if error else "nothing"
