"""Try what a remedy says before it is told, and add what an export of the changed manifest refuses in its turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from batchexport.pipeline.failure import StageFailure
from batchexport.pipeline.manifest_lines import Changes, applied, what_to_write, written

_ROUNDS = 3


def confirmed_changes(
    changes: Changes, spec: Mapping[str, Any], attempt: Callable[[Mapping[str, Any]], None]
) -> Changes | None:
    """Return these changes, with those that follow from them, after which `attempt` passes; None if they do not help.

    `attempt` exports the model as a spec says, and raises StageFailure.
    """
    for _ in range(_ROUNDS):
        try:
            attempt(applied(changes, spec))
        except StageFailure as again:
            if again.changes is None or written(changes, spec).rescales:
                return None
            changes = changes.then(again.changes)
        except Exception:  # the failure that is being explained is the one to tell
            return None
        else:
            return changes
    return None


def remedy_with(failure: StageFailure, changes: Changes, spec: Mapping[str, Any]) -> str | None:
    """Return the remedy of `failure` with `changes` in the place of its own."""
    told = None if failure.changes is None else what_to_write(failure.changes, spec)
    better = what_to_write(changes, spec)
    return failure.remedy.replace(told, better) if failure.remedy and told and better else better
