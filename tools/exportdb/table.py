"""Run every case of the installed torch's exportdb through the product, and print what became of each.

    python tools/exportdb/table.py
    python tools/exportdb/table.py -k dynamic --keep /tmp/exportdb

A supported case is right if its archive is delivered and verified, an unsupported one if it fails with kind `export`
and the message names its case. Exit status 1 where one is not right.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from exportdb import cases

HEAD = 'schema = 1\n[cache]\ndir = "cache"\n[defaults.compile]\nformat = "none"\n'
_NAMED = re.compile(r"torch's exportdb case (\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of one case: `kind` and `named`, the case in the message, are those of a failure, else empty."""

    case: str
    supported: bool
    outcome: str
    kind: str
    named: str

    @property
    def is_right(self) -> bool:
        if self.supported:
            return self.outcome == "ok"
        return (self.outcome, self.kind, self.named) == ("failed", "export", self.case)


def row(job: Mapping[str, Any]) -> Row:
    """Return the row of a job in a JSON report."""
    error = job["error"] or {"kind": "", "message": ""}
    named = _NAMED.search(error["message"])
    verified = job["stages"].get("verify", {}).get("outcome") in ("built", "cached")
    return Row(
        case=job["entry"],
        supported=job["entry"] in cases.SUPPORTED,
        outcome="failed" if job["error"] else "ok" if job["ok"] and verified else "not delivered",
        kind=error["kind"],
        named=named[1] if named else "",
    )


def lines(rows: Sequence[Row]) -> list[str]:
    """Return the table, and a last line with the counts."""
    width = max([len(one.case) for one in rows], default=4)
    found = [f"{'':<2}{'case':<{width}}  {'level':<11}  {'outcome':<13}  {'kind':<8}  case named"]
    for one in rows:
        level = "supported" if one.supported else "unsupported"
        mark = "  " if one.is_right else "! "
        found.append(f"{mark}{one.case:<{width}}  {level:<11}  {one.outcome:<13}  {one.kind:<8}  {one.named}".rstrip())
    wrong = sum(not one.is_right for one in rows)
    return [*found, f"{len(rows)} cases: {len(rows) - wrong} as they should be, {wrong} not"]


def run(folder: Path, names: Sequence[str]) -> list[Row]:
    """Run the product over these cases in a folder, which becomes a project, and return what became of them."""
    shutil.copy(cases.__file__, folder / "cases.py")
    entries = [f'[[entry]]\nname = "{name}"\n{cases.entry(name, "cases")}' for name in names]
    (folder / "manifest.toml").write_text("\n".join([HEAD, *entries]), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "batchexport", "run", "manifest.toml", "-q"], cwd=folder, check=False)
    report = json.loads((folder / "dist" / "report.json").read_text(encoding="utf-8"))
    return [row(job) for job in report["jobs"]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", metavar="TEXT", default="", help="only cases with this in their names")
    parser.add_argument("--keep", metavar="DIR", type=Path, help="work in this folder, and keep it")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        rows = run(folder, [name for name in cases.CASES if given.k in name])
    print("\n".join(lines(rows)))
    return int(not all(one.is_right for one in rows))


if __name__ == "__main__":
    sys.exit(main())
