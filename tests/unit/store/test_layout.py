from __future__ import annotations

from pathlib import Path

import pytest

from batchexport.store.errors import StoreError
from batchexport.store.layout import Layout, parse_record_name

DIGEST = "ab" + "0123456789" * 6 + "cd"


def test_blobs_and_records_are_spread_by_their_first_two_digits(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert layout.blob_path(DIGEST) == tmp_path / "v1/objects/ab" / DIGEST[2:]
    assert layout.record_path("export", DIGEST) == tmp_path / "v1/entries/ab" / f"export-{DIGEST}.json"


@pytest.mark.parametrize(
    "digest",
    ["", "../" * 21 + "x", DIGEST.upper(), DIGEST[:-1], DIGEST + "0", DIGEST + "\n", "a/" * 32, "g" * 64],
)
def test_a_digest_that_could_lead_out_of_the_store_is_refused(tmp_path: Path, digest: str) -> None:
    layout = Layout(tmp_path)
    with pytest.raises(ValueError, match="SHA-256"):
        layout.blob_path(digest)
    with pytest.raises(ValueError, match="SHA-256"):
        layout.record_path("export", digest)


@pytest.mark.parametrize("kind", ["", "../x", "Export", "a/b", "export\n", "-a", "x" * 33])
def test_a_kind_that_could_lead_out_of_the_store_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ValueError, match="kind"):
        Layout(tmp_path).record_path(kind, DIGEST)


def test_a_records_name_tells_its_kind_and_key(tmp_path: Path) -> None:
    path = Layout(tmp_path).record_path("export-trace", DIGEST)
    assert parse_record_name(path.name) == ("export-trace", DIGEST)
    assert parse_record_name(path.with_suffix(".damaged").name) is None


def test_a_new_root_is_marked_as_a_cache_that_git_ignores(tmp_path: Path) -> None:
    Layout(tmp_path / "a/cache").create()
    tag = (tmp_path / "a/cache/CACHEDIR.TAG").read_text()
    assert tag.startswith("Signature: 8a477f597d28d172789f06886806bc55\n")
    ignore = (tmp_path / "a/cache/.gitignore").read_text().split()
    assert ignore == ["*", "!README.md", "!.gitignore", "!CACHEDIR.TAG"]


def test_marks_that_are_there_are_kept(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("mine")
    Layout(tmp_path).create()
    assert (tmp_path / ".gitignore").read_text() == "mine"
    assert (tmp_path / "CACHEDIR.TAG").exists()


def test_a_folder_with_other_things_in_it_is_not_hidden_from_git_and_backups(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    Layout(tmp_path).create()
    assert not (tmp_path / ".gitignore").exists()
    assert not (tmp_path / "CACHEDIR.TAG").exists()
    assert (tmp_path / "v1/CACHEDIR.TAG").exists()


def test_a_later_version_beside_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "v2").mkdir()
    (tmp_path / "v2/data").write_text("x")
    Layout(tmp_path).create()
    assert (tmp_path / "v2/data").read_text() == "x"
    assert (tmp_path / "v1/objects").is_dir()


def test_the_tracked_default_cache_has_the_marks_that_a_new_one_gets(tmp_path: Path) -> None:
    Layout(tmp_path / "cache").create()
    tracked = Path(__file__).parents[3] / "cache"
    for name in (".gitignore", "CACHEDIR.TAG"):
        assert (tracked / name).read_text() == (tmp_path / "cache" / name).read_text()
    assert (tracked / "README.md").exists()


def test_a_cache_of_a_newer_schema_is_left_alone_with_a_message(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "cache")
    layout.home.mkdir(parents=True)
    layout.schema.write_text("2\n")
    with pytest.raises(StoreError, match=r"newer batchexport.*left alone"):
        layout.create()
    assert [path.name for path in layout.home.iterdir()] == ["schema"]


@pytest.mark.parametrize("text", ["", "1\n", "garbage", "\x00\x00"])
def test_a_damaged_schema_file_stops_nothing(tmp_path: Path, text: str) -> None:
    layout = Layout(tmp_path / "cache")
    layout.create()
    layout.schema.write_text(text)
    layout.create()
