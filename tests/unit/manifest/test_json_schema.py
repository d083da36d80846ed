"""The JSON Schema of the manifest, by a validator and by taplo: it takes what the readers take, and little else."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from batchexport.cli.main import cli
from batchexport.manifest.json_schema import json_schema

ROOT = Path(__file__).parents[3]
VALID = sorted((ROOT / "manifests").glob("*.toml"))
SCHEMA = json_schema()
# Mistakes that no schema can tell: they lie between several keys, in expressions, or in what torch has.
NOT_STRUCTURAL = {
    "16-duplicate-names",
    "21-dims-that-no-input-uses",
    "23-expressions-that-are-code",
    "26-derived-sizes-too-small",
    "32-matrix-values",
    "33-matrix-too-large",
    "34-jobs-of-one-name",
    "35-weights-and-checkpoints",
    "39-default-dims-that-no-entry-uses",
    "42-nested-too-deep",
    "56-dims-of-inputs-left-out",
    "65-unknown-methods",
}


def parsed() -> dict[str, dict[str, Any]]:
    """The invalid manifests that are TOML at all."""
    found = {}
    for path in sorted((ROOT / "tests" / "data" / "invalid").glob("*.toml")):
        try:
            found[path.stem] = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError):
            continue
    return found


def mistakes(manifest: Any) -> list[str]:
    return [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(manifest)]


def entry(text: str) -> Any:
    return tomllib.loads(f'schema = 1\n[[entry]]\nname = "a"\nmodel = "m:M"\n{text}\n')


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_valid_manifests_pass(path: Path) -> None:
    assert mistakes(tomllib.loads(path.read_text(encoding="utf-8"))) == []


def test_structural_mistakes_are_found() -> None:
    found = parsed()
    assert len(found) > 30
    assert {name for name, manifest in found.items() if not mistakes(manifest)} == NOT_STRUCTURAL


@pytest.mark.parametrize(
    "text",
    [
        "kwargs = { a = { none = true } }",
        'inputs = [{ shape = [] }, { tuple = [{ shape = ["b"] }] }, "none", 3]',
        'inputs = "m:inputs"\nshapes = { "s.h" = ["b", 2], s.g = [3], n = "n" }',
        'inputs.x = { type = "m:T", fields = { h = { shape = [2] } } }',
        'inputs.n = { dim = "n" }\ncompile.format = "none"',
        'inputs.x = { shape = ["2*b"] }\ndims = { b = 3, c = "2*b", d = "auto", e = { auto = true, max = 3 } }',
        'matrix = { "kwargs.layers" = [1], kwargs.width = [2] }',
        "additional_inputs = [{ x = { shape = [3] } }]\ninputs.x = { shape = [2] }",
        'timeout = "2h"\nexpect = "fail:export"\ntargets = ["cuda-sm90"]',
    ],
)
def test_what_the_readers_take_passes(text: str) -> None:
    assert mistakes(entry(text)) == []


@pytest.mark.parametrize(
    "text", ["tag = []", "dtype = 'half'", "export.ir = 'aten'", "inputs.x = { shape = [2], typ = 1 }"]
)
def test_a_mistake_in_an_entry_is_found(text: str) -> None:
    assert mistakes(entry(text))


def test_every_key_has_a_description() -> None:
    def undescribed(form: Any, path: str) -> list[str]:
        found = []
        for name, one in form.get("properties", {}).items():
            found += [] if "description" in one else [f"{path}.{name}"]
            found += undescribed(one, f"{path}.{name}")
        for key in ("items", "then"):
            found += undescribed(form[key], path) if isinstance(form.get(key), dict) else []
        return found

    assert undescribed(SCHEMA, "") == []
    assert undescribed(SCHEMA["definitions"]["input"], "input") == []


def test_the_command_prints_it() -> None:
    assert json.loads(CliRunner().invoke(cli, ["schema"]).output) == SCHEMA


def test_editors_with_taplo_take_it(tmp_path: Path) -> None:
    (tmp_path / "manifest.schema.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    header = "#:schema ./manifest.schema.json\n"
    for path in VALID:
        (tmp_path / path.name).write_text(header + path.read_text(encoding="utf-8"), encoding="utf-8")
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(header + 'schema = 1\n[[entry]]\nname = "a"\nmodle = "m:M"\n', encoding="utf-8")
    taplo = str(Path(sys.executable).with_name("taplo"))
    good = subprocess.run(
        [taplo, "lint", *(path.name for path in VALID)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    bad = subprocess.run([taplo, "lint", wrong.name], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert good.returncode == 0, good.stderr
    assert bad.returncode != 0 and "modle" in bad.stderr
