"""Every code block of README.md and docs/*.md: manifests are read, Python is parsed, commands exist.

A block that nothing can check says why in a comment on the line before it: `<!-- not checked: a drawing -->`.
"""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import batchexport
from batchexport.core.errors import ManifestError
from batchexport.manifest import resolve

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]

_BLOCK = re.compile(
    r"^(?:<!-- not checked: (?P<why>[^\n]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
_ENTRY = '[[entry]]\nname = "a"\nmodel = "m:M"\n'
_X = 'x = { shape = ["batch", 4] }\n'
# What a fragment needs to be a manifest: the dims that it speaks of.
_DIMS = "[entry.dims]\nbatch = { max = 64 }\nn = { max = 9 }\n"


@dataclass(frozen=True)
class Block:
    """A code block; `place` is its page and line."""

    place: str
    language: str
    text: str
    why: str | None


def blocks_of(page: str, text: str) -> Iterator[Block]:
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        yield Block(place=f"{page}:{line}", language=match["language"], text=match["text"], why=match["why"])


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


def lines_to_type(block: Block) -> list[str]:
    """The command lines of a block: all of a script, those after `$` of a session."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "sh":
        return [line for line in lines if line and not line.startswith("#")]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_what_a_block_shows_would_work(block: Block, tmp_path: Path) -> None:
    if block.why is not None:
        assert block.language in {"text", "mermaid"}, "a block in a language that is checked needs no comment"
        return
    match block.language:
        case "toml":
            path = tmp_path / "manifest.toml"
            path.write_text(completed(block.text), encoding="utf-8")
            resolve.load(path)
        case "python":
            assert wrong_calls(block.text) == []
        case "sh" | "console":  # the options of batchexport's commands are checked in test_docs.py
            lines = lines_to_type(block)
            assert lines, "a block of commands has none"
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
            for line in lines:
                words = shlex.split(line, comments=True)
                assert words[0] != "make" or set(words[1:]) <= set(targets), line
        case other:
            pytest.fail(f"nothing checks a block in {other or 'no language'!r}: say why in a comment before it")


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
