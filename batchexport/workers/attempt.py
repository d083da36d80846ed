"""One attempt at a stage: where its child works, what it may use, and how the supervisor has intervened."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchexport.store.locks import Lock


@dataclass(slots=True, kw_only=True)
class Attempt:
    """A stage that a child works on. `timeout` is seconds, other times are `time.monotonic()`, memory is bytes.

    `timed_out`: the supervisor has sent it SIGTERM at its deadline. `cancelled`: it was killed because the run stops.
    `held_when_killed`: what it held when the supervisor killed it to free memory, else None. `kernel_kills`: the
    kernel's count of out-of-memory kills when it started, None where the kernel doesn't count.
    """

    stage: str
    folder: Path
    lock: Lock
    timeout: float
    expected_memory: int
    device: str | None = None
    started: float = field(default_factory=time.monotonic)
    deadline: float = math.inf
    timed_out: bool = False
    cancelled: bool = False
    held_when_killed: int | None = None
    kernel_kills: int | None = None
