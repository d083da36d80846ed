"""The documentation against the repository: paths, names, links and command lines that it gives exist."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from batchexport.cli.main import cli
from batchexport.dependencies.dependency import DependencyKind
from batchexport.store.layout import Layout

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "batchexport"
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob(".github/**/*.md"))]
FILES = [*PAGES, *sorted(ROOT.glob(".github/**/*.yml"))]

_TOPS = "batchexport|docs|tools|tests|manifests|.ci|.github"
_PATH = re.compile(rf"(?<![\w/.-])(?:{_TOPS})/[\w./-]*[\w/]")
_MODULE_FILE = re.compile(r"`([\w/]+\.py)`")
_DOTTED = re.compile(r"(?<![\w/.-])batchexport(?:\.[A-Za-z_]\w*)+")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_COMMAND = re.compile(r"(?:\$ )?(?:\.venv/bin/)?(?:python -m )?batchexport (.*)")


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


def commands(text: str) -> Iterator[str]:
    """The arguments of every `batchexport …` command line in code blocks and code spans."""
    for block in _FENCE.findall(text):
        for line in block.splitlines():
            if match := _COMMAND.fullmatch(line.strip()):
                yield match[1]
    for span in _INLINE.findall(_FENCE.sub("", text)):
        if match := _COMMAND.fullmatch(" ".join(span.split())):
            yield match[1].replace("\\|", "|")


def parse(words: list[str], folder: Path) -> None:
    """Parse a command line as click does before it runs a command. Raises click.ClickException."""
    for word in words:
        if word.endswith(".toml") or word == "MANIFEST":
            path = folder / word
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    command: click.Command = cli
    context: click.Context | None = None
    name: str | None = "batchexport"
    while isinstance(command, click.Group):
        context = command.make_context(name, words, parent=context)
        name, found, words = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        command = found
    command.make_context(name, words, parent=context)


def names_in(path: Path) -> set[str]:
    """The names that a module defines or imports at its top level."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found.update(target.id for target in targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update(alias.asname or alias.name for alias in node.names)
    return found


def exists(dotted: str) -> bool:
    """Whether a dotted name is a module of the package, or a name at the top level of one."""
    place = PACKAGE
    for part in dotted.split(".")[1:]:
        module = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
        if (place / part).is_dir() or (place / f"{part}.py").is_file():
            place = place / part
        else:
            return part in names_in(module)
    return True


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", FILES, ids=page_id)
def test_paths_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert [one for one in _PATH.findall(text) if not (ROOT / one).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_modules_exist(path: Path) -> None:
    found = _MODULE_FILE.findall(path.read_text(encoding="utf-8"))
    assert [one for one in found if not any((top / one).is_file() for top in (ROOT, PACKAGE))] == []


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_dotted_names_exist(path: Path) -> None:
    found = _DOTTED.findall(path.read_text(encoding="utf-8"))
    assert [one for one in found if not exists(one)] == []


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for link in _LINK.findall(_FENCE.sub("", path.read_text(encoding="utf-8"))):
        file, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = path.parent / file if file else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_command_lines_parse(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused = []
    for line in commands(path.read_text(encoding="utf-8")):
        try:
            parse(shlex.split(line.partition(" > ")[0], comments=True), tmp_path)
        except click.exceptions.Exit:  # --help and --version
            pass
        except click.ClickException as error:
            refused.append(f"{line}: {error.format_message()}")
    assert refused == []


def test_command_lines_are_found() -> None:
    found = list(commands((ROOT / "README.md").read_text(encoding="utf-8")))
    words = {line.split()[0] for line in found}
    assert words >= set(cli.commands), "README.md shows every command"


def test_the_architecture_page_names_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## The import rule")[0]
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE)) == rooms


def test_the_import_rule_is_that_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## The import rule")[2]
    (layers,) = [one["layers"] for one in contracts["contracts"] if one["type"] == "layers"]
    assert _FENCE.findall(text)[0].splitlines() == layers


def test_the_architecture_page_names_all_that_lies_in_a_cache(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.create()
    made = {path.name for path in layout.home.iterdir()} | {layout.index.name, layout.gate.name, layout.histories.name}
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## The cache:")[2]
    block = _FENCE.findall(text)[0]
    assert set(re.findall(r"^  (\w+)", block, re.MULTILINE)) == made - {".gitignore", "CACHEDIR.TAG"}


def test_the_page_on_keys_lists_every_kind_of_dependency() -> None:
    kinds = list(DependencyKind)
    assert len(kinds) > 5
    text = (ROOT / "docs" / "keys.md").read_text(encoding="utf-8").partition("## Dependencies")[2]
    assert re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE) == kinds


def test_the_page_on_keys_lists_every_kind_of_edit_that_is_tried() -> None:
    code = "import differential.trial, differential.kinds as k; print(*sorted(kind.name for kind in k.KINDS), sep='; ')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "tools", capture_output=True, text=True, check=True)
    text = (ROOT / "docs" / "keys.md").read_text(encoding="utf-8").partition("## Edits that are tried")[2]
    assert done.stdout.strip() in " ".join(text.split())
