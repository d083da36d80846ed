"""A program's digest is the same wherever the program is, and another for any difference that compiling could see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from batchexport.pipeline.hints import restore_hints
from batchexport.pipeline.identity import concrete_program_digest, program_digest, state_ids
from support.exporting import Export, Exported
from support.projects import GUARD

pytestmark = pytest.mark.torch

BASE = 'model = ":Affine"\ninputs.x = { shape = ["n", 4] }\ndims.n = { min = 1, max = 8, example = 3 }\n'
BRANCHES = 'model = ":Branches"\ninputs.x = { shape = ["n", 4] }\ndims.n = { min = 1, max = 8, example = 3 }\n'
TIED = 'model = ":Tied"\ninputs.ids = { shape = [3], dtype = "int64", range = [0, 5] }\n'
DERIVED = """
model = ":Derived"
inputs.short = { shape = ["seq"] }
inputs.long = { shape = ["2*seq + 1"] }
dims.seq = { min = 16, max = 64, multiple_of = 8 }
"""
NESTED = """
model = ":Nested"
inputs.pair = [{ shape = ["batch", 3] }, { shape = [3] }]
inputs.table.inner.scale = { shape = ["batch", 1] }
inputs.table.list = [[{ shape = ["other"], dtype = "int64" }]]
"""
SCALARS = """
model = ":Scalars"
inputs.x = { shape = [3] }
inputs.factor = 1.5
inputs.power = 2
inputs.mode = "scale"
inputs.flip = true
"""
MANY = {
    "base": BASE,
    "branches": BRANCHES,
    "tied": TIED,
    "derived": DERIVED,
    "nested": NESTED,
    "scalars": SCALARS,
    "buffers": 'model = ":Buffers"\ninputs = { x = { shape = ["n", 3] } }',
    "counts": 'model = ":Counts"\ninputs = { x = { shape = [2] } }',
    "strict": BASE + "export.strict = true",
    "core": BRANCHES + 'export.ir = "core-aten"',
    "crates": 'model = ":Crates"\ninputs = "support.models:crate_inputs"',
}
ELSEWHERE = """
import json, sys
from pathlib import Path
from support.exporting import export

entries, root = json.loads(sys.argv[1]), Path(sys.argv[2])
made = {name: export(root, root / name, entry) for name, entry in entries.items()}
digests = {name: [one.output[key] for key in ("program", "skeleton", "state")] for name, one in made.items()}
print(json.dumps(digests))
"""


def program(exported: Exported) -> str:
    digest: str = exported.output["program"]
    return digest


def test_digests_are_the_same_in_another_process_and_folder_under_another_hash_seed(
    exported: Export, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, json.dumps(MANY), str(elsewhere)],
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=GUARD,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for name, entry in MANY.items():
        output = exported(entry).output
        assert [output["program"], output["skeleton"], output["state"]] == found[name], name
    assert len({digests[0] for digests in found.values()}) == len(MANY)


@pytest.mark.parametrize("name", MANY)
def test_an_archive_loaded_back_is_the_program_that_was_exported(exported: Export, name: str) -> None:
    made = exported(MANY[name])
    loaded = made.program()
    restore_hints(loaded)
    assert concrete_program_digest(loaded) == made.output["skeleton"]
    assert state_ids(loaded) == made.output["state"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (BASE, BASE.replace(":Affine", ":RenamedAffine")),
        (BASE, BASE + "seed = 5"),
        (BRANCHES, BRANCHES + "seed = 5"),
        (TIED, TIED + "seed = 5"),
        (
            'model = ":Constant"\ninputs.x = { shape = [4] }',
            'model = ":Constant"\ninputs.x = { shape = [4] }\nargs = [2.0]',
        ),
    ],
    ids=[
        "a comment and a variable's name",
        "weights",
        "weights used in a sub-graph",
        "tied weights",
        "a lifted constant",
    ],
)
def test_what_the_code_does_not_depend_on_leaves_the_program_as_it_is(exported: Export, one: str, other: str) -> None:
    made, again = exported(one), exported(other)
    assert program(made) == program(again)
    assert made.output["skeleton"] == again.output["skeleton"]


DIFFERENT = {
    "the upper end of a range": (BASE, BASE.replace("max = 8", "max = 9")),
    "the lower end of a range": (BASE, BASE.replace("min = 1", "min = 3")),
    "the example": (BASE, BASE.replace("example = 3", "example = 4")),
    "static for dynamic": (BASE, BASE.replace('"n", 4', "3, 4").partition("dims")[0]),
    "an attribute": (
        'model = ":Attribute"\ninputs.x = { shape = [4] }',
        'model = ":Attribute"\ninputs.x = { shape = [4] }\nargs = [2.0]',
    ),
    "an attribute in a sub-graph": (BRANCHES, BRANCHES + "args = [2.0]"),
    "the width of a layer": (BASE, BASE + "kwargs = { width = 3 }"),
    "ties": (TIED, TIED + "kwargs = { tied = false }"),
    "dtype": (BASE, BASE + 'dtype = "float64"'),
    "IR": (BRANCHES, BRANCHES + 'export.ir = "core-aten"'),
    "a scalar input": (SCALARS, SCALARS.replace("power = 2", "power = 3")),
    "a text input": (SCALARS, SCALARS.replace('"scale"', '"none of it"')),
    "an input left out": (SCALARS, SCALARS + 'inputs.bias = "none"'),
    "a preserved signature": (
        'model = ":Encoder"\ninputs.x = { shape = [3, 4] }',
        'model = ":Encoder"\ninputs.x = { shape = [3, 4] }\nexport.preserve_module_call_signature = ["encoder"]',
    ),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_the_code_depends_on_makes_another_program(exported: Export, what: str) -> None:
    one, other = (exported(entry) for entry in DIFFERENT[what])
    assert program(one) != program(other)


def test_views_of_one_storage_are_told_from_tensors_of_their_own(exported: Export) -> None:
    entry = 'model = ":Views"\ninputs.x = { shape = [4] }\n'
    shared, own = (exported(entry + f"args = [{word}]").output["state"] for word in ("true", "false"))
    assert [row[-1] for row in shared] == [row[-1] for row in own]
    assert len({row[5] for row in shared}) == 1
    assert len({row[5] for row in own}) == 2


def test_state_ids_see_one_flipped_bit_in_any_tensor_and_nothing_else_of_it(exported: Export) -> None:
    made = exported('model = ":ManyTypes"\ninputs = { x = { shape = [2] } }').program()
    before = {row[0]: row for row in state_ids(made)}
    for name, tensor in made.state_dict.items():
        if not tensor.numel():
            continue
        raw = tensor.untyped_storage()
        raw[0] = raw[0] ^ 1
        after = {row[0]: row for row in state_ids(made)}
        assert {other for other in before if before[other] != after[other]} == {name}
        assert after[name][:-1] == before[name][:-1]
        raw[0] = raw[0] ^ 1
    assert {row[0]: row for row in state_ids(made)} == before


def test_a_negative_zero_is_not_a_zero(exported: Export) -> None:
    made = exported(BASE).program()
    with torch.no_grad():
        made.state_dict["linear.bias"].zero_()
        before = state_ids(made)
        made.state_dict["linear.bias"].neg_()
    assert state_ids(made) != before


def test_a_digest_can_be_taken_again_of_the_same_program(exported: Export) -> None:
    made = exported(BRANCHES).program()
    assert program_digest(made) == program_digest(made)
