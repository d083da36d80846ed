"""Write the table of the zoo in the README from the report of a run.

    batchexport run manifests/zoo.toml --json dist/zoo/report.json
    python tools/zoo_table.py dist/zoo/report.json

The table stands between two comments, and has a row for each entry: what it builds, how many parameters and operators
the exported program has, and what became of it. Without a report the entries of the README's table are held against
the manifest: exit status 1 if they differ.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MANIFEST = ROOT / "manifests" / "zoo.toml"
README = ROOT / "README.md"
BEGIN, END = "<!-- zoo: written by tools/zoo_table.py -->", "<!-- end of zoo -->"
_BYTES = 4  # of a float32, which all parameters of the zoo are


def rows(entries: Sequence[Mapping[str, Any]], jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of the table; an entry of several jobs is told by the first."""
    lines = ["| entry | model | parameters | operators | outcome |", "|---|---|---:|---:|---|"]
    for entry in entries:
        job = next((one for one in jobs if one["entry"] == entry["name"]), None)
        if job is None:
            raise SystemExit(f"the report has no job of the entry {entry['name']}: run all of {MANIFEST.name}")
        stats = job["stats"] or {}
        parameters, operators = _count(stats.get("parameter_bytes", 0) // _BYTES), stats.get("op_count", "")
        head = f" with `{entry['head']}`" if "head" in entry else ""
        lines.append(f"| {entry['name']} | `{entry['model']}`{head} | {parameters} | {operators} | {_outcome(job)} |")
    return lines


def _outcome(job: Mapping[str, Any]) -> str:
    if job["ok"]:
        return "verified"
    return f"{'expected: ' if job.get('expected') else ''}{job['error']['kind']}"


def _count(number: int) -> str:
    for unit, size in (("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.1f}{unit}" if number < 10 * size else f"{number // size}{unit}"
    return str(number)


def table_of(readme: str) -> list[str]:
    """Return the lines between the two comments."""
    return readme.partition(BEGIN)[2].partition(END)[0].strip().splitlines()


def entries_of(table: Sequence[str]) -> list[str]:
    """Return the first cell of each row."""
    return [line.split("|")[1].strip() for line in table[2:]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, nargs="?", help="the JSON report of a run of all of manifests/zoo.toml")
    given = parser.parse_args()
    entries = tomllib.loads(MANIFEST.read_text(encoding="utf-8"))["entry"]
    readme = README.read_text(encoding="utf-8")
    if given.report is None:
        there, wanted = entries_of(table_of(readme)), [entry["name"] for entry in entries]
        for name in sorted({*there} ^ {*wanted}):
            print(f"{name} is {'not in the README' if name in wanted else 'not in the manifest'}")
        return int(there != wanted)
    jobs = json.loads(given.report.read_text(encoding="utf-8"))["jobs"]
    before, after = readme.partition(BEGIN)[0], readme.partition(END)[2]
    text = "\n".join(rows(entries, jobs))
    README.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
    print(f"wrote {len(entries)} rows to {README.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
