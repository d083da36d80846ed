"""The command `batchexport init`: make a first manifest, and ask on a terminal what a model does not tell."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batchexport.cli import questions
from batchexport.cli.console import echo, echo_error
from batchexport.cli.options import FILE
from batchexport.core.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from batchexport.engine.suggestions import Candidate, Suggestion

_SIZES = "batch,16 or batch,seq:int64:0:1000"


@click.command(short_help="Write a first manifest for a model, a folder, or a new project.")
@click.argument("model", required=False)
@click.option("-o", "--output", type=FILE, metavar="FILE", help="Write here; defaults to manifest.toml.")
@click.option(
    "--input", "inputs", multiple=True, metavar="NAME=SIZES", help="An input, such as ids=batch,seq:int64:0:99."
)
@click.option("--kwarg", "kwargs", multiple=True, metavar="NAME=VALUE", help="An argument to build the model with.")
@click.option("--head", metavar="HEAD", help="The head of a transformers model.")
@click.option("--force", is_flag=True, help="Overwrite the file.")
@click.option("-y", "--yes", is_flag=True, help="Never ask.")
@click.pass_context
def init(ctx: click.Context, /, model: str | None, output: Path | None, **given: Any) -> None:
    """Write a commented manifest that runs.

    MODEL is `module:attribute`, `transformers:TYPE`, another library's model, or a folder: then every
    nn.Module in it gets an entry. It is built and called once in a process of its own, to find out its
    inputs and which sizes may vary. Without MODEL, a small project is made to start from.
    """
    folder = Path(model) if model is not None and Path(model).is_dir() else None
    asks = questions.may_ask(never=given["yes"])
    file = output or (folder / "manifest.toml" if folder else Path("manifest.toml"))
    confirmed = None
    if asks and file.exists() and not given["force"]:
        confirmed = file = questions.ask_file(file)
    writes = [file, *([file.parent / "models.py"] if model is None else [])]
    for path in writes:
        if path.exists() and path != confirmed and not given["force"]:
            raise UsageError(f"{path} exists; use --output for another file, or --force to overwrite it")
    if model is None:
        from batchexport.manifest.starter import PROJECT, PROJECT_ENTRY, manifest_text

        _write(writes[1], PROJECT)
        _write(file, manifest_text([PROJECT_ENTRY]))
        echo([f"wrote {writes[1]} and {file}", f"next: batchexport run {_shell(file)}"])
        return
    root = file.absolute().parent
    found = _folder(folder, root) if folder else [_one(model, given, root, asks=asks)]
    good = [one for one in found if one.failure is None]
    if not folder and not good:
        (only,) = found
        option = ", here --kwarg NAME=VALUE" if "kwargs" in (only.remedy or "") else ""
        echo_error(f"{model}: {only.failure}" + (f"; {only.remedy}{option}" if only.remedy else ""))
        ctx.exit(int(ExitCode.JOB_FAILED))
    text = _text(found)
    if not good:
        echo_error(f"{folder}: none of {len(found)} models can be built without arguments; name one: MODULE:CLASS")
        echo([f"  {one.candidate.model}: {one.failure}" for one in found])
        ctx.exit(int(ExitCode.JOB_FAILED))
    _write(file, text)
    echo([f"  left out {one.candidate.model}: {one.failure}" for one in found if one.failure is not None])
    echo([f"wrote {file}: {', '.join(one.candidate.model for one in good)}", f"next: batchexport run {_shell(file)}"])


def _one(model: str, given: dict[str, Any], root: Path, *, asks: bool) -> Suggestion:
    from batchexport.engine.suggestions import Candidate
    from batchexport.manifest.starter import read_argument, read_input

    candidate = Candidate(
        model=_importable(model, root, asks=asks),
        head=given["head"],
        kwargs=_read(given["kwargs"], read_argument, "--kwarg", "hidden=256"),
        given=_read(given["inputs"], read_input, "--input", "ids=batch,seq:int64:0:1000"),
    )
    while True:
        (found,) = _suggested([candidate], root)
        if not asks:
            return found
        if found.failure is None:
            return replace(found, dims=questions.ask_largest(found.dims))
        better = _asked(found)
        if better is None:
            return found
        candidate = better


def _asked(found: Suggestion) -> Candidate | None:
    """Ask for what kept a model from being tried; None where no answer helps, or none is given."""
    from batchexport.manifest.starter import read_argument, read_input

    candidate = found.candidate
    echo([f"{candidate.model}: {found.failure}"])
    if found.wanted:
        named: dict[str, Any] = {}
        for name in found.wanted:
            named |= questions.ask_value(f"sizes of {name}, such as {_SIZES}", read_input, example=_SIZES, name=name)
        return replace(candidate, given={**candidate.given, **named}) if named else None
    if "argument" in (found.failure or "") and found.remedy:
        named = questions.ask_value(f"{found.remedy}: NAME=VALUE", read_argument, example="hidden=256")
        return replace(candidate, kwargs={**candidate.kwargs, **named}) if named else None
    return None


def _read(texts: tuple[str, ...], reader: Any, option: str, example: str) -> dict[str, Any]:
    try:
        return dict(reader(text) for text in texts)
    except ValueError as error:
        raise UsageError(f"{option}: {error} is not understood; write {example}") from None


def _importable(model: str, root: Path, *, asks: bool) -> str:
    """Return a model as a manifest names it: `models:Net` for `models.py:Net`. Raises UsageError.

    Where a module has classes and none is named, one is asked for.
    """
    from batchexport.core.errors import Problem
    from batchexport.manifest import names, readers

    head, colon, tail = model.partition(":")
    if colon and head.endswith(".py"):
        path = Path(os.path.abspath(head))
        if path.is_relative_to(root):
            model = ".".join(path.relative_to(root).with_suffix("").parts) + f":{tail}"
    said: list[Problem] = []

    def say(path: Any, message: str, hint: str | None = None, *, key: bool = False) -> None:
        said.append(Problem(place="MODEL", message=message, hint=hint))

    if names.model(model, (), say) is readers.INVALID:
        classes = _classes_in(model, root)
        if asks and classes:
            return questions.ask_class(classes)
        raise UsageError(f"{said[0]}" + (f"; it has {', '.join(classes)}" if classes else ""))
    return model


def _classes_in(model: str, root: Path) -> list[str]:
    """Return `module:Class` for the classes of a module below `root`, named `pkg.models` or `pkg/models.py`."""
    from batchexport.manifest.starter import module_classes

    file = Path(os.path.abspath(model if model.endswith(".py") else root / f"{model.replace('.', '/')}.py"))
    if not file.is_file() or not file.is_relative_to(root):
        return []
    module = ".".join(file.relative_to(root).with_suffix("").parts)
    classes = (one.partition(":") for one in module_classes(file.parent))
    return [f"{module}:{name}" for stem, _, name in classes if stem == file.stem]


def _folder(folder: Path, root: Path) -> list[Suggestion]:
    from batchexport.engine.suggestions import Candidate
    from batchexport.manifest.starter import module_classes

    classes = module_classes(folder)
    if not classes:
        raise UsageError(
            f"{folder}: no class of an nn.Module was found in its Python files; name one: MODULE:ATTRIBUTE"
        )
    if folder.absolute() != root:
        raise UsageError(f"the manifest of a folder lies in it, so that its models can be imported: {folder}/…")
    return _suggested([Candidate(model=one) for one in classes], root)


def _suggested(candidates: list[Candidate], root: Path) -> list[Suggestion]:
    from batchexport.core import interrupts
    from batchexport.engine.suggestions import suggest

    with interrupts.handle_signals():
        return suggest(candidates, root, lambda name: echo([f"trying {name}"]))


def _text(found: list[Suggestion]) -> str:
    from batchexport.manifest.starter import EntryText, manifest_text

    return manifest_text(
        EntryText(
            model=one.candidate.model,
            head=one.candidate.head,
            kwargs=one.candidate.kwargs,
            inputs=one.inputs,
            dims=one.dims,
            derived=one.derived,
            failure=one.failure,
        )
        for one in found
    )


def _write(file: Path, text: str) -> None:
    from batchexport.core.files import atomic_write_sibling

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_sibling(file, text.encode())
    except OSError as error:
        raise UsageError(f"can't write {file}: {error.strerror}") from None


def _shell(file: Path) -> str:
    import shlex

    return shlex.quote(str(file))
