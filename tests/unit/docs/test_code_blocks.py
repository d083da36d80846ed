"""Every code block of README.md and docs/*.md: manifests are read, Python is parsed, commands exist.

A comment on the line before a block says why nothing can check it, `<!-- not checked: a drawing -->`, which test runs
it, `<!-- run by: tests/process/test_pages.py -->`, or why none does, `<!-- not run: needs docker -->`.
"""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from pathlib import Path

import pytest

import batchexport
from batchexport.core.errors import ManifestError
from batchexport.manifest import resolve
from support.pages import PAGES, ROOT, Block, blocks_of

_ENTRY = '[[entry]]\nname = "a"\nmodel = "m:M"\n'
_X = 'x = { shape = ["batch", 4] }\n'
# What a fragment needs to be a manifest: the dims that it speaks of.
_DIMS = "[entry.dims]\nbatch = { max = 64 }\nn = { max = 9 }\n"


BLOCKS = [block for page in PAGES for block in blocks_of(str(page.relative_to(ROOT)), page.read_text(encoding="utf-8"))]


def completed(text: str) -> str:
    """A fragment of a manifest with the head that it leaves out, and the dims."""
    if not re.search(r"^\[\[entry\]\]", text, re.M):
        text = f"{_ENTRY}{text}" if "[entry.inputs]" in text else f"{_ENTRY}inputs.{_X}{text}"
    if "[entry.dims]" not in text and ('"batch"' in text or '"n"' in text):
        text += _DIMS if '"n"' in text else "".join(_DIMS.splitlines(keepends=True)[:2])
    return text if re.search(r"^schema = ", text, re.M) else f"schema = 1\n{text}"


def wrong_calls(text: str) -> list[str]:
    """Calls of batchexport's functions with arguments that these do not take."""
    wrong = []
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func).startswith("batchexport.")):
            continue
        function = getattr(batchexport, ast.unparse(node.func).partition(".")[2])
        try:
            inspect.signature(function).bind(*node.args, **{str(one.arg): one.value for one in node.keywords})
        except TypeError as error:
            wrong.append(f"{ast.unparse(node)}: {error}")
    return wrong


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_what_a_block_shows_would_work(block: Block, tmp_path: Path) -> None:
    if block.claim == "not checked":
        assert block.language in {"text", "mermaid"}, "a block in a language that is checked says whether it is run"
        return
    match block.language:
        case "toml":
            path = tmp_path / "manifest.toml"
            path.write_text(completed(block.text), encoding="utf-8")
            resolve.load(path)
        case "python":
            assert wrong_calls(block.text) == []
        case "sh" | "console":  # the options of batchexport's commands are checked in test_docs.py
            lines = block.lines_to_type()
            assert lines, "a block of commands has none"
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
            for line in lines:
                words = shlex.split(line, comments=True)
                assert words[0] != "make" or set(words[1:]) <= set(targets), line
        case other:
            pytest.fail(f"nothing checks a block in {other or 'no language'!r}: say why in a comment before it")


@pytest.mark.parametrize(
    "block", [one for one in BLOCKS if one.language in {"python", "sh", "console"}], ids=lambda block: block.place
)
def test_what_can_be_run_is_run_by_a_test_or_says_why_not(block: Block) -> None:
    assert block.claim in {"run by", "not run"}, "no comment says which test runs it, or why none does"
    if block.claim == "run by":
        test = ROOT / block.about
        page = block.place.partition(":")[0]
        assert test.is_file() and f'"{page}"' in test.read_text(encoding="utf-8"), f"{block.about} reads no {page}"


def test_blocks_are_found_on_every_page_that_has_some() -> None:
    fences = sum(len(re.findall(r"^ *```\w", page.read_text(encoding="utf-8"), re.M)) for page in PAGES)
    assert len(BLOCKS) == fences > 15


def test_a_wrong_block_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.toml"
    path.write_text(completed('[entry.inputs]\nx = { shape = ["batch"], shpe = 1 }\n'), encoding="utf-8")
    with pytest.raises(ManifestError, match="shpe"):
        resolve.load(path)
    assert wrong_calls('batchexport.run("m.toml", tag=["a"])')
    assert not wrong_calls('batchexport.run("m.toml", tags=["a"])')
