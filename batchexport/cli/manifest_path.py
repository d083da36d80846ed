"""Tell what is wrong with a path that was given as a manifest, and which path may be meant."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from batchexport.core.text import nearest, quoted

_FORMS = {
    ".json": "JSON; a manifest is TOML",
    ".yaml": "YAML; a manifest is TOML",
    ".yml": "YAML; a manifest is TOML",
    ".py": "Python code; name its models in a manifest",
}
_SHOWN = 3


def wrong_manifest(path: Path) -> str:
    """Return why a path is no manifest, with the manifests that may be meant."""
    shown = quoted(str(path), 200)
    if path.is_dir():
        found = manifests_in(path)
        if not found:
            return f"{shown} is a folder without a manifest (*.toml)"
        return f"{shown} is a folder; name the manifest in it: {_some(found)}"
    if path.exists():
        what = _FORMS.get(path.suffix, "a file of a model; name it in a manifest, as model or weights")
        beside = manifests_in(path.parent)
        return f"{shown} is {what}" + (f"; beside it: {_some(beside)}" if beside else "")
    if not path.parent.is_dir():
        return f"{shown} does not exist, nor does its folder"
    beside = manifests_in(path.parent)
    near = nearest(path.name, [one.name for one in beside])
    if near is not None:
        return f"{shown} does not exist; did you mean {quoted(str(path.with_name(near)), 200)}?"
    return f"{shown} does not exist" + (f"; there is {_some(beside)}" if beside else "")


def manifests_in(folder: Path) -> list[Path]:
    """Return the TOML files of a folder that have a line `schema = …`, by name."""
    found = []
    with suppress(OSError):
        for path in sorted(folder.glob("*.toml")):
            with suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
                if any(line.replace(" ", "").startswith("schema=") for line in file):
                    found.append(path)
    return found


def _some(paths: list[Path]) -> str:
    more = len(paths) - _SHOWN
    return ", ".join(str(path) for path in paths[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
