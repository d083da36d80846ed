"""Who asks is read from the frames behind a hook, and from nothing else."""

from __future__ import annotations

import re
import sys
import threading
from types import FrameType

from batchexport.pipeline.zones import Zone, Zones

_TORCH = re.compile(r"/(site|dist)-packages/torch/")


def caller(zones: Zones, *, skip_torch: bool = False) -> Zone:
    """The zone of the nearest frame that is neither the standard library's nor ours."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        zone = zones.of(path)
        if zone in (Zone.FIRST, Zone.THIRD):
            return Zone.OWN if skip_torch and _TORCH.search(path) else zone
        if path.endswith(("/linecache.py", "/traceback.py")):
            return Zone.STDLIB
        frame = frame.f_back
    # A thread does not know who started it, so it is taken for the model's.
    return Zone.STDLIB if threading.current_thread() is threading.main_thread() else Zone.FIRST


def is_model_asking(zones: Zones) -> bool:
    """True when model code or a library of its, other than torch, is behind what a hook sees."""
    return caller(zones, skip_torch=True) in (Zone.FIRST, Zone.THIRD)


def is_model_behind(zones: Zones) -> bool:
    """True when model code is anywhere behind what a hook sees."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if zones.of(frame.f_code.co_filename) is Zone.FIRST:
            return True
        frame = frame.f_back
    return False
