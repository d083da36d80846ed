"""What a failure of shapes says to write is pasted into the manifest, and the next export passes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batchexport.core.edits import Edit
from batchexport.core.errors import Kind
from batchexport.manifest.fixes import fixed
from batchexport.manifest.resolve import load
from batchexport.pipeline.failure import StageFailure
from support.exporting import Export, text_of
from support.pasting import pasted

pytestmark = pytest.mark.torch

X = 'x = { shape = ["n", 3] }'
XY = 'x = { shape = ["n"] }\ny = { shape = ["m"] }'
HALF = "(x.shape[1] // 2)"
NESTED = 'tree = { a = { shape = ["n"] } }\npair = { tuple = [{ shape = [4] }, { shape = ["m"] }] }'
N, M = "n = { min = 2, max = 16, example = 5 }\n", "m = { min = 2, max = 16, example = 7 }\n"


def manifest(model: str, inputs: str, dims: str, more: str = "") -> str:
    name, _, kwargs = model.partition(" ")
    given = f"kwargs = {kwargs}\n" if kwargs else ""
    return f'model = "support.shaped:{name}"\n{given}{more}[entry.inputs]\n{inputs}\n[entry.dims]\n{dims}'


def refused(exported: Export, text: str) -> StageFailure:
    with pytest.raises(StageFailure) as failure:
        exported(text)
    assert failure.value.kind is Kind.SHAPES
    assert not re.search(r"L\[|size\(\)|\b_[a-z]\b", failure.value.message), failure.value.message
    return failure.value


def passes_when_pasted(exported: Export, folder: Path, text: str, remedy: str | None) -> None:
    failure = refused(exported, text)
    assert failure.remedy == remedy, failure.message
    passed = exported(pasted(text, remedy or ""))
    passed.verify()
    whole = text_of(text)
    fix = tuple(Edit.from_json(edit) for edit in failure.fix)
    written = fixed(whole, {"model": {"model@cpu": fix}})
    assert written.refused == ()
    (folder / "manifest.toml").write_text(written.text)
    (job,) = load(folder / "manifest.toml").jobs
    assert job == passed.job, "--apply-fixes writes what a user pastes"


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        pytest.param(
            manifest("InGroups", X, "n = { max = 64, example = 8 }\n"),
            "write `n = { min = 8, max = 64, multiple_of = 4 }` in [entry.dims]",
            id="steps that the model demands, and a bound of the program with them",
        ),
        pytest.param(
            manifest("Halves", 'x = { shape = [3, "n"] }', "n = { min = 2, max = 17, example = 6 }\n"),
            "write `n = { min = 4, max = 16, example = 6, multiple_of = 2 }` in [entry.dims]",
            id="steps that the model demands, and another bound of the program with them",
        ),
        pytest.param(
            manifest("Branches { when = 'n + m < 15' }", XY, N + M),
            "write `n = { min = 2, max = 6, example = 5 }` and `m = { min = 2, max = 8, example = 7 }` in [entry.dims]",
            id="two dims that bound each other, of which torch tells single bounds",
        ),
        pytest.param(
            manifest(
                "Branches { when = 'n//4 == m' }",
                XY,
                "n = { min = 4, max = 64, example = 20 }\nm = { min = 2, max = 16, example = 5 }\n",
            ),
            'write "4*m" in place of "n" in x, and leave `n` out of [entry.dims]',
            id="four times the size",
        ),
        pytest.param(
            manifest("InGroups", X, "n = { min = 4, max = 64, example = 8 }\n"),
            "write `n = { min = 8, max = 64, multiple_of = 4 }` in [entry.dims]",
            id="steps, where torch guards against a single group",
        ),
        pytest.param(
            manifest("InGroups", X, "n = { min = 4, example = 8 }\n"),
            "write `n = { min = 8, multiple_of = 4 }` in [entry.dims]",
            id="steps without an end",
        ),
        pytest.param(
            manifest("InGroups", X, "n = { min = 4, max = 1000000, example = 12, multiple_of = 2 }\n"),
            "write `n = { min = 8, max = 1000000, example = 12, multiple_of = 4 }` in [entry.dims]",
            id="steps within steps, up to an end far away",
        ),
        pytest.param(
            manifest("InGroups", X, "n = { min = 4, max = 64, example = 8, multiple_of = 4 }\n"),
            "write `n = { min = 8, max = 64, multiple_of = 4 }` in [entry.dims]",
            id="a bound, where only the program refuses",
        ),
        pytest.param(
            manifest("Halves", 'x = { shape = [3, "n"] }', "n = { min = 2, example = 6 }\n"),
            "write `n = { min = 4, example = 6, multiple_of = 2 }` in [entry.dims]",
            id="steps without an end, which no guard tells",
        ),
        pytest.param(
            manifest("InGroups", X, "n = { min = 4, max = 64, example = 8 }\n", "export = { strict = true }\n"),
            "write `n = { min = 8, max = 64, multiple_of = 4 }` in [entry.dims]",
            id="steps, where the capture is strict",
        ),
        pytest.param(
            manifest(
                "Branches { when = 'n % 8 == 0' }",
                XY,
                "n = { min = 4, max = 64, example = 16, multiple_of = 4 }\nm = 3\n",
            ),
            "write `n = { min = 8, max = 64, multiple_of = 8 }` in [entry.dims]",
            id="larger steps",
        ),
        pytest.param(
            manifest(
                "Branches { when = 'n == m' }",
                XY,
                "n = { min = 2, max = 64, example = 16 }\nm = { min = 4, max = 64, example = 16, multiple_of = 4 }\n",
            ),
            'write "m" in place of "n" in x, and leave `n` out of [entry.dims]',
            id="equal sizes, one of them in steps",
        ),
        pytest.param(
            manifest(
                "Branches { when = 'n == 4*m' }",
                XY,
                "n = { min = 4, max = 64, example = 16, multiple_of = 4 }\nm = { min = 1, max = 16, example = 4 }\n",
            ),
            'write "4*m" in place of "n" in x, and leave `n` out of [entry.dims]',
            id="a derived size in steps, where torch suggests nothing",
        ),
        pytest.param(
            manifest("Branches { when = 'n + m == 12' }", XY, N + M),
            "write `n = 5` and `m = 7` in [entry.dims]",
            id="a relation that no manifest can say",
        ),
        pytest.param(
            manifest("Branches { when = 'n == m' }", XY, "n = { min = 2, max = 16, example = 3 }\n"),
            "write `n = { min = 3, max = 16 }` in [entry.dims]",
            id="a size beside that of a dim without a range",
        ),
        pytest.param(
            manifest(
                "Branches { when = 'n == m' }",
                'x = { shape = ["2*n"] }\ny = { shape = ["2*m"] }',
                N + N.replace("n", "m", 1),
            ),
            'write "2*n" in place of "2*m" in y, and leave `m` out of [entry.dims]',
            id="equal derived sizes",
        ),
        pytest.param(
            manifest(
                "Branches { when = 'n % 3 == 1' }", 'x = { shape = ["2*n"] }\ny = { shape = ["m"] }', f"{N}m = 3\n"
            ),
            'write "6*n+4" in place of "2*n" in x, and write `n = { min = 0, max = 4, example = 2 }` in [entry.dims]',
            id="steps of a derived size",
        ),
        pytest.param(
            manifest(
                "Branches { when = 'n % 3 == 1' }",
                'x = { shape = ["twice"] }\ny = { shape = ["m"] }',
                f'{N}m = 3\ntwice = "2*n"\n',
            ),
            'write `n = { min = 0, max = 4, example = 2 }` and `twice = "6*n+4"` in [entry.dims]',
            id="steps of a derived dim",
        ),
        pytest.param(
            manifest(
                "SameSizes",
                'x = { shape = ["n"] }\ny = { shape = ["more"] }',
                'n = { min = 3, max = 16, example = 5 }\nm = { min = 2, max = 8, example = 4 }\nmore = "m + 1"\n',
            ),
            'write "m+1" in place of "n" in x, and leave `n` out of [entry.dims]',
            id="a dim that is always another, derived one",
        ),
        pytest.param(
            manifest("FirstRows", X, "n = { min = 2, max = 32, example = 8 }\n"),
            "write `n = { min = 2, max = 16, example = 8 }` in [entry.dims]",
            id="a bound, where the model refuses",
        ),
        pytest.param(
            manifest("NotAlone", X, "n = { min = 1, example = 9 }\n"),
            "write `n = { min = 3, example = 9 }` in [entry.dims]",
            id="a bound without an end",
        ),
        pytest.param(
            manifest("Branches { when = 'n > 4' }", XY, "n = { min = 1, max = 8, example = 3 }\nm = 3\n"),
            "write `n = { min = 1, max = 4, example = 3 }` in [entry.dims]",
            id="a bound of a branch",
        ),
        pytest.param(
            manifest("Branches { when = 'n > 4' }", XY, "n = { min = 1, max = 8, example = 6 }\nm = 3\n"),
            "write `n = { min = 5, max = 8, example = 6 }` in [entry.dims]",
            id="a bound of the other branch",
        ),
        pytest.param(
            manifest(
                "Branches { when = 'n > 4' }", XY, "n = { min = 2, max = 16, example = 4, multiple_of = 2 }\nm = 3\n"
            ),
            "write `n = { min = 2, max = 4, multiple_of = 2 }` in [entry.dims], "
            "or set `prefer_deferred_runtime_asserts = true` in [entry.export]",
            id="a bound of a dim with steps",
        ),
        pytest.param(
            manifest("Branches { when = 'n == 7' }", XY, f"{N}m = 3\n"),
            "write `n = { min = 2, max = 6, example = 5 }` in [entry.dims]",
            id="a size that is left out, where torch suggests nothing",
        ),
        pytest.param(
            manifest("Branches { when = 'n == 5' }", XY, f"{N}m = 3\n"),
            "write `n = 5` in [entry.dims]",
            id="a fixed size",
        ),
        pytest.param(
            manifest(
                "Branches { when = 'n == 11' }", 'x = { shape = ["2*n + 1"] }\ny = { shape = ["m"] }', f"{N}m = 3\n"
            ),
            "write `n = 5` in [entry.dims]",
            id="a fixed derived size, where torch suggests nothing",
        ),
        pytest.param(
            manifest("Branches { when = 'n % 3 == 1' }", XY, "n = { min = 2, max = 16, example = 7 }\nm = 3\n"),
            'write "3*n+1" in place of "n" in x, and write `n = { min = 1, max = 5 }` in [entry.dims]',
            id="steps that do not start at 0",
        ),
        pytest.param(
            manifest("Branches { when = 'n * m > 50' }", XY, N + M),
            "write `n = { min = 2, max = 6, example = 5 }` and `m = { min = 2, max = 8, example = 7 }` in [entry.dims]",
            id="two dims that bound each other",
        ),
        pytest.param(
            manifest("Branches { when = 'n == m' }", XY, N + N.replace("n", "m", 1)),
            'write "n" in place of "m" in y, and leave `m` out of [entry.dims]',
            id="equal sizes of a branch",
        ),
        pytest.param(
            manifest(
                "Branches { when = 'm == 2*n' }",
                XY,
                "n = { min = 2, max = 16, example = 4 }\nm = { min = 2, max = 16, example = 8 }\n",
            ),
            'write "2*n" in place of "m" in y, and write `n = { min = 2, max = 8, example = 4 }` in [entry.dims], '
            "and leave `m` out of [entry.dims]",
            id="a derived size of a branch",
        ),
        pytest.param(
            manifest("SameSizes", XY, N + N.replace("n", "m", 1)),
            'write "n" in place of "m" in y, and leave `m` out of [entry.dims]',
            id="equal sizes",
        ),
        pytest.param(
            manifest("SameSizes", XY, N + "m = { min = 3, max = 20, example = 5 }\n"),
            'write "n" in place of "m" in y, and write `n = { min = 3, max = 16, example = 5 }` in [entry.dims], '
            "and leave `m` out of [entry.dims]",
            id="equal sizes with other ranges",
        ),
        pytest.param(
            manifest("SameSizes", XY, N.replace("min = 2", "min = 1") + N.replace("n", "m", 1)),
            'write "n" in place of "m" in y, and write `n = { min = 2, max = 16, example = 5 }` in [entry.dims], '
            "and leave `m` out of [entry.dims]",
            id="equal sizes, though one of 1 would be broadcast",
        ),
        pytest.param(
            manifest("SameSizes", 'x = { shape = ["n"] }\ny = { shape = ["2*m+1"] }', N + "m = 2\n"),
            "write `n = 5` in [entry.dims]",
            id="a dim beside a fixed size",
        ),
        pytest.param(
            manifest("ThreeAlike", f'{XY}\nz = {{ shape = ["k"] }}', "".join(N.replace("n", one, 1) for one in "nmk")),
            'write "n" in place of "m" in y, and write "n" in place of "k" in z, '
            "and leave `m` and `k` out of [entry.dims]",
            id="three equal sizes",
        ),
        pytest.param(
            manifest(
                "Repeats { times = 2 }",
                XY,
                "n = { min = 2, max = 8, example = 4 }\nm = { min = 4, max = 16, example = 8 }\n",
            ),
            'write "2*n" in place of "m" in y, and leave `m` out of [entry.dims]',
            id="twice the size",
        ),
        pytest.param(
            manifest(
                "Repeats { more = 1 }",
                XY,
                "n = { min = 2, max = 8, example = 4 }\nm = { min = 3, max = 16, example = 5 }\n",
            ),
            'write "n+1" in place of "m" in y, and leave `m` out of [entry.dims]',
            id="a size and one more",
        ),
        pytest.param(
            manifest(
                "Repeats { times = 3, more = 2 }",
                XY,
                "n = { min = 2, max = 8, example = 4 }\nm = { min = 4, max = 20, example = 14 }\n",
            ),
            'write "3*n+2" in place of "m" in y, and write `n = { min = 2, max = 6, example = 4 }` in [entry.dims], '
            "and leave `m` out of [entry.dims]",
            id="three times the size and two more",
        ),
        pytest.param(
            manifest("Fits { when = 'n % 4 == 0' }", XY, "n = { min = 1, max = 63, example = 8 }\nm = 3\n"),
            "write `n = { min = 4, max = 60, multiple_of = 4 }` in [entry.dims]",
            id="steps that the model itself demands",
        ),
        pytest.param(
            manifest("Fits { when = 'n % 4 == 1' }", XY, "n = { min = 1, max = 63, example = 9 }\nm = 3\n"),
            'write "4*n+1" in place of "n" in x, and write `n = { min = 0, max = 15 }` in [entry.dims]',
            id="steps that the model itself demands, from 1",
        ),
        pytest.param(
            manifest("Branches { when = 'n & (n - 1) == 0' }", XY, "n = { min = 2, max = 40, example = 8 }\nm = 3\n"),
            "write `n = 8` in [entry.dims]",
            id="sizes that nothing solves",
        ),
        pytest.param(
            manifest("Branches { when = 'n // 3 == 2' }", XY, "n = { min = 1, max = 40, example = 20 }\nm = 3\n"),
            "write `n = { min = 9, max = 40, example = 20 }` in [entry.dims]",
            id="a special value of a part",
        ),
        pytest.param(
            manifest(
                "TakesFirst",
                'x = { shape = ["r", 2] }\nn = { dim = "n" }',
                "r = { min = 6, max = 20, example = 8 }\nn = { min = 1, max = 12, example = 3 }\n",
            ),
            "write `n = { min = 2, max = 4, example = 3 }` in [entry.dims]",
            id="a number that varies",
        ),
        pytest.param(
            manifest("ThreeAlike", f'{XY}\nz = {{ shape = ["2*k - 1"] }}', N + "m = 5\nk = { max = 9, example = 3 }\n"),
            "write `n = 5` and `k = 3` in [entry.dims]",
            id="dims beside a fixed size, one of them derived",
        ),
        pytest.param(
            manifest("Fits { when = 'n == 5' }", XY, f"{N}m = 3\n"),
            "write `n = 5` in [entry.dims]",
            id="the only size that the model takes",
        ),
        pytest.param(
            manifest(
                "Nested",
                NESTED,
                N + N.replace("n", "m", 1),
            ),
            'write "n" in place of "m" in pair[1], and leave `m` out of [entry.dims]',
            id="equal sizes within containers",
        ),
    ],
)
def test_a_remedy_makes_the_next_export_pass(exported: Export, tmp_path: Path, text: str, remedy: str) -> None:
    passes_when_pasted(exported, tmp_path, text, remedy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            manifest("Branches { when = 'n == 5' }", XY, f"{N}m = 3\n"),
            "the model fixes n at 5, and the manifest lets it vary",
        ),
        (
            manifest("Halves", 'x = { shape = [3, "n"] }', "n = { min = 2, example = 6 }\n"),
            f"Not all values of n = x.shape[1] in the specified range satisfy the generated guard {HALF} != 1.",
        ),
        (
            manifest("Nested", NESTED, N + N.replace("n", "m", 1)),
            "The values of m = pair[1].shape[0] and n = tree['a'].shape[0] must always be equal.",
        ),
    ],
)
def test_messages_have_the_names_of_the_manifest(exported: Export, text: str, message: str) -> None:
    assert refused(exported, text).message == message
