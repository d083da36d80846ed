"""Count what was retried for one job, so that each kind of retry happens a limited number of times."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Retries:
    """The retries of one job; each `allow_…` returns True once and False from then on.

    `may_swap_weights`: a stored graph may take new weights; `may_pack_weights`: compiled code may. Both become False
    once that failed. `first_build`: the fingerprint of the first build of an export that is built twice.
    """

    may_swap_weights: bool = True
    may_pack_weights: bool = True
    first_build: str | None = None
    _input_changed: bool = False
    _header_truncated: bool = False
    _alone: set[str] = field(default_factory=set)
    _damaged: int = 0

    def allow_after_input_change(self) -> bool:
        """Return True if a stage may run again because a file that it read was changed meanwhile."""
        allowed, self._input_changed = not self._input_changed, True
        return allowed

    def allow_after_truncated_header(self) -> bool:
        """Return True if a compile may run again because a killed stage left a truncated precompiled header."""
        allowed, self._header_truncated = not self._header_truncated, True
        return allowed

    def allow_alone(self, stage: str) -> bool:
        """Return True if a stage that crashed or ran out of memory may run again, alone on the machine."""
        allowed = stage not in self._alone
        self._alone.add(stage)
        return allowed

    def was_alone(self, stage: str) -> bool:
        """Return True if a stage has been retried alone."""
        return stage in self._alone

    def forget_alone(self, stage: str) -> None:
        """Allow a stage to be retried alone again: its device was lost, which is not the job's fault."""
        self._alone.discard(stage)

    def allow_after_damage(self, limit: int) -> bool:
        """Return True if lost or damaged results may be built again; at most `limit` times."""
        self._damaged += 1
        return self._damaged <= limit
