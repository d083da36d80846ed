"""Write a manifest of bare types of transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_HEAD = 'schema = 1\n\n[defaults]\ntimeout = "5min"\ncompile = { format = "none" }\n'


def manifest(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a manifest with an entry for each type, by name, with these arguments and nothing more."""
    return _HEAD + "".join(
        f'\n[[entry]]\nname = "{name}"\nmodel = "transformers:{name}"\nkwargs = {toml(kwargs)}\n'
        for name, kwargs in entries.items()
    )


def toml(value: Any) -> str:
    """Return a value in TOML, on one line."""
    if value is None:
        return "{ none = true }"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(str(key))} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return json.dumps(value)
