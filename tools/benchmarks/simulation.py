"""A simulated machine: the real schedule, with children that are only numbers and a clock that jumps."""

from __future__ import annotations

import heapq
import random
import time
from dataclasses import dataclass

from batchexport.engine.schedule import Schedule, Task

STAGES = ("export", "compile", "verify")
_MEDIAN = {"export": 2.0, "compile": 20.0, "verify": 1.0}
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """What came of a simulation: seconds of real time in the schedule, the rest in simulated ones; memory in bytes.

    `bound` is what no schedule can beat: all work shared evenly over the workers, over the memory, or the longest job.
    """

    seconds_a_job: float
    slowest: float
    makespan: float
    bound: float
    memory: int
    peak: int
    most: int

    @property
    def ratio(self) -> float:
        return self.makespan / self.bound


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    name: str
    expected: float
    seconds: float
    memory: int


def _jobs(count: int, dice: random.Random) -> list[list[_Stage]]:
    made = []
    for _ in range(count):
        size = dice.lognormvariate(0.0, 0.8)  # of the model; its stages are all long, or all short
        stages = []
        for name in STAGES:
            expected = _MEDIAN[name] * size * dice.uniform(0.8, 1.25)
            memory = int(min(400 + 500 * size, 30_000) * _MIB)
            stages.append(_Stage(name=name, expected=expected, seconds=expected * dice.gauss(1.0, 0.1), memory=memory))
        made.append(stages)
    return made


def simulate(*, jobs: int, workers: int, seed: int, tight: bool = False) -> Simulated:
    """Run `jobs` to their ends. `tight`: memory for three quarters of the workers' usual needs."""
    dice = random.Random(seed)
    work = _jobs(jobs, dice)
    stages = [stage for job in work for stage in job]
    total = sum(stage.seconds for stage in stages)
    area = sum(stage.seconds * stage.memory for stage in stages)
    longest = max(sum(stage.seconds for stage in job) for job in work)
    largest = max(stage.memory for stage in stages)
    usual = workers * area / total
    memory = int(max(0.75 * usual if tight else 2 * usual, 2 * largest))
    schedule = Schedule(slots=workers, memory=memory)
    spent = slowest = now = 0.0
    used = peak = most = done = 0
    running: list[tuple[float, int, int]] = []

    def ready(number: int, stage: int) -> None:
        left = sum(later.expected for later in work[number][stage:])
        urgency = float("inf") if stage == len(STAGES) - 1 else left
        task = Task(id=f"{number}:{stage}", stage=STAGES[stage], urgency=urgency, memory=work[number][stage].memory)
        schedule.add(task)

    started = time.perf_counter()
    for number in range(jobs):
        ready(number, 0)
    spent += time.perf_counter() - started
    while done < jobs:
        started = time.perf_counter()
        begun = []
        while (task := schedule.next()) is not None:
            begun.append(task)
        took = time.perf_counter() - started
        spent, slowest = spent + took, max(slowest, took)
        for task in begun:
            number, stage = map(int, task.id.split(":"))
            heapq.heappush(running, (now + work[number][stage].seconds, number, stage))
            used += task.memory
        peak, most = max(peak, used), max(most, len(running))
        now, number, stage = heapq.heappop(running)
        used -= work[number][stage].memory
        started = time.perf_counter()
        schedule.finish(f"{number}:{stage}")
        if stage + 1 < len(STAGES):
            ready(number, stage + 1)
        else:
            done += 1
        spent += time.perf_counter() - started
    return Simulated(
        seconds_a_job=spent / jobs,
        slowest=slowest,
        makespan=now,
        bound=max(total / workers, area / memory, longest),
        memory=memory,
        peak=peak,
        most=most,
    )
