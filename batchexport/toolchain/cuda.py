"""CUDA devices, as nvidia-smi lists them: CUDA itself is never started here.

Equal devices are of one kind, and compiled code is for a kind.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchexport.toolchain.command import answer

_FIELDS = ("index", "uuid", "name", "compute_cap", "memory.total", "memory.free", "driver_version")
_TIMEOUT_SECONDS = 30.0
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One GPU. `sm` is its compute capability without the point; memory in bytes."""

    index: int
    uuid: str
    name: str
    sm: str
    memory: int
    free: int
    driver: str

    @property
    def capability(self) -> str:
        """Return the compute capability as NVIDIA writes it: `9.0`."""
        return f"{self.sm[:-1]}.{self.sm[-1:]}"

    @property
    def kind(self) -> str:
        """Return what devices must share for code tuned on one to be as good on the others: name and capability."""
        return f"{self.name} sm{self.sm}"


Port = Callable[[], tuple[Device, ...]]


def nvidia_smi() -> tuple[Device, ...]:
    """Return the devices that the driver shows now; none where there is no driver, or it does not answer."""
    return parse(ask_driver()[1])


def ask_driver() -> tuple[int, str]:
    """Return the exit status and the output of nvidia-smi; -1 and the reason where it could not be run to its end."""
    command = ["nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"]
    return answer(command, seconds=_TIMEOUT_SECONDS)


def parse(text: str) -> tuple[Device, ...]:
    """Parse the output of nvidia-smi; skip broken devices, whose lines have words instead of numbers."""
    found = []
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        try:
            index, uuid, name, capability, memory, free, driver = row
            major, minor = map(int, capability.split("."))
            found.append(
                Device(
                    index=int(index),
                    uuid=uuid,
                    name=name,
                    sm=f"{major}{minor}",
                    memory=int(memory) * _MIB,
                    free=int(free) * _MIB,
                    driver=driver,
                )
            )
        except ValueError:
            continue
    return tuple(sorted(found, key=lambda device: device.index))


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """The devices that a run may use, or why there are none. `runtime` is the CUDA version that comes with torch."""

    usable: tuple[Device, ...] = ()
    why_none: str = "no CUDA device"
    runtime: str | None = None
    port: Port = field(default=nvidia_smi, repr=False)

    def kind(self, target: str) -> str | None:
        """Return the kind of device that code for `target` is compiled on; for `cuda`, that of the first device."""
        fit = (device for device in self.usable if target in ("cuda", f"cuda-sm{device.sm}"))
        return next((device.kind for device in fit), None)

    def why_not(self, target: str) -> str | None:
        """Return why code for a target can't be built here; None if it can, as for every CPU."""
        if not target.startswith("cuda") or self.kind(target) is not None:
            return None
        if not self.usable:
            return self.why_none
        return f"no {target.removeprefix('cuda-')} device here, only {', '.join(sorted({d.kind for d in self.usable}))}"

    def facts(self, target: str) -> Mapping[str, Any]:
        """Return the facts about the devices that affect code for `target`; they are part of its key."""
        kind = self.kind(target) if target.startswith("cuda") else None
        if kind is None:
            return {}
        device = next(device for device in self.usable if device.kind == kind)
        return {"device": device.name, "sm": device.sm, "driver": device.driver, "cuda": self.runtime}

    def room(self) -> dict[str, int]:
        """Return the free bytes of each device by UUID; a device that is missing was lost."""
        present = {device.uuid: device.free for device in self.port()}
        return {device.uuid: present[device.uuid] for device in self.usable if device.uuid in present}


def chosen(
    *,
    listed: Sequence[int] | None,
    environment: Mapping[str, str] = os.environ,
    torch: str | None = None,
    runtime: str | None = None,
    port: Port = nvidia_smi,
) -> Devices:
    """Return the devices to use: those `listed` in the manifest, or all that CUDA_VISIBLE_DEVICES leaves visible.

    `torch` and `runtime` are the versions of torch and of the CUDA that comes with it.
    """

    def none(why: str) -> Devices:
        return Devices(why_none=why, port=port)

    if listed is not None and not listed:
        return none("[pools.cuda] has no devices")
    found = port()
    if not found:
        return none("no CUDA device")
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",") if name.strip()]
        found = tuple(
            device for device in found if any(n == str(device.index) or device.uuid.startswith(n) for n in names)
        )
        if not found:
            return none("CUDA_VISIBLE_DEVICES hides every device")
    if listed is not None:
        found = tuple(device for device in found if device.index in listed)
        if not found:
            return none("none of the devices in [pools.cuda] is here")
    if (torch or "").endswith("+cpu"):
        return none("torch is built for the CPU only")
    return Devices(usable=found, runtime=runtime, port=port)
