"""Choose the next stage to start: the job expected to take longest first, within the worker, memory and device pools.

A pure state machine without I/O: the coordinator starts what it chooses.
"""

from __future__ import annotations

import heapq
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One stage of one job that is ready to run. `urgency` is the seconds expected until its job is done.

    `kind`: the kind of device it needs for itself, None for none; `device_memory`: its memory there. `alone`: no other
    task may run at the same time. Memory is bytes.
    """

    id: str
    stage: str
    urgency: float
    memory: int = 0
    kind: str | None = None
    device_memory: int = 0
    alone: bool = False


_Item = tuple[float, int, Task]
UNLIMITED = sys.maxsize


@dataclass(slots=True)
class Ready:
    """Ready tasks, in one heap per size class, an eighth of a power of two wide.

    To find the most urgent task that fits, only the heads of the few heaps are compared: of two tasks of one class the
    less urgent waits for the more urgent, even if only the former would fit.
    """

    _heaps: dict[int, list[_Item]] = field(default_factory=dict)

    def push(self, task: Task, number: int) -> None:
        """Add a task; `number` orders tasks of equal urgency."""
        heapq.heappush(self._heaps.setdefault(_size_class(task.memory), []), (-task.urgency, number, task))

    def most_urgent(self, room: int = UNLIMITED) -> Task | None:
        """Return the most urgent of the heads that fit into `room` bytes."""
        fitting = [heap[0] for heap in self._heaps.values() if heap[0][2].memory <= room]
        return min(fitting)[2] if fitting else None

    def remove(self, task: Task) -> None:
        """Remove a task that `most_urgent` returned."""
        size_class = _size_class(task.memory)
        heap = self._heaps[size_class]
        assert heap[0][2] is task
        heapq.heappop(heap)
        if not heap:
            del self._heaps[size_class]

    def drain(self) -> list[Task]:
        """Remove and return all tasks, the most urgent first."""
        items = sorted(item for heap in self._heaps.values() for item in heap)
        self._heaps.clear()
        return [task for _, _, task in items]

    def __iter__(self) -> Iterator[Task]:
        return (task for heap in self._heaps.values() for _, _, task in heap)

    def __bool__(self) -> bool:
        return bool(self._heaps)


def _size_class(memory: int) -> int:
    """Return the class of a size: those with the same four leading bits share one; below 16 each has its own."""
    shift = max(0, memory.bit_length() - 4)
    return (shift << 4) | (memory >> shift)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A device: tasks of its `kind` may run on it, one at a time; `room` is its free memory in bytes."""

    kind: str
    room: int = UNLIMITED


@dataclass(slots=True)
class Schedule:
    """Ready and running tasks over `slots` CPU workers, `memory` bytes (None: no limit) and devices by name.

    A task that needs a device takes no CPU worker, but its memory counts. Tasks that must run alone wait until no other
    task is ready or running.
    """

    slots: int
    memory: int | None = None
    devices: Mapping[str, Slot] = field(default_factory=dict)
    _ready: dict[str | None, Ready] = field(default_factory=dict)
    _alone: deque[Task] = field(default_factory=deque)
    _running: dict[str, Task] = field(default_factory=dict)
    _placed: dict[str, str] = field(default_factory=dict)
    _lost: set[str] = field(default_factory=set)
    _passed: dict[str, int] = field(default_factory=dict)
    _used: int = 0
    _count: int = 0

    def add(self, task: Task) -> None:
        """Add a task that is ready."""
        if task.alone:
            self._alone.append(task)
            return
        self._count += 1
        self._ready.setdefault(task.kind, Ready()).push(task, self._count)

    def next(self) -> Task | None:
        """Return a task to start now, None while none fits. A task larger than the pool runs alone."""
        if any(task.alone for task in self._running.values()):
            return None
        if self._alone and not self._running and not any(self._ready.values()):
            return self._start(self._alone.popleft(), None)
        offers = [(task, device) for kind in self._ready for task, device in self._offers(kind)]
        if not offers:
            return None
        task, device = max(offers, key=lambda offer: offer[0].urgency)
        self._ready[task.kind].remove(task)
        return self._start(task, device)

    def finish(self, name: str) -> None:
        """Free what a task took that has ended."""
        self._used -= self._running.pop(name).memory
        self._placed = {device: task for device, task in self._placed.items() if task != name}

    def device(self, name: str) -> str | None:
        """Return the device that a running task was given, None for none."""
        return next((device for device, task in self._placed.items() if task == name), None)

    def has(self, kind: str | None) -> bool:
        """Return True if there is a device of a kind, idle or busy."""
        return any(slot.kind == kind for name, slot in self.devices.items() if name not in self._lost)

    def lose(self, device: str) -> list[Task]:
        """Take a lost device out of use; remove and return the ready tasks that no device is left for."""
        self._lost.add(device)
        kind = self.devices[device].kind
        if self.has(kind):
            return []
        left = self._ready.pop(kind, Ready()).drain() + [task for task in self._alone if task.kind == kind]
        self._alone = deque(task for task in self._alone if task.kind != kind)
        return left

    def update_free_memory(self, room: Mapping[str, int]) -> None:
        """Set the free memory of each idle device; a busy one's free memory changes when its task ends."""
        self.devices = {
            name: slot if name in self._placed else Slot(kind=slot.kind, room=room.get(name, slot.room))
            for name, slot in self.devices.items()
        }

    def clear_ready(self) -> list[Task]:
        """Remove and return the tasks that have not started."""
        dropped = [task for ready in self._ready.values() for task in ready.drain()]
        dropped += self._alone
        self._alone.clear()
        return dropped

    @property
    def running(self) -> int:
        """Return the number of running tasks."""
        return len(self._running)

    def _start(self, task: Task, device: str | None) -> Task:
        if task.kind is not None and device is None:  # it runs alone, so every device is idle
            device = self._place(task)
        self._running[task.id] = task
        self._used += task.memory
        self._passed.pop(task.id, None)
        if device is not None:
            self._placed[device] = task.id
        return task

    def _offers(self, kind: str | None) -> list[tuple[Task, str | None]]:
        """Return the task of a kind that could start now, with its device; empty if none could."""
        if kind is None and len(self._running) - len(self._placed) >= self.slots:
            return []
        task = self._fitting(self._ready[kind])
        if task is None:
            return []
        if kind is None:
            return [(task, None)]
        device = self._place(task)
        return [] if device is None else [(task, device)]

    def _fitting(self, ready: Ready) -> Task | None:
        if self.memory is None or not self._running:
            return ready.most_urgent()
        first, fitting = ready.most_urgent(), ready.most_urgent(self.memory - self._used)
        if first is None or fitting is None or first is fitting:
            return fitting
        # Small tasks may overtake a large one, or workers would idle, but only so often, or it would start last.
        passed = self._passed[first.id] = self._passed.get(first.id, 0) + 1
        return fitting if passed <= 2 * self.slots else None

    def _place(self, task: Task) -> str | None:
        """Return the idle device with the most free memory, if that is enough or all of its kind are idle."""
        candidates = {
            name: slot for name, slot in self.devices.items() if slot.kind == task.kind and name not in self._lost
        }
        idle = sorted(
            (name for name in candidates if name not in self._placed), key=lambda name: -candidates[name].room
        )
        if not idle:
            return None
        return idle[0] if candidates[idle[0]].room >= task.device_memory or len(idle) == len(candidates) else None
