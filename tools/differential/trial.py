"""A trial edits one world, round by round, and after every round the kept build must equal a clean one.

The edits of one round concern different jobs, so that each is judged as if it had been alone.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from differential import (
    mutations_asked,
    mutations_data,
    mutations_manifest,
    mutations_other,
    mutations_source,
)
from differential.delivery import Delivery, differences, read, stale
from differential.kinds import KINDS, Change, Kind
from differential.product import LIMIT_SECONDS, Product, Ran
from differential.tally import Tally
from differential.verdicts import NOTHING, STAGES, Verdict
from differential.world import State, World

assert all(
    (mutations_asked, mutations_data, mutations_manifest, mutations_other, mutations_source)
)  # they register their kinds

FIRST = "the first build"
REVERTED = "edit reverted"
OTHERS = "edits of other jobs"
_REMEMBERED = 6  # builds of a job to which it surely can go back; the product keeps some more
_BACK = 3


class Trial:
    """One world and its builds. `say` takes a line for every round."""

    def __init__(self, world: World, product: Product, rng: Random, tally: Tally, say: Callable[[str], None]) -> None:
        self._world = world
        self._product = product
        self._rng = rng
        self._tally = tally
        self._say = say
        self._deck: list[Kind] = []
        self._past: list[State] = []
        self._built: dict[str, list[str]] = {}

    def begin(self) -> None:
        """The first build, which works on everything."""
        self._world.sync()
        self._product.sweep()
        ran = self._run("kept")
        self._remember()
        self._settle({FIRST: Change(expected={}, note="")}, ran, None)

    def round(self, most: int) -> int:
        """A round with at most so many edits; how many there were."""
        if len(self._past) > 1 and self._rng.random() < 1 / len(KINDS):
            return self._back()
        changes = self._edit(most)
        self._world.sync()
        for change in changes.values():
            if change.after is not None:
                change.after()
        waiting = next((change.during for change in changes.values() if change.during), None)
        ran = self._run("kept") if waiting is None else self._raced(waiting)
        early = None if waiting is None else self._deliveries("kept")
        self._judge(changes, ran)
        self._remember()
        self._settle(changes, ran, early)
        return len(changes)

    # ── edits ────────────────────────────────────────────────────────────────────────────────

    def _edit(self, most: int) -> dict[str, Change]:
        changes: dict[str, Change] = {}
        concerned: set[str] = set()
        passed: list[Kind] = []
        while len(changes) < most and len(passed) < len(KINDS):
            if not self._deck:
                self._deck = self._rng.sample(KINDS, len(KINDS))
            kind = self._deck.pop()
            before = self._world.snapshot()
            change = None if kind.name in changes or (changes and kind.alone) else kind.make(self._world, self._rng)
            fits = change is not None and (kind.alone or (change.expected and not concerned & change.expected.keys()))
            if change is None or not fits:
                self._world.state = before
                passed.append(kind)
                continue
            changes[kind.name] = change
            concerned |= change.expected.keys()
            if kind.alone:
                break
        self._deck += [kind for kind in passed if kind not in self._deck]
        return changes

    def _back(self) -> int:
        """An earlier state again: everything must be found."""
        steps = self._rng.randint(1, min(_BACK, len(self._past) - 1))
        self._world.state = self._past[-1 - steps]
        del self._past[-1 - steps :]
        changes = {REVERTED: Change(expected=dict.fromkeys(self._world.jobs, NOTHING), note=f"{steps} rounds")}
        self._world.sync()
        ran = self._run("kept")
        self._judge(changes, ran)
        self._remember()
        self._settle(changes, ran, None)
        return 1

    # ── builds ───────────────────────────────────────────────────────────────────────────────

    def _run(self, name: str) -> Ran:
        return self._counted(name, self._product.run(name))

    def _counted(self, name: str, ran: Ran) -> Ran:
        self._tally.runs[name] += 1
        self._tally.seconds[name] = self._tally.seconds.get(name, 0.0) + ran.seconds
        return ran

    def _raced(self, during: Callable[[], None]) -> Ran:
        """A run in which a model waits at the gate until `during` is done."""
        log = next(self._product.folder("kept").glob("cache/v1/logs/gated*/export.log"), None)
        if log is not None:
            log.unlink()
        started = time.monotonic()
        with (self._world.base / "project/data/gated/gate").open("rb") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            process = self._product.start("kept")
            while process.poll() is None and time.monotonic() < started + LIMIT_SECONDS:
                if any("at the gate" in path.read_text() for path in self._logs()):
                    during()
                    break
                time.sleep(0.02)
            else:
                during()  # nothing was built, and the tree must still be what is expected
        return self._counted("kept", self._product.ended("kept", process, started))

    def _logs(self) -> list[Path]:
        return list(self._product.folder("kept").glob("cache/v1/logs/gated*/export.log"))

    def _deliveries(self, name: str) -> dict[str, Delivery]:
        return {job: read(folder) for job, folder in self._product.outputs(name).items()}

    # ── judgement ────────────────────────────────────────────────────────────────────────────

    def _judge(self, changes: dict[str, Change], ran: Ran) -> None:
        for kind, change in changes.items():
            self._tally.add(kind, "edits")
            revisited = change.leads_to is not None and self._world.is_revisited(kind, change.leads_to)
            for job, verdict in change.expected.items():
                if job in ran.jobs:
                    self._judge_job(kind, change.note, job, verdict.revisited() if revisited else verdict, ran)
        for job in sorted(ran.jobs):
            if not any(job in change.expected for change in changes.values()):
                self._judge_job(*_concerning(changes, job), job, NOTHING, ran)

    def _judge_job(self, kind: str, note: str, job: str, verdict: Verdict, ran: Ran) -> None:
        known = self._built.get(self._world.identity(job), [])
        meaning = self._world.meaning(job)
        if meaning in known[-_REMEMBERED:]:
            verdict = verdict.returned()
        elif meaning in known:
            verdict = verdict.forgotten()
        for stage in STAGES:
            work = ran.work(job, stage)
            if work not in ("", "skipped"):
                finding = f"{note}: {stage} of {job} was {work}: {ran.reason(job, stage)}"
                self._tally.judge(kind, stage, verdict, work, finding)

    def _remember(self) -> None:
        self._past = [*self._past[-_BACK:], self._world.snapshot()]
        for job in self._world.jobs:
            known = self._built.setdefault(self._world.identity(job), [])
            meaning = self._world.meaning(job)
            if meaning not in known:
                known.append(meaning)

    def _settle(self, changes: dict[str, Change], ran: Ran, early: dict[str, Delivery] | None) -> None:
        """Run again over the same tree, build it cleanly, and compare. `early`: what the first run delivered."""
        again = self._run("kept")
        for job in again.jobs:
            if ran.is_uncacheable(job):
                continue  # its reason is told, and the next run builds it again
            busy = [stage for stage in STAGES if again.work(job, stage) in ("built", "packed")]
            if busy:
                kind, note = _concerning(changes, job)
                self._tally.add(kind, "restless", f"{note}: {job}: {busy[0]}: {again.reason(job, busy[0])}")
        self._product.sweep()
        clean = self._run("clean")
        for name, one in (("kept", ran), ("kept again", again), ("clean", clean)):
            if (failure := one.failure()) is not None:
                self._tally.add(" + ".join(changes), "failed", f"{name}: {failure}")
        wrong = self._compare(changes, early, ran)
        self._say(f"{ran.seconds:5.1f} s, again {again.seconds:.1f} s, clean {clean.seconds:.1f} s: {_told(changes)}")
        if wrong:
            self._world.base.joinpath("kept/cache").rename(self._world.base / f"wrong-{self._tally.runs['kept']}")
            self._product.sweep()
            self._run("kept")

    def _compare(self, changes: dict[str, Change], early: dict[str, Delivery] | None, ran: Ran) -> int:
        kept, clean = self._deliveries("kept"), self._deliveries("clean")
        wrong = 0
        for job in self._world.jobs:
            kind, note = _concerning(changes, job)
            if job not in clean or job not in kept:
                found = [f"delivered by {'nobody' if job not in clean else 'the clean build alone'}"]
            else:
                found = differences(kept[job], clean[job])
                if (
                    early is not None
                    and not found
                    and early[job].files != kept[job].files
                    and not ran.is_uncacheable(job)
                ):
                    found = ["the first run delivered something else"]
                for stage in stale(kept[job], clean[job]) if not found else ():
                    self._tally.add(kind, "stale", f"{note}: {job}: {stage}")
            if found:
                wrong += 1
                self._tally.add(kind, "wrong", f"{note}: {job}: {', '.join(found)}")
        return wrong


def _concerning(changes: dict[str, Change], job: str) -> tuple[str, str]:
    """The kind and note of the change that concerns a job; where none does, all of them may."""
    for kind, change in changes.items():
        if job in change.expected:
            return kind, change.note
    return (next(iter(changes)) if len(changes) == 1 else OTHERS), _told(changes)


def _told(changes: dict[str, Change]) -> str:
    return "; ".join(f"{kind} ({change.note})" for kind, change in changes.items())
