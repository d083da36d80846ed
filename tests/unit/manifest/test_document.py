"""A manifest is read as TOML of one schema, and every key leads back to its line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchexport.core.errors import ManifestError
from batchexport.core.job import Pools
from batchexport.core.text import parse_bytes, parse_seconds
from batchexport.manifest import document, locations, resolve

INVALID = Path(__file__).parents[2] / "data" / "invalid"
SMALL = 'schema = 1\n[[entry]]\nname = "a"\nmodel = "m:f"\n'


def refusal(path: Path | str) -> str:
    with pytest.raises(ManifestError) as caught:
        document.load(path)
    return str(caught.value)


def test_a_file_that_is_not_there_brings_its_neighbour_to_mind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zoo.toml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    assert refusal("zou.toml") == 'zou.toml: there is no such file; did you mean "zoo.toml"?'
    assert refusal("no/zoo.toml") == 'no/zoo.toml: there is no such file; there is no folder "no" either'


def test_a_folder_is_no_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "manifests").mkdir()
    monkeypatch.chdir(tmp_path)
    assert refusal("manifests") == "manifests: this is a folder; name a manifest in it"


def test_a_path_that_no_file_can_have_is_refused() -> None:
    assert "null byte" in refusal("a\0b.toml")


def test_text_in_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes("schema = 1\n# Grüße\n".encode("latin-1"))
    assert refusal(path) == f"{path}:2: not UTF-8 text; save the file as UTF-8"


def test_a_file_of_another_kind_is_refused_for_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MAX_BYTES", 2**20)
    path = tmp_path / "weights.toml"
    path.write_bytes(b"#" * (2**20 + 1))
    assert refusal(path) == f"{path}: larger than 1 MiB, so it can't be a manifest"


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 100_000, "a = " + "{b=" * 100_000, "[" + "a." * 3000 + "a]\n[" + "a." * 3000 + "b]\n"],
    ids=["lists", "tables", "dotted"],
)
def test_bottomless_nesting_is_refused_and_not_a_crash(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep.toml"
    path.write_text(text)
    with pytest.raises(ManifestError):
        resolve.load(path)


def test_defaults_of_bottomless_nesting_are_refused_and_not_a_crash(tmp_path: Path) -> None:
    keys = ".".join("a" * 3000)
    path = tmp_path / "deep.toml"
    path.write_text(f"{SMALL}kwargs.{keys} = 1\n[defaults]\nkwargs.{keys} = 2\n")
    with pytest.raises(ManifestError, match="nested"):
        resolve.load(path)


def test_a_number_that_never_ends_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.toml"
    path.write_text("a = " + "9" * 10_000)
    assert refusal(path) == f"{path}: not valid TOML: a number has too many digits"


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "windows.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert [job.name for job in resolve.load(path).jobs] == ["a@cpu"]
    path.write_bytes(path.read_bytes() + b"sead = 3\r\n")
    with pytest.raises(ManifestError, match=':5: entry "a", sead: unknown key; did you mean "seed"'):
        resolve.load(path)


def test_settings_are_resolved_against_the_folder_of_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = SMALL + (
        '[output]\ndir = "out"\n[cache]\ndir = "/var/cache"\nsize_limit = "1.5GiB"\n'
        '[pools.cpu]\nworkers = 3\nmemory = "500MB"\n[pools.cuda]\ndevices = [0, 2]\n'
    )
    (tmp_path / "m.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    resolved = resolve.load("m.toml")
    assert resolved.path == Path("m.toml")
    assert resolved.root == tmp_path
    assert resolved.output_dir == tmp_path / "out"
    assert resolved.cache_dir == Path("/var/cache")
    assert resolved.size_limit == 3 * 2**29
    assert resolved.pools == Pools(cpu_workers=3, cpu_memory=500_000_000, cuda_devices=(0, 2))


def test_what_is_not_set_is_left_to_the_machine() -> None:
    resolved = resolve.resolve(document.parse(SMALL, "/m/m.toml"))
    assert resolved.output_dir == Path("/m/dist")
    assert resolved.cache_dir is None
    assert resolved.size_limit is None
    assert resolved.pools == Pools(cpu_workers=None, cpu_memory=None, cuda_devices=None)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30min", 1800), ("2h", 7200), ("1.5 h", 5400), ("1d", 86400)]
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(("text", "size"), [("1B", 1), ("500MB", 500 * 10**6), ("50GiB", 50 * 2**30), ("0.5 KiB", 512)])
def test_sizes_have_units(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "5", "GiB", "5 gigs", "-5GB", "1e3MB", "5GB5", "9" * 16 + "B", "٣GB"])
def test_other_text_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="no quantity"):
        parse_bytes(text)


def readable(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.glob("*.toml")):
        try:
            tomllib.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        yield path


def keys_of(tree: Any, path: locations.KeyPath = ()) -> Iterator[locations.KeyPath]:
    items: Any = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from keys_of(value, (*path, key))


@pytest.mark.parametrize("path", list(readable(INVALID)), ids=lambda path: path.stem)
def test_every_key_is_found_on_a_line_that_holds_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines, rows = locations.source_lines(text), text.split("\n")
    paths = set(keys_of(tomllib.loads(text)))
    assert paths == set(lines)
    for keys in paths:
        if isinstance(keys[-1], str):
            row = rows[lines[keys] - 1]
            assert keys[-1] in row or "\\u" in row


def test_keys_are_found_across_all_forms_of_text() -> None:
    text = (
        "a = '''\nb = 1 # '''\n"  # 1 2
        '"b" = """\n[c]\n\\""" c = 1 """""\n'  # 3 4 5
        "[ c . 'd.e' ] # ]\n"  # 6
        "f = [ # [\n  1,\n  { g = 2, h = [3\n] },\n]\n"  # 7 8 9 10 11
        "[[i]]\n[[i.j]]\nk = 1979-05-27 07:32:00\n[[i.j]]\nk.l = 2\n[[i]]\nj = []\n"  # 12 …
    )
    tomllib.loads(text)
    lines = locations.source_lines(text)
    assert lines[("a",)] == 1
    assert lines[("b",)] == 3
    assert lines[("c", "d.e")] == 6
    assert lines[("c", "d.e", "f", 0)] == 8
    assert lines[("c", "d.e", "f", 1, "h", 0)] == 9
    assert lines[("i", 0, "j", 0, "k")] == 14
    assert lines[("i", 0, "j", 1, "k", "l")] == 16
    assert lines[("i", 1, "j")] == 18


def test_a_key_that_is_not_there_stands_where_its_table_begins() -> None:
    lines = locations.source_lines(SMALL)
    assert locations.line_of(lines, ("entry", 0, "kwargs", "x")) == 2
    assert locations.line_of(lines, ("cache",)) == 1


def test_text_that_is_no_toml_still_has_places() -> None:
    assert locations.source_lines("a = 1\nb = ]\nc = 2")[("b",)] == 2


def test_paths_are_shown_as_toml_writes_them() -> None:
    assert locations.shown(("inputs", "x", "shape", 1)) == "inputs.x.shape[1]"
    assert locations.shown(("extra_files", "card.json")) == 'extra_files."card.json"'
    assert locations.shown(("kwargs", "a\n\x1b\u202e")) == 'kwargs."a\\n\\u001b\\u202e"'
