"""Options of Inductor: each is one that torch knows and that no other key of the manifest decides."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from batchexport.core.errors import ManifestError
from batchexport.manifest import document, resolve

KNOWN = frozenset({"max_autotune", "cpp.threads", "cpp.simdlen", "compile_threads", "freezing"})


def mistakes(compile_: str, more: str = "", known: Collection[str] | None = KNOWN) -> list[str]:
    text = f'schema = 1\n[[entry]]\nname = "a"\nmodel = "m:M"\n{more}\n[entry.compile]\n{compile_}\n'
    try:
        resolve.resolve(document.parse(text, "m.toml"), resolve.Known(options=lambda: known))
    except ManifestError as error:
        return [str(problem).partition("compile.options.")[2] for problem in error.problems]
    return []


UNKNOWN = "Inductor has no such option in the installed torch"


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("max_autotun = true", 'max_autotun: ?; did you mean "max_autotune"?'),
        ("threads = 4", 'threads: ?; did you mean "cpp.threads"?'),
        ('"cpp.thread" = 4', '"cpp.thread": ?; did you mean "cpp.threads"?'),
        ("cpp.threads = 4", 'cpp: ?; put its whole name in quotes: "cpp.threads" = …'),
        ("qqqqq = 4", "qqqqq: ?"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_spelling(written: str, hint: str) -> None:
    assert mistakes(f"options = {{ {written} }}") == [hint.replace("?", UNKNOWN, 1)]


def test_known_options_are_taken_and_asked_for_only_where_there_are_any() -> None:
    assert mistakes('options = { max_autotune = true, "cpp.threads" = 4 }') == []

    def never() -> None:
        raise AssertionError("the options of torch were read")

    resolve.resolve(
        document.parse('schema = 1\n[[entry]]\nname = "a"\nmodel = "m:M"\n', "m.toml"), resolve.Known(options=never)
    )


def test_any_name_is_taken_where_the_options_of_torch_cannot_be_told() -> None:
    assert mistakes("options = { max_autotun = true }", known=None) == []


@pytest.mark.parametrize(
    "name", ["aot_inductor.output_path", "aot_inductor.package", "aot_inductor.package_constants_in_so", "fx_wrapper"]
)
def test_what_other_keys_decide_is_refused_whatever_torch_knows(name: str) -> None:
    (mistake,) = mistakes(f'options = {{ "{name}" = true }}', known=None)
    assert "this option is not free; " in mistake
    assert mistake.endswith("leave it out")


def test_constants_may_become_literals_only_where_weights_are_embedded() -> None:
    options = "options = { always_keep_tensor_constants = false }"
    assert mistakes(options, known=None) == [
        'always_keep_tensor_constants: this option is not free; leave it out, or write weights = "embedded"'
    ]
    assert mistakes(f'weights = "embedded"\n{options}', known=None) == []


def test_the_level_of_the_cpu_is_that_of_the_target() -> None:
    options = 'options = { "cpp.simdlen" = 256 }'
    assert mistakes(options) == []
    assert mistakes(options, 'targets = ["cpu", "cpu-avx512"]') == [
        '"cpp.simdlen": this option is not free; the target "cpu-avx512" decides it; leave it out'
    ]


def test_a_mistake_in_the_defaults_or_the_matrix_is_told_once_and_there() -> None:
    text = """
schema = 1
defaults.compile.options.max_autotun = true
[[entry]]
name = "a"
model = "m:M"
[[entry]]
name = "b"
model = "m:M"
"""
    with pytest.raises(ManifestError) as caught:
        resolve.resolve(document.parse(text, "m.toml"), resolve.Known(options=lambda: KNOWN))
    (problem,) = caught.value.problems
    assert problem.place == "m.toml:3: defaults.compile.options.max_autotun"
