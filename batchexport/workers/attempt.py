"""One try at a stage: where it works, what it may take, and how far it has come."""

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

    `held` is what it held when it was ended for its memory; `kernel_kills` how many processes the kernel had killed
    for want of memory when it began.
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
