"""Stand-ins for what a machine has or has not: GPUs that can be lost, and children that leave what stages leave."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batchexport.toolchain.cuda import Device
from batchexport.workers.forkserver import ProcessExit
from batchexport.workers.protocol import StageRequest

GIB = 1 << 30


class Rack:
    """GPUs; its `port` is what nvidia-smi would say."""

    def __init__(self, count: int, *, sm: str = "90") -> None:
        self.devices = [
            Device(index=n, uuid=f"GPU-{n}", name="Stand-in", sm=sm, memory=80 * GIB, free=80 * GIB, driver="1.0")
            for n in range(count)
        ]

    def port(self) -> tuple[Device, ...]:
        return tuple(self.devices)

    def lose(self, uuid: str) -> None:
        self.devices = [device for device in self.devices if device.uuid != uuid]


class Children:
    """A fork server whose children run until `choose` names the one that ends next, and how: its exit status.

    A child that ends with 0 leaves its stage's files and result. `seen` holds what ran at the same time, each time
    that a child ended: pairs of id and device.
    """

    note: str | None = None

    def __init__(self, choose: Callable[[dict[str, str]], tuple[str, int]]) -> None:
        self._choose = choose
        self._running: dict[str, StageRequest] = {}
        self.seen: list[dict[str, str]] = []

    def open(self) -> None:
        pass

    def start(self, request: StageRequest) -> None:
        self._running[request.id] = request

    def wait(self, timeout: float | None) -> list[ProcessExit]:
        if not self._running:
            return []
        now = {name: request.environment["CUDA_VISIBLE_DEVICES"] for name, request in self._running.items()}
        self.seen.append(now)
        name, status = self._choose(now)
        request = self._running.pop(name)
        if status == 0:
            _leave(request.task["stage"], Path(request.folder), name.partition(":")[0].partition("@")[0])
        return [ProcessExit(id=name, status=status, seconds=0.1, peak_rss_bytes=1 << 20)]

    def resident_bytes(self, *, exact: bool) -> dict[str, int]:
        return {}

    def signal(self, name: str, number: int) -> None:
        self._running.pop(name, None)

    def end_children(self) -> None:
        self._running.clear()

    def close(self) -> None:
        pass


def _leave(stage: str, folder: Path, entry: str) -> None:
    word = hashlib.sha256(entry.encode()).hexdigest()
    outputs: dict[str, Any] = {
        "export": {
            "program": word,
            "skeleton": word,
            "state": [],
            "modules": [],
            "likeness": None,
            "auto": None,
            "reweighed": False,
            "packed": None,
            "warnings": [],
            "call": {"args": [], "kwargs": ["x"], "positions": ["x"]},
            "stats": {"op_count": 1, "parameter_bytes": 4, "buffer_bytes": 0, "strict": False},
        },
        "compile": {"compiled": "compiled.pt2", "code": None},
        "verify": {"samples": [], "refused": None},
    }
    for name in {"export": ["exported.pt2", "reference.pt"], "compile": ["compiled.pt2"]}.get(stage, []):
        (folder / name).write_text(f"{stage} {entry} {name}")
    result = {"ok": True, "output": outputs[stage], "dependencies": [], "uncacheable": [], "key_seconds": 0.0}
    (folder / "result.json").write_text(json.dumps(result))
