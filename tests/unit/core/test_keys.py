"""Keys: equal questions get equal keys, different ones different keys, and nonsense gets none."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from batchexport.core import keys


def test_the_order_of_a_table_does_not_count() -> None:
    assert keys.canonical({"a": 1, "b": 2}) == keys.canonical({"b": 2, "a": 1})


def test_the_order_of_a_list_counts() -> None:
    assert keys.canonical([1, 2]) != keys.canonical([2, 1])


def test_the_encoding_is_compact_ascii_and_plain_json() -> None:
    encoded = keys.canonical({"ключ": ["é", None, True, 1.5]})
    assert encoded.isascii()
    assert b" " not in encoded
    assert json.loads(encoded) == {"ключ": ["é", None, True, 1.5]}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), [float("nan")]])
def test_a_number_without_a_json_form_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="JSON"):
        keys.canonical(value)


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object()])
def test_a_value_that_is_not_json_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        keys.canonical(value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("t", 1, "ab", "c"), ("t", 1, "a", "bc")),
        (("t", 1, ["a"], "b"), ("t", 1, ["a", "b"])),
        (("t", 1, "1"), ("t", 1, 1)),
        (("t", 1, 1), ("t", 1, True)),
        (("t", 1, 1), ("t", 1, 1.0)),
        (("t", 1, None), ("t", 1, "None")),
        (("t", 1, None), ("t", 1)),
        (("t", 1, ""), ("t", 1, None)),
        (("t", 1), ("t", 2)),
        (("t", 1), ("u", 1)),
        (("t", 1, {"a": {"b": 1}}), ("t", 1, {"a": {}, "b": 1})),
    ],
)
def test_different_structures_get_different_keys(one: tuple[object, ...], other: tuple[object, ...]) -> None:
    assert keys.digest(*one) != keys.digest(*other)  # type: ignore[arg-type]


def test_a_key_is_sixty_four_hex_digits() -> None:
    key = keys.digest("export", 1, "x")
    assert len(key) == 64
    assert int(key, 16) >= 0


def test_a_key_does_not_depend_on_the_process() -> None:
    code = "from batchexport.core import keys; print(keys.digest('t', 1, {'b': ['x'], 'a': None}))"
    answers = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert answers == {keys.digest("t", 1, {"a": None, "b": ["x"]})}


def test_embedded_weights_are_part_of_the_compile_key_and_external_ones_are_not() -> None:
    def key(embedded_state: str | None) -> str:
        return keys.compile_key(
            program="p", layout="l", folded="f", spec={}, toolchain="t", embedded_state=embedded_state
        )

    assert len({key(None), key("weights 1"), key("weights 2")}) == 3


def test_every_kind_of_key_has_its_own_space() -> None:
    made = [
        keys.toolchain_key({}),
        keys.request_key({}, "x"),
        keys.export_key("x", "x", "x"),
        keys.package_key("x", "x"),
        keys.verify_key(artifacts=[], reference="x", spec={}, toolchain="x"),
        keys.compile_key(program="x", layout="x", folded="x", spec={}, toolchain="x", embedded_state="x"),
    ]
    assert len(set(made)) == len(made)
