"""Digests: a tree digest tells what a program means, a listing what lies in a folder, a file digest every byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from batchexport.core.digests import bytes_digest, file_digest, listing_digest, names_digest, text_digest, tree_digest

PROGRAM = b'''
def scale(x, by=2):
    """Scale."""
    return [x * by, "a"]
'''

SAME = {
    "a comment": PROGRAM.replace(b"return", b"# doubles it\n    return"),
    "a comment at the end of a line": PROGRAM.replace(b'"a"]', b'"a"]  # two'),
    "blank lines": PROGRAM.replace(b"    return", b"\n\n    return"),
    "another indentation": PROGRAM.replace(b"    ", b"\t"),
    "a line broken in two": PROGRAM.replace(b"[x * by, ", b"[\n        x * by,\n        "),
    "other quotes": PROGRAM.replace(b'"a"', b"'a'"),
    "needless brackets": PROGRAM.replace(b"x * by", b"(x * by)"),
    "line ends of Windows": PROGRAM.replace(b"\n", b"\r\n"),
    "a byte order mark": b"\xef\xbb\xbf" + PROGRAM,
    "a declared encoding": b"# -*- coding: utf-8 -*-\n" + PROGRAM,
    "a number written in another base": PROGRAM.replace(b"by=2", b"by=0x2"),
    "a linter's remark": PROGRAM.replace(b'"a"]', b'"a"]  # type: ignore[no-any-return]'),
}
OTHER = {
    "a docstring": PROGRAM.replace(b"Scale.", b"Scale it."),
    "a name": PROGRAM.replace(b"scale", b"scaled"),
    "an argument's name": PROGRAM.replace(b"by", b"factor"),
    "a literal": PROGRAM.replace(b'"a"', b'"b"'),
    "a default argument": PROGRAM.replace(b"by=2", b"by=3"),
    "a number's type": PROGRAM.replace(b"by=2", b"by=2.0"),
    "a boolean for a number": PROGRAM.replace(b"by=2", b"by=True"),
    "a string for bytes": PROGRAM.replace(b'"a"', b'b"a"'),
    "an operator": PROGRAM.replace(b"*", b"+"),
    "the order of a list": PROGRAM.replace(b'[x * by, "a"]', b'["a", x * by]'),
    "a list for a tuple": PROGRAM.replace(b'[x * by, "a"]', b'(x * by, "a")'),
    "an annotation": PROGRAM.replace(b"by=2", b"by: int = 2"),
    "a decorator": PROGRAM.replace(b"def", b"@staticmethod\ndef"),
    "a type comment, which TorchScript reads": PROGRAM.replace(b"by=2):", b"by=2):\n    # type: (int, int) -> list"),
    "an encoding that changes a literal": b"# coding: latin-1\n" + PROGRAM.replace(b'"a"', b'"\xc3\xa4"'),
    "a program that does not parse": PROGRAM + b"def",
    "nothing": b"",
}


@pytest.mark.parametrize("source", SAME.values(), ids=SAME)
def test_the_tree_digest_is_blind_to(source: bytes) -> None:
    assert source != PROGRAM
    assert tree_digest(source) == tree_digest(PROGRAM)


@pytest.mark.parametrize("source", OTHER.values(), ids=OTHER)
def test_the_tree_digest_sees(source: bytes) -> None:
    assert tree_digest(source) != tree_digest(PROGRAM)


def test_no_two_of_these_programs_have_the_same_tree_digest() -> None:
    assert len({tree_digest(source) for source in OTHER.values()}) == len(OTHER)


@pytest.mark.parametrize(
    "source",
    [b"def", b"x = \xff", b"a\0b", b"# coding: nonsense\nx = 1", b"x = " + b"(" * 5000, b"x = " + b"-" * 5000 + b"1"],
    ids=["syntax", "undecodable", "null byte", "unknown encoding", "too deep to parse", "too deep to print"],
)
def test_a_file_that_does_not_parse_is_digested_by_its_bytes(source: bytes) -> None:
    assert tree_digest(source) == bytes_digest(source)
    assert tree_digest(source + b" ") != tree_digest(source)


@pytest.mark.filterwarnings("error")
def test_a_program_that_python_warns_of_is_digested_in_silence() -> None:
    assert tree_digest(b'x = "\\d"') == tree_digest(b'x =  "\\d"  # fine')


def test_a_file_digest_is_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"abc" * 10**6)
    assert file_digest(str(tmp_path / "data")) == hashlib.sha256(b"abc" * 10**6).hexdigest()


def test_a_file_that_is_not_there_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_digest(str(tmp_path / "data"))


def test_text_from_the_environment_has_a_digest_even_if_it_is_no_utf_8() -> None:
    assert text_digest("\udcff") == bytes_digest(b"\xff")


def test_a_listing_is_the_names_in_any_order_without_what_python_leaves_there(tmp_path: Path) -> None:
    for name in ("b", "a", "__pycache__"):
        (tmp_path / name).mkdir()
    assert listing_digest(str(tmp_path)) == names_digest(["a", "b"])
    assert names_digest(["a", "b"]) != names_digest(["ab"])
    assert names_digest([]) != names_digest(["a"])
