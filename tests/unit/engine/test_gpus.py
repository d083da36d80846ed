"""The GPU pool, with stand-in devices and children: one child per device, and jobs of a lost device run on another."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchexport.core.events import Event, Note
from batchexport.core.options import RunOptions
from batchexport.core.report import JobReport
from batchexport.engine.runner import run_jobs
from batchexport.planning import session
from batchexport.toolchain.cuda import chosen
from batchexport.workers import forkserver
from support.standins import Children, Rack

Choose = Callable[[dict[str, str]], tuple[str, int]]
HEAD = 'schema = 1\n[cache]\ndir = "cache"\n[pools.cpu]\nworkers = 2\n[defaults.inputs]\nx = { shape = [2] }\n'


class Run:
    """One run over `rack`, whose children end as `choose` says."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch, rack: Rack, targets: list[str]) -> None:
        entries = [
            f'[[entry]]\nname = "m{n}"\nmodel = "m:M"\nseed = {n}\ntargets = ["{target}"]'
            for n, target in enumerate(targets)
        ]
        (root / "manifest.toml").write_text("\n".join([HEAD, *entries]))
        self.root, self.rack, self.patch = root, rack, patch
        self.events: list[Event] = []

    def __call__(self, choose: Choose, **options: Any) -> dict[str, JobReport]:
        self.children = Children(choose)
        self.patch.setattr(forkserver, "ForkServer", lambda **_: self.children)
        self.patch.setattr(
            session,
            "chosen",
            lambda **given: chosen(**{**given, "torch": "2.13.0", "environment": {}, "port": self.rack.port}),
        )
        reports = run_jobs(RunOptions(manifest=self.root / "manifest.toml", **options), self.events.append).reports
        return {report.name: report for report in reports}

    def check(self) -> None:
        """Assert what must hold in every run."""
        for now in self.children.seen:
            on_devices = [device for device in now.values() if device]
            assert len(on_devices) == len(set(on_devices)), now
            assert all(name.endswith(":export") != bool(device) or "@cpu" in name for name, device in now.items()), now


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    return lambda rack, *targets: Run(tmp_path, monkeypatch, rack, list(targets))


def first(now: dict[str, str]) -> tuple[str, int]:
    return min(now), 0


def test_compile_and_verify_run_on_a_device_each_and_exports_on_none(run: Callable[..., Run]) -> None:
    one = run(Rack(2), *["cuda"] * 6)
    reports = one(lambda now: (min(now, key=lambda name: (now[name], name)), 0))  # exports end first
    one.check()
    assert all(report.ok for report in reports.values())
    assert {device for now in one.children.seen for device in now.values()} == {"", "GPU-0", "GPU-1"}
    assert max(sum(map(bool, now.values())) for now in one.children.seen) == 2


@pytest.mark.parametrize("seed", range(10))
def test_in_any_order_of_exits_no_device_has_two_children_and_all_is_delivered(
    run: Callable[..., Run], seed: int
) -> None:
    dice = random.Random(seed)
    one = run(Rack(3), *dice.choices(["cuda", "cuda-sm90", "cpu"], k=12))
    reports = one(lambda now: (dice.choice(sorted(now)), 0))
    one.check()
    assert all(report.ok for report in reports.values())


def test_a_lost_device_gets_no_more_stages_and_its_job_runs_on_another_while_the_cpu_goes_on(
    run: Callable[..., Run],
) -> None:
    one = run(Rack(2), *["cuda"] * 4, *["cpu"] * 4)
    victims: list[str] = []

    def choose(now: dict[str, str]) -> tuple[str, int]:
        on_it = [name for name, device in now.items() if device == "GPU-0"]
        if on_it and not victims:
            victims.append(on_it[0])
            one.rack.lose("GPU-0")
            return on_it[0], -signal.SIGABRT
        return max(now), 0

    reports = one(choose)
    one.check()
    assert all(report.ok for report in reports.values())
    name, _, stage = victims[0].partition(":")
    assert "the GPU GPU-0 was lost while it ran" in reports[name].stages[stage].reason
    lost = next(n for n, now in enumerate(one.children.seen) if "GPU-0" in now.values())
    later = one.children.seen[lost + 1 :]
    assert not any("GPU-0" in now.values() for now in later)
    assert any("GPU-1" in now.values() and "" in now.values() for now in later)
    assert [event.text for event in one.events if isinstance(event, Note)] == ["the GPU GPU-0 was lost"]


def test_without_the_last_device_its_jobs_fail_and_the_others_are_delivered(run: Callable[..., Run]) -> None:
    one = run(Rack(1), *["cuda"] * 3, *["cpu"] * 3)

    def choose(now: dict[str, str]) -> tuple[str, int]:
        on_it = [name for name, device in now.items() if device]
        if on_it:
            one.rack.lose("GPU-0")
            return on_it[0], 1
        return min(now), 0

    reports = one(choose)
    one.check()
    for name, report in reports.items():
        assert report.ok == name.endswith("@cpu"), report
        if not report.ok:
            assert report.error is not None
            assert (report.error.kind, report.error.message) == (
                "toolchain", "the GPU was lost, and no other GPU of its kind is left"
            )  # fmt: skip


def test_code_that_several_jobs_share_is_compiled_once(run: Callable[..., Run]) -> None:
    one = run(Rack(2), *["cuda"] * 4)
    manifest = one.root / "manifest.toml"
    manifest.write_text("".join(line for line in manifest.read_text().splitlines(True) if "seed" not in line))
    reports = one(lambda now: (min(now, key=lambda name: (now[name], name)), 0))
    one.check()
    assert all(report.ok for report in reports.values())
    assert sorted(str(report.stages["compile"].outcome) for report in reports.values()) == ["built"] + ["cached"] * 3


def test_a_crash_on_a_device_that_is_not_lost_is_retried_alone_once(run: Callable[..., Run]) -> None:
    one = run(Rack(2), *["cuda"] * 3)
    bad = "m0@cuda:compile"
    reports = one(lambda now: (bad, -signal.SIGSEGV) if bad in now else (min(now), 0))
    one.check()
    attempts = [now for now in one.children.seen if bad in now]
    assert len(attempts[-1]) == 1
    assert reports["m0@cuda"].error is not None
    assert "failed again when retried alone" in reports["m0@cuda"].error.message
    assert reports["m1@cuda"].ok
    assert reports["m2@cuda"].ok


@pytest.mark.parametrize("require_all", [False, True])
def test_without_a_device_of_its_kind_a_job_is_skipped_or_fails(run: Callable[..., Run], require_all: bool) -> None:
    one = run(Rack(1, sm="75"), "cuda-sm90", "cuda")
    reports = one(first, require_all=require_all)
    assert reports["m1@cuda"].ok
    other = reports["m0@cuda-sm90"]
    assert (other.skipped, other.error is not None) == (not require_all, require_all)
    assert "no sm90 device here, only Stand-in sm75" in other.stages["compile"].reason


def test_nothing_is_built_again_on_the_same_devices_and_cuda_code_is_with_another_driver(
    run: Callable[..., Run],
) -> None:
    from dataclasses import replace

    one = run(Rack(2), "cuda", "cpu")
    one(first)
    assert {job.stages["compile"].outcome for job in one(first).values()} == {"cached"}
    one.rack.devices = [replace(device, driver="2.0") for device in one.rack.devices]
    again = one(first)
    assert {name: str(job.stages["compile"].outcome) for name, job in again.items()} == {
        "m0@cuda": "built",
        "m1@cpu": "cached",
    }
    assert "driver 1.0 → 2.0" in again["m0@cuda"].stages["compile"].reason
