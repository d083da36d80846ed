"""The GPUs of one run: which stage needs one, how much of it, and whether it is still there."""

from __future__ import annotations

import time

from batchexport.core.errors import Kind
from batchexport.core.report import Failure
from batchexport.engine.job_run import JobRun
from batchexport.engine.schedule import Schedule, Slot
from batchexport.toolchain.cuda import Devices

_LOOK_SECONDS = 5.0
# On the device: what CUDA and its libraries take, and the weights with what autotuning and running make of them.
_BASE = 1 << 30
_COPIES = 3


class Gpus:
    """Stands between the coordinator, the schedule's devices and the port that asks the driver."""

    def __init__(self, devices: Devices, schedule: Schedule) -> None:
        self._devices = devices
        self._schedule = schedule
        self._looked = time.monotonic()

    def why_not(self, run: JobRun, stage: str) -> str | None:
        """Why a stage can't run here for want of a device; None where it can."""
        return None if stage == "export" else self._devices.why_not(run.job.target)

    def needs(self, run: JobRun, stage: str) -> tuple[str | None, int]:
        """The kind of device that a stage must have, and bytes of its memory. An export never occupies one."""
        kind = self._devices.kind(run.job.target) if stage != "export" else None
        if kind is None:
            return None, 0
        weights = run.export.export_facts.parameter_bytes if run.export else 0
        return kind, _BASE + _COPIES * weights

    def refresh(self) -> None:
        """See how much memory is free on the devices, now and then: others may use them, too."""
        if self._devices.usable and time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._schedule.update_free_memory(self._devices.room())
            self._looked = time.monotonic()

    def lost(self, device: str) -> bool:
        """Whether a device is gone, asked after a stage on it failed; from then on it is given nothing."""
        if device in self._devices.room():
            return False
        self._schedule.lose(device)
        return True

    def lost_kind(self, run: JobRun, stage: str) -> bool:
        """Whether a stage needs a kind of device that the run had, and has lost."""
        kind, _ = self.needs(run, stage)
        return kind is not None and not self._schedule.has(kind)


def slots(devices: Devices) -> dict[str, Slot]:
    """Return the devices as the schedule knows them, by UUID: the numbers of CUDA and of nvidia-smi may differ."""
    return {device.uuid: Slot(kind=device.kind, room=device.free) for device in devices.usable}


def loss(stage: str) -> Failure:
    """A job that no device is left for."""
    message = "the GPU was lost, and there is no other of its kind"
    remedy = "see `nvidia-smi` and the kernel's log; run again once the device is back"
    return Failure(stage=stage, kind=Kind.TOOLCHAIN, message=message, remedy=remedy)
