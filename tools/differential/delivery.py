"""Two deliveries of one job are the same where nobody who uses them can tell them apart.

The exported archive, its digests and the evidence of verify must be equal. Compiled code has the folder of its
build in it, so where its bytes differ, its weights and its outputs on fixed inputs are compared.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_OUTPUTS = Path(__file__).with_name("outputs.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What lies in the output folder of one job: its `job.json`, and the digests of its files as they are."""

    folder: Path
    record: dict[str, Any]
    files: dict[str, str]

    @property
    def compiled(self) -> Path | None:
        """The compiled artifact, if there is one."""
        path = self.folder / "compiled.pt2"
        return path if path.exists() else None


def read(folder: Path) -> Delivery:
    """The delivery in a folder. Raises OSError, ValueError where there is none."""
    record = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    names = sorted(path.name for path in folder.iterdir() if path.name != "job.json")
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    return Delivery(folder=folder, record=record, files=files)


def differences(kept: Delivery, clean: Delivery) -> list[str]:
    """What of a delivery is not as in a clean build, in words."""
    found = []
    if sorted(kept.files) != sorted(clean.files):
        found.append(f"files {sorted(kept.files)}, not {sorted(clean.files)}")
    for name, content in kept.files.items():
        if kept.record["digests"].get(name) != content:
            found.append(f"{name} is not what job.json says")
    ours, theirs = kept.record, clean.record
    found += [f"another {what}" for what in ("program", "state") if ours["digests"][what] != theirs["digests"][what]]
    if kept.files.get("exported.pt2") != clean.files.get("exported.pt2"):
        found.append("other bytes in exported.pt2")
    found += [
        f"other {what}: {ours[what]}, not {theirs[what]}" for what in ("stats", "outputs") if ours[what] != theirs[what]
    ]
    if kept.compiled and clean.compiled:
        if kept.files["compiled.pt2"] != clean.files["compiled.pt2"]:
            found += _compiled(kept, clean)
    elif kept.record["verify"] != clean.record["verify"]:
        found.append("other evidence of verify")
    return found


def stale(kept: Delivery, clean: Delivery) -> list[str]:
    """Keys in `job.json` that are not those of a clean build, where the results are the same.

    The key of a verify names the bytes it looked at. Compilers write the folder they work in into their output, so
    two compiles give two keys.
    """
    ours, theirs = kept.record["keys"], clean.record["keys"]
    stages = {*ours, *theirs}
    if kept.compiled and kept.files["compiled.pt2"] != clean.files["compiled.pt2"]:
        stages.remove("verify")
    return [stage for stage in sorted(stages) if ours.get(stage) != theirs.get(stage)]


def _compiled(kept: Delivery, clean: Delivery) -> list[str]:
    assert kept.compiled and clean.compiled
    found = []
    if _weights(kept.compiled) != _weights(clean.compiled):
        found.append("other weights in compiled.pt2")
    tolerance = [str(clean.record["verify"][name]) for name in ("rtol", "atol")]
    command = [sys.executable, str(_OUTPUTS), str(kept.compiled), str(clean.folder), *tolerance]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        return [*found, f"compiled.pt2 can't be run: {(done.stderr or done.stdout)[-1000:]}"]
    return [*found, *json.loads(done.stdout.splitlines()[-1])]


def _weights(package: Path) -> list[str]:
    with zipfile.ZipFile(package) as archive:
        blobs = [name for name in archive.namelist() if name.endswith("_weights.blob")]
        return sorted(hashlib.sha256(archive.read(name)).hexdigest() for name in blobs)
