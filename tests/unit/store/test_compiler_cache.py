"""Compiler cache: files that a killed compiler left truncated are removed; complete and older ones stay."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from batchexport.store.compiler_cache import CompilerCache, is_whole
from batchexport.store.locks import KeyLock

NOW = time.time()


def header(folder: Path, name: str = "a.h.gch", *, age: float = 0.0) -> Path:
    path = folder / "tmp" / "torchinductor_me" / "precompiled_headers" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"gpch")
    os.utime(path, (NOW - age, NOW - age))
    return path


def test_a_header_that_is_younger_than_the_killed_stage_is_removed(tmp_path: Path) -> None:
    young, old = header(tmp_path), header(tmp_path, "b.h.gch", age=100)
    text = young.with_suffix("")
    text.touch()
    assert CompilerCache(tmp_path).remove_truncated(NOW - 10)
    assert (young.exists(), old.exists(), text.exists()) == (False, True, True)


def test_where_nothing_is_truncated_false_is_returned(tmp_path: Path) -> None:
    header(tmp_path, age=100)
    assert not CompilerCache(tmp_path).remove_truncated(NOW - 10)


def test_a_run_removes_the_truncated_files_of_a_killed_run(tmp_path: Path) -> None:
    # A killed run leaves a marker without a lock.
    (tmp_path / f"compiling-{int((NOW - 50) * 1e9):x}-1.lock").touch()
    young, old = header(tmp_path, age=10), header(tmp_path, "b.h.gch", age=100)
    cache = CompilerCache(tmp_path)
    cache.open()
    assert (young.exists(), old.exists()) == (False, True)
    cache.close()
    assert list(tmp_path.glob("compiling-*")) == []


def test_a_run_keeps_what_a_live_run_is_writing(tmp_path: Path) -> None:
    live = KeyLock(tmp_path).try_lock(f"compiling-{int((NOW - 50) * 1e9):x}-1")
    assert live is not None
    young = header(tmp_path, age=10)
    CompilerCache(tmp_path).open()
    assert young.exists()
    live.release()


def test_a_run_that_ended_well_leaves_its_headers_to_the_next(tmp_path: Path) -> None:
    first, second = CompilerCache(tmp_path), CompilerCache(tmp_path)
    first.open()
    kept = header(tmp_path)
    first.close()
    second.open()
    assert kept.exists()


@pytest.mark.parametrize("name", ["compiling-.lock", "compiling-x.lock", "compiling-zz-1.lock"])
def test_a_malformed_marker_does_no_harm(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    CompilerCache(tmp_path).open()


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_a_library_truncated_anywhere_is_not_whole(tmp_path: Path) -> None:
    source, library = tmp_path / "a.cpp", tmp_path / "a.so"
    source.write_text("int f() { return 1; }")
    subprocess.run(["g++", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    data = library.read_bytes()
    assert is_whole(library)
    assert not CompilerCache(tmp_path).remove_truncated(NOW - 10)
    for length in (0, 4, 63, 64, len(data) // 2, len(data) - 1):
        library.write_bytes(data[:length])
        assert not is_whole(library), length
    assert CompilerCache(tmp_path).remove_truncated(NOW - 10)
    assert not library.exists()
