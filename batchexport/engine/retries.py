"""Remember what was tried for one job, so that nothing is tried for ever."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Retries:
    """The second tries of one job; each `allow_…` grants one, and False from then on.

    `may_swap_weights`: a stored graph may take new weights; `may_pack_weights`: compiled code may. Both are given up
    once that did not work. `first_build` is the fingerprint of an export that is to be built twice.
    """

    may_swap_weights: bool = True
    may_pack_weights: bool = True
    first_build: str | None = None
    _input_changed: bool = False
    _header_truncated: bool = False
    _alone: set[str] = field(default_factory=set)
    _damaged: int = 0

    def allow_after_input_change(self) -> bool:
        """Return whether a stage may run again because a file that it read was changed meanwhile."""
        allowed, self._input_changed = not self._input_changed, True
        return allowed

    def allow_after_truncated_header(self) -> bool:
        """Return whether a compile may run again because a kill left a truncated precompiled header."""
        allowed, self._header_truncated = not self._header_truncated, True
        return allowed

    def allow_alone(self, stage: str) -> bool:
        """Return whether a stage that crashed or ran out of memory may run again, alone on the machine."""
        allowed = stage not in self._alone
        self._alone.add(stage)
        return allowed

    def was_alone(self, stage: str) -> bool:
        """Return whether a stage has had its try alone."""
        return stage in self._alone

    def forget_alone(self, stage: str) -> None:
        """Grant a stage its try alone again: the last one failed for a reason that is not the job's."""
        self._alone.discard(stage)

    def allow_after_damage(self, most: int) -> bool:
        """Return whether results that were lost or damaged may be built again; at most `most` times."""
        self._damaged += 1
        return self._damaged <= most
