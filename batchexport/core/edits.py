"""Changes of a manifest: those that a failure tells, and those that `--apply-fixes` has written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A change of an entry of the manifest: the value to write at `path`, or None to remove what is there.

    `path` holds keys of tables and, counted from 0, items of lists.
    """

    path: tuple[str | int, ...]
    value: Any

    @classmethod
    def from_json(cls, form: Mapping[str, Any]) -> Edit:
        """Read what `to_json` wrote. Raises KeyError, TypeError."""
        return cls(path=tuple(form["path"]), value=form["value"])

    def to_json(self) -> dict[str, Any]:
        return {"path": list(self.path), "value": self.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedFix:
    """A key that `--apply-fixes` has changed in a manifest, as TOML text; None where there was or is no such key.

    `line` is that of the key in the manifest as it is now, for a removed key that of the table around it. `entry` is
    empty for a key of [defaults] that no entry needs any more.
    """

    line: int
    entry: str
    key: str
    before: str | None
    after: str | None

    def to_json(self) -> dict[str, Any]:
        return {"line": self.line, "entry": self.entry, "key": self.key, "before": self.before, "after": self.after}
