"""Count imports between the rooms of batchexport.

    python tools/import_graph.py
    python tools/import_graph.py --list --max-imports 250 --max-arrows 40

A room is a folder of the package; the modules of its top folder are rooms of their own. Every import statement counts,
those inside functions and under TYPE_CHECKING too. Prints the pairs of modules that import each other across a border,
and the distinct arrows between rooms. Exit status 1 where a maximum is exceeded.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "batchexport"


def modules(package: Path) -> dict[str, Path]:
    """Return the modules of a package by dotted name, `__init__` files under the name of their folder."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(source: str, known: Iterable[str]) -> set[str]:
    """Return which of the `known` modules the source of a module imports, anywhere in it."""
    names = frozenset(known)
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in names else node.module)
    return found & names


def room(module: str) -> str:
    """Return the room of a module: `store` of `batchexport.store.blobs`, `api` of `batchexport.api`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def borders(graph: Mapping[str, Iterable[str]]) -> Counter[tuple[str, str]]:
    """Return the arrows between rooms, each with the number of module pairs behind it."""
    pairs = ((room(module), room(other)) for module, others in graph.items() for other in others)
    return Counter(pair for pair in pairs if pair[0] != pair[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print every arrow with its number of imports")
    parser.add_argument("--max-imports", type=int, metavar="N", help="fail if more imports cross a border")
    parser.add_argument("--max-arrows", type=int, metavar="N", help="fail if there are more arrows")
    given = parser.parse_args()
    found = modules(PACKAGE)
    graph = {name: imports(path.read_text(encoding="utf-8"), found) for name, path in found.items()}
    arrows = borders(graph)
    if given.list:
        for (one, other), count in sorted(arrows.items()):
            print(f"{one:<14} -> {other:<14} {count:>4}")
    print(f"{len(found)} modules, {sum(arrows.values())} imports across rooms, {len(arrows)} arrows between rooms")
    exceeded = [
        most is not None and count > most
        for count, most in ((sum(arrows.values()), given.max_imports), (len(arrows), given.max_arrows))
    ]
    return int(any(exceeded))


if __name__ == "__main__":
    sys.exit(main())
