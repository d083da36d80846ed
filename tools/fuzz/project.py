"""A project is a folder with the models' modules and a manifest of all of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """BASE/project holds the modules, `m.toml` and, for exports without reference runs, `plain.toml`."""

    base: Path

    @property
    def folder(self) -> Path:
        """The folder of the manifest."""
        return self.base / "project"

    def add(self, model: Model) -> None:
        """Write the module of a model."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{model.module}.py").write_text(model.source, encoding="utf-8")

    def write(self, models: Sequence[Model]) -> None:
        """Write the manifests."""
        (self.folder / "m.toml").write_text(manifest([model.entry for model in models], "dist"), encoding="utf-8")
        plain = [{**model.entry, "compile": {"format": "none"}} for model in models]
        for name in ("plain", "again"):
            (self.folder / f"{name}.toml").write_text(manifest(plain, name), encoding="utf-8")

    def delivered(self, model: Model, dist: str = "dist") -> Path:
        """The folder of outputs of a model."""
        return self.folder / dist / model.job


def manifest(entries: Sequence[Any], dist: str) -> str:
    """The text of a manifest."""
    lines = ["schema = 1", "", "[output]", f'dir = "{dist}"']
    for entry in entries:
        lines += ["", "[[entry]]", *(f"{key} = {_toml(value)}" for key, value in entry.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
