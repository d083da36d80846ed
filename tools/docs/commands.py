"""Write docs/commands.md from the commands themselves; with --check, exit with 1 if it is not current.

python tools/docs/commands.py
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from batchexport.cli.main import cli

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
HEAD = """# Commands

Every command with all its arguments and options, as `--help` prints them. `python -m batchexport` is the same as
`batchexport`. [The guide](guide.md) goes by task instead.

<!-- written by tools/docs/commands.py -->
"""


def page() -> str:
    """Return the text of the page."""
    lines = [HEAD]
    for path, context, command in commands(cli, click.Context(cli, info_name="batchexport")):
        lines += section(path, context, command)
    return "\n".join(lines).rstrip() + "\n"


def commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Context, click.Command]]:
    """Yield every command below one, and itself, with its path: `batchexport cache gc`."""
    yield context.command_path, context, command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.commands[name]
            yield from commands(below, click.Context(below, info_name=name, parent=context))


def section(path: str, context: click.Context, command: click.Command) -> Iterator[str]:
    """Yield the lines about one command."""
    yield f"## {path.removeprefix('batchexport ')}"
    yield ""
    yield "<!-- not checked: a synopsis -->"
    yield "```text"
    yield f"usage: {path} {' '.join(command.collect_usage_pieces(context))}"
    yield "```"
    yield ""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield from described(paragraph)
    options = [one for one in command.get_params(context) if isinstance(one, click.Option) and "--help" not in one.opts]
    rows = [row for one in options if (row := one.get_help_record(context))]
    if rows:
        yield "| option | meaning |"
        yield "|---|---|"
        for option, meaning in rows:
            yield f"| {cell(f'`{option}`')} | {cell(meaning)} |"
        yield ""


def described(paragraph: str) -> Iterator[str]:
    """Yield the lines of a paragraph of help; what click does not rewrap is a block of text."""
    if paragraph.startswith("\b\n"):
        yield from ("<!-- not checked: as the help prints it -->", "```text", paragraph.removeprefix("\b\n"), "```")
    else:
        yield paragraph
    yield ""


def cell(text: str) -> str:
    """Return text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("[x>=", "[at least ").replace("[env var: ", "[variable: ")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    if parser.parse_args().check:
        return int(PAGE.read_text(encoding="utf-8") != page())
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
