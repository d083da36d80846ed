"""An audit names every file that nothing accounts for: in the cache, the project, HOME and TMPDIR."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from fault_injection.workspace import Workspace

_OWN = {"schema", "gate"}
_PROJECT = {"models.py", "manifest.toml", "cache", "dist", "__pycache__"}


def unaccounted(workspace: Workspace) -> list[str]:
    """What should not be there. Right after a gc, and with no run at work, it should be empty."""
    return [*_in_cache(workspace.data), *_elsewhere(workspace)]


def _elsewhere(workspace: Workspace) -> list[str]:
    found = [str(path) for folder in (workspace.home, workspace.temporary) for path in folder.rglob("*")]
    found += [str(path) for path in workspace.project.iterdir() if path.name not in _PROJECT]
    dist = workspace.project / "dist"
    return found + [str(path) for path in dist.rglob(".*")]


def _in_cache(data: Path) -> list[str]:
    """Every file of the cache but: records that hold, blobs they name, the index, and what is named by the layout."""
    named, bad = set(), []
    folders: set[str] = set()
    for path in (path for path in (data / "entries").rglob("*") if not path.is_dir()):
        try:
            record = json.loads(path.read_bytes())
            named |= {row["digest"] for row in record["data"]["files"].values()}
        except (ValueError, KeyError, TypeError):
            bad.append(str(path))
            continue
        if record["kind"] == "manifest":
            folders |= set(record["data"]["data"]["folders"])
    for path in (path for path in (data / "objects").rglob("*") if not path.is_dir()):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != path.parent.name + path.name or digest not in named:
            bad.append(str(path))
    for name in ("staging", "locks"):
        bad += [str(path) for path in (data / name).iterdir()]
    bad += [
        str(path) for path in (data / "logs").iterdir() if path.name not in {*folders, "forkserver.log", "events.jsonl"}
    ]
    bad += [str(path) for path in data.glob("histories/*") if not path.name.endswith(".json.gz")]
    known = {"objects", "entries", "staging", "locks", "logs", "histories", "inductor", "index", *_OWN}
    return bad + [str(path) for path in data.iterdir() if path.name not in known]
