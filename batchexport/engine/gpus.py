"""Track the GPUs of one run: which stages need one, how much of its memory, and which are lost."""

from __future__ import annotations

import time

from batchexport.core.errors import Kind
from batchexport.core.report import Failure
from batchexport.engine.job_run import JobRun
from batchexport.engine.schedule import Schedule, Slot
from batchexport.toolchain.cuda import Devices

_REFRESH_SECONDS = 5.0
# Memory of a stage on its device: CUDA and its libraries, and room for the weights, autotuning and activations.
_BASE_BYTES = 1 << 30
_WEIGHT_COPIES = 3


class Gpus:
    """Keep the schedule's devices in step with what the driver reports about them."""

    def __init__(self, devices: Devices, schedule: Schedule) -> None:
        self._devices = devices
        self._schedule = schedule
        self._refreshed = time.monotonic()

    def unavailable_reason(self, run: JobRun, stage: str) -> str | None:
        """Return why no device here can run a stage; None where one can, or where it needs none."""
        return None if stage == "export" else self._devices.why_not(run.job.target)

    def requirements(self, run: JobRun, stage: str) -> tuple[str | None, int]:
        """Return the kind of device that a stage needs, None for none, and bytes of its memory. Exports need none."""
        kind = self._devices.kind(run.job.target) if stage != "export" else None
        if kind is None:
            return None, 0
        weights = run.export.export_facts.parameter_bytes if run.export else 0
        return kind, _BASE_BYTES + _WEIGHT_COPIES * weights

    def refresh(self) -> None:
        """Update the free memory of the devices every few seconds: other programs may use them too."""
        if self._devices.usable and time.monotonic() - self._refreshed >= _REFRESH_SECONDS:
            self._schedule.update_free_memory(self._devices.room())
            self._refreshed = time.monotonic()

    def drop_if_lost(self, device: str) -> bool:
        """Take a device on which a stage failed out of use if the driver no longer lists it; return True if so."""
        if device in self._devices.room():
            return False
        self._schedule.lose(device)
        return True

    def needs_lost_kind(self, run: JobRun, stage: str) -> bool:
        """Return True if a stage needs a kind of device that the run has lost."""
        kind, _ = self.requirements(run, stage)
        return kind is not None and not self._schedule.has(kind)


def slots(devices: Devices) -> dict[str, Slot]:
    """Return the devices as the schedule knows them, by UUID: the numbers of CUDA and of nvidia-smi may differ."""
    return {device.uuid: Slot(kind=device.kind, room=device.free) for device in devices.usable}


def device_lost(stage: str) -> Failure:
    """Return the failure of a stage that no device is left for."""
    message = "the GPU was lost, and no other GPU of its kind is left"
    remedy = "see `nvidia-smi` and the kernel's log; run again once the device is back"
    return Failure(stage=stage, kind=Kind.TOOLCHAIN, message=message, remedy=remedy)
