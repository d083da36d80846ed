"""Try what a remedy says before it is told, and add what an export of the changed manifest refuses in its turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from batchexport.pipeline.failure import StageFailure
from batchexport.pipeline.manifest_lines import applied, what_to_write

_ROUNDS = 3


def confirmed_remedy(
    failure: StageFailure, spec: Mapping[str, Any], attempt: Callable[[Mapping[str, Any]], None]
) -> str | None:
    """Return the remedy of `failure` with all changes after which `attempt` passes, or as it is if they were not found.

    `attempt` exports the model as a spec says, and raises StageFailure.
    """
    changes = failure.changes
    for _ in range(_ROUNDS):
        changed = None if changes is None else applied(changes, spec)
        if changes is None or changed is None:
            break
        try:
            attempt(changed)
        except StageFailure as again:
            if again.changes is None:
                break
            changes = changes.then(again.changes)
        except Exception:  # the failure that is being explained is the one to tell
            break
        else:
            assert failure.changes is not None
            told, better = what_to_write(failure.changes, spec), what_to_write(changes, spec)
            return failure.remedy.replace(told, better) if failure.remedy and told and better else better
    return failure.remedy
