"""docs/manifest.md against the readers: the same keys, defaults that change nothing, examples that are accepted."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from batchexport.core.errors import ManifestError, Problem
from batchexport.core.job import Manifest
from batchexport.manifest import resolve
from batchexport.manifest.key_docs import KeyDoc, page, read_page

PAGE = Path(__file__).parents[3] / "docs" / "manifest.md"

# A manifest for each table of the page; the line that is tested goes in place of KEY.
ENTRY = '[[entry]]\nname = "a"\nmodel = "m:M"\n'
TEMPLATES = {
    "Top level": f"KEY\n{ENTRY}",
    "[output]": f"[output]\nKEY\n{ENTRY}",
    "[cache]": f"[cache]\nKEY\n{ENTRY}",
    "[pools]": f"[pools]\nKEY\n{ENTRY}",
    "[pools.cpu]": f"[pools.cpu]\nKEY\n{ENTRY}",
    "[pools.cuda]": f"[pools.cuda]\nKEY\n{ENTRY}",
    "[[entry]]": f"{ENTRY}KEY\n",
    "[entry.inputs]": f'{ENTRY}inputs.x = {{ shape = ["batch"], KEY }}\n',
    "[entry.dims]": f'{ENTRY}inputs.x = {{ shape = ["batch"] }}\n[entry.dims]\nbatch = {{ max = 64, KEY }}\n',
    "[entry.export]": f"{ENTRY}[entry.export]\nKEY\n",
    "[entry.compile]": f"{ENTRY}[entry.compile]\nKEY\n",
    "[entry.verify]": f"{ENTRY}[entry.verify]\nKEY\n",
}
# Tables whose keys are the user's.
FREE = ("[entry.shapes]", "[entry.matrix]", "[entry.checkpoints]")
NONSENSE = "qqqqq"


def write(folder: Path, table: str, line: str) -> Path:
    """A manifest with one line in a table, in place of a line about the same key."""
    name = line.partition(" ")[0]
    text = TEMPLATES[table]
    if name == "entry":
        text = text.replace(ENTRY, "")
    for given in ('name = "a"\n', 'model = "m:M"\n', 'shape = ["batch"], ', "max = 64, "):
        if given.partition(" ")[0] == name and table in ("[[entry]]", "[entry.inputs]", "[entry.dims]"):
            text = text.replace(given, "")
    text = text.replace("KEY", line) if line else text.replace(", KEY", "").replace("KEY", "")
    if line.startswith("dims = { batch"):
        text += 'inputs.x = { shape = ["batch"] }\n'
    if line.startswith("additional_inputs = [{ x"):
        text += "inputs.x = { shape = [4, 16] }\n"
    if line.startswith("shapes = { x"):
        text += 'inputs = "m:inputs"\n'
    if name == "head":
        text = text.replace('model = "m:M"', 'model = "transformers:bert"')
    if line.startswith("loss = "):
        text = text.replace(line, f'ir = "joint"\n{line}')
    path = folder / "manifest.toml"
    path.write_text(text if name == "schema" else f"schema = 1\n{text}", encoding="utf-8")
    return path


def load(folder: Path, table: str, line: str) -> Manifest:
    return resolve.load(write(folder, table, line))


def problems(folder: Path, table: str, line: str) -> tuple[Problem, ...]:
    try:
        load(folder, table, line)
    except ManifestError as error:
        return error.problems
    return ()


def is_known(folder: Path, table: str, key: str) -> bool:
    """Whether the reader of a table knows a key, whatever it makes of the value."""
    found = problems(folder, table, f"{key} = 1")
    return not any(one.message == "unknown key" and re.search(rf"\b{key}$", one.place) for one in found)


def known_keys(folder: Path, table: str) -> set[str]:
    """The keys that the reader offers in place of a nonsensical one."""
    found = problems(folder, table, f"{NONSENSE} = 1")
    (unknown,) = [one for one in found if one.message == "unknown key"]
    words = set(re.findall(r"\w+", unknown.hint or ""))
    return {word for word in words if is_known(folder, table, word)}


KEYS = read_page(PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("table", TEMPLATES)
def test_the_page_names_exactly_the_keys_that_the_readers_know(tmp_path: Path, table: str) -> None:
    documented = [key.name for key in KEYS if key.table == table]
    known = known_keys(tmp_path, table)
    assert known, "no key was found"
    assert Counter(documented) == Counter(known)


def test_every_key_states_its_default() -> None:
    for key in KEYS:
        stated = key.default is not None or key.kind.endswith(("required", "no default")) or "default: " in key.kind
        assert stated, f"{key.table}: {key.name} needs a default, `required` or `no default`"


def test_the_package_finds_its_page() -> None:
    assert page() == PAGE.read_text(encoding="utf-8")


def test_every_section_of_the_page_is_checked() -> None:
    titles = re.findall(r"^## `?(.+?)`?$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert titles == [*TEMPLATES, *FREE]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: f"{key.table}{key.name}")
def test_the_example_is_accepted(tmp_path: Path, key: KeyDoc) -> None:
    assert key.example.startswith(f"{key.name} = ")
    load(tmp_path, key.table, key.example)


@pytest.mark.parametrize(
    "key", [key for key in KEYS if key.default is not None], ids=lambda key: f"{key.table}{key.name}"
)
def test_the_default_changes_nothing(tmp_path: Path, key: KeyDoc) -> None:
    assert load(tmp_path, key.table, f"{key.name} = {key.default}") == load(tmp_path, key.table, "")
