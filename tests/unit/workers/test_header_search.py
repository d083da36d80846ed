from __future__ import annotations

from pathlib import Path

from batchexport.workers.header_search import read_files, search_path, watched_folders

LISTING = """ignoring duplicate directory "/usr/include"
#include "..." search starts here:
#include <...> search starts here:
 /venv/torch/include
 /usr/lib/gcc/12/../../../include/c++/12
 /usr/include
End of search list.
"""


def test_the_search_path_is_read_from_what_the_compiler_prints() -> None:
    assert search_path(LISTING) == ["/venv/torch/include", "/usr/include/c++/12", "/usr/include"]
    assert search_path("nothing of the kind") == []


def test_files_are_read_from_a_rule_for_make() -> None:
    rule = "out.o: src.cpp /usr/include/a.h \\\n  /with\\ space/b.h /usr/lib/../include/a.h\n"
    assert read_files(rule) == sorted([str(Path("src.cpp").absolute()), "/usr/include/a.h", "/with space/b.h"])


def test_folders_are_watched_in_which_a_file_would_be_found_first(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    (first / "torch").mkdir(parents=True)
    (second / "torch" / "deep").mkdir(parents=True)
    watched = watched_folders([str(second / "torch" / "deep" / "a.h")], [str(first), str(second)])
    assert watched == [str(first / "torch"), str(second / "torch" / "deep")]


def test_a_file_that_no_search_finds_is_watched_in_its_own_folder(tmp_path: Path) -> None:
    assert watched_folders([str(tmp_path / "a.h")], []) == [str(tmp_path)]
