"""A key of very many parts never reaches tomllib; whatever only looks a little like one does."""

from __future__ import annotations

import pytest

from batchexport.core.errors import ManifestError
from batchexport.manifest.document import deep_line, parse

DEEP = ".".join(["a"] * 100_000)
QUOTED = " . ".join(['"a"', "'b'"] * 50_000)


@pytest.mark.parametrize(
    "line", [f"{DEEP} = 1", f"[{DEEP}]", f"[[ {DEEP} ]]", f"x = {{ {DEEP} = 1 }}", f"{QUOTED} = 1"]
)
def test_a_key_of_a_hundred_thousand_parts_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(ManifestError, match=r"m\.toml:2: tables are nested too deeply"):
        parse(f"schema = 1\n{line}\n", "m.toml")


@pytest.mark.parametrize(
    "line",
    [
        "x = [" + "0.1, " * 5000 + "]",
        'x = "' + "a sentence. " * 500 + '"',
        "# " + "." * 5000,
        "x" * 100_000,
        '"' * 10_001 + "." * 100,
        ".".join(["a"] * 60),
    ],
)
def test_a_line_with_many_dots_is_not_yet_a_deep_key(line: str) -> None:
    assert deep_line(f"schema = 1\n{line}") is None
