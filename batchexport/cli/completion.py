"""The command `completion`, and the completion of job names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batchexport.cli.console import echo

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

VARIABLE = "_BATCHEXPORT_COMPLETE"


@click.command(short_help="Print the script that completes words in your shell.")
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, /, shell: str) -> None:
    """Print the script that completes commands, options and names of jobs in SHELL.

    \b
    bash:  echo 'eval "$(batchexport completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(batchexport completion zsh)"' >> ~/.zshrc
    fish:  echo 'batchexport completion fish | source' >> ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    from batchexport.cli import shells

    shells.register()
    found = get_completion_class(shell)
    assert found is not None
    echo(found(ctx.find_root().command, {}, "batchexport", VARIABLE).source().splitlines())


def job_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the jobs of the manifest on the command line whose names begin with what is typed; never raises."""
    from click.shell_completion import CompletionItem

    from batchexport.manifest import resolve

    try:
        typed = ctx.params.get("manifest") or _typed_manifest(os.environ.get("COMP_WORDS", ""))
        manifest = typed[0] if isinstance(typed, tuple) else typed  # `run` takes several
        names = [job.name for job in resolve.load(manifest).jobs]
    except Exception:  # noqa: BLE001 - a message would land in the middle of the line that is typed
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _typed_manifest(words: str) -> Path:
    """Return the manifest among the typed words: click has none while an option waits for its value."""
    return Path(next(word for word in words.split() if word.endswith(".toml")))
