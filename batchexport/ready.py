"""Ready tasks give up the most urgent that fits into so much memory, however many of them wait."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One stage of one job that is ready to run. `urgency` is the seconds expected until its job is done.

    `kind`: the kind of device it needs for itself, None for none; `device_memory`: what it needs there. `alone`:
    nothing else may run at the same time. Memory is bytes.
    """

    id: str
    stage: str
    urgency: float
    memory: int = 0
    kind: str | None = None
    device_memory: int = 0
    alone: bool = False


_Item = tuple[float, int, Task]
EVERYTHING = sys.maxsize


@dataclass(slots=True)
class Ready:
    """Tasks in a heap for each size class, an eighth of a power of two wide, so that few heaps are looked at.

    Only the heads of the heaps are: of two tasks of one class the less urgent waits for the more urgent, even if
    it alone would fit.
    """

    _heaps: dict[int, list[_Item]] = field(default_factory=dict)

    def push(self, task: Task, number: int) -> None:
        """`number` orders tasks of equal urgency."""
        heapq.heappush(self._heaps.setdefault(_size_class(task.memory), []), (-task.urgency, number, task))

    def most_urgent(self, room: int = EVERYTHING) -> Task | None:
        """The first of those that fit into `room` bytes."""
        fitting = [heap[0] for heap in self._heaps.values() if heap[0][2].memory <= room]
        return min(fitting)[2] if fitting else None

    def remove(self, task: Task) -> None:
        """Take out what `most_urgent` gave."""
        size_class = _size_class(task.memory)
        heap = self._heaps[size_class]
        assert heap[0][2] is task
        heapq.heappop(heap)
        if not heap:
            del self._heaps[size_class]

    def drain(self) -> list[Task]:
        """Everything, the most urgent first."""
        items = sorted(item for heap in self._heaps.values() for item in heap)
        self._heaps.clear()
        return [task for _, _, task in items]

    def __iter__(self) -> Iterator[Task]:
        return (task for heap in self._heaps.values() for _, _, task in heap)

    def __bool__(self) -> bool:
        return bool(self._heaps)


def _size_class(memory: int) -> int:
    """Sizes with the same four leading bits share a class; below 16 each size is one of its own."""
    shift = max(0, memory.bit_length() - 4)
    return (shift << 4) | (memory >> shift)
