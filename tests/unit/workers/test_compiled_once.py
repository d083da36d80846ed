from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchexport.workers.compiled_once import kept_result


class Maker:
    """Makes a result of one header, and counts how often."""

    def __init__(self, folder: Path) -> None:
        self.header = folder / "include" / "a.h"
        self.header.parent.mkdir()
        self.header.write_text("int a;")
        self.count = 0

    def __call__(self, path: str) -> tuple[list[str], list[str]]:
        self.count += 1
        Path(path).write_text(f"compiled: {self.header.read_text()}")
        return [str(self.header)], [str(self.header.parent)]


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


@pytest.fixture
def objects(tmp_path: Path) -> str:
    return str(tmp_path / "objects")


def test_a_result_is_made_once(maker: Maker, objects: str) -> None:
    first = kept_result(objects, "key.o", maker)
    assert first is not None
    assert Path(first).read_text() == "compiled: int a;"
    assert kept_result(objects, "key.o", maker) == first
    assert maker.count == 1


def test_another_key_is_another_result(maker: Maker, objects: str) -> None:
    assert kept_result(objects, "a.o", maker) != kept_result(objects, "b.o", maker)
    assert maker.count == 2


def test_a_changed_header_makes_it_again_even_with_its_old_times(maker: Maker, objects: str) -> None:
    kept_result(objects, "key.o", maker)
    before = maker.header.stat()
    maker.header.write_text("int b;")
    os.utime(maker.header, ns=(before.st_atime_ns, before.st_mtime_ns))
    made = kept_result(objects, "key.o", maker)
    assert made is not None
    assert Path(made).read_text() == "compiled: int b;"


def test_a_header_that_was_only_touched_makes_nothing(maker: Maker, objects: str) -> None:
    kept_result(objects, "key.o", maker)
    maker.header.touch()
    for _ in range(2):
        kept_result(objects, "key.o", maker)
    assert maker.count == 1


def test_a_new_file_where_a_header_is_looked_for_makes_it_again(maker: Maker, objects: str) -> None:
    kept_result(objects, "key.o", maker)
    (maker.header.parent / "b.h").touch()
    kept_result(objects, "key.o", maker)
    assert maker.count == 2


def test_a_header_that_is_gone_makes_it_again(maker: Maker, objects: str) -> None:
    kept_result(objects, "key.o", maker)
    moved = maker.header.rename(maker.header.with_name("moved.h"))
    maker.header = moved
    kept_result(objects, "key.o", maker)
    assert maker.count == 2


@pytest.mark.parametrize("suffix", ["", ".json"])
@pytest.mark.parametrize("damage", [b"", b"damaged"])
def test_damage_is_healed(maker: Maker, objects: str, suffix: str, damage: bytes) -> None:
    made = kept_result(objects, "key.o", maker)
    assert made is not None
    Path(made + suffix).write_bytes(damage)
    assert kept_result(objects, "key.o", maker) == made
    assert Path(made).read_text() == "compiled: int a;"
    assert maker.count == 2


def test_what_cannot_be_made_is_not_tried_again(objects: str) -> None:
    tries: list[str] = []

    def refuse(path: str) -> None:
        tries.append(path)

    assert kept_result(objects, "key.o", refuse) is None
    assert kept_result(objects, "key.o", refuse) is None
    assert len(tries) == 1


def test_what_failed_for_the_moment_is_tried_again_and_leaves_nothing(maker: Maker, objects: str) -> None:
    def fail(path: str) -> None:
        Path(path).write_text("half")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        kept_result(objects, "key.o", fail)
    assert [path.name for path in Path(objects).iterdir()] == ["key.o.lock"]
    assert kept_result(objects, "key.o", maker) is not None
