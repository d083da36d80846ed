"""Read names of entries, models, files, targets and operators, and derive job and folder names from them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from batchexport.core.text import describe, did_you_mean, listing, quoted
from batchexport.manifest import readers
from batchexport.manifest.locations import KeyPath
from batchexport.manifest.readers import INVALID, Report

REGISTRIES = ("timm", "torchvision", "transformers")
WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".index.json")
MAX_FOLDER = 200  # characters; file systems end at 255 bytes, and staging adds some

_DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_REFERENCE = re.compile(rf"{_DOTTED}:{_DOTTED}")
_REGISTERED = re.compile(r"[A-Za-z0-9_][\w./+-]*", re.ASCII)
_DOTS = re.compile(_DOTTED)
_TARGET = re.compile(r"cpu(-avx2|-avx512)?|cuda(-sm[1-9][0-9]{1,2})?", re.ASCII)
_OF_A_HUB = re.compile(r"[\w-]+/[\w.-]*[\w-](?<!\.py)|[a-z0-9]+(?:-[\w.]+)*-[\w.]+", re.ASCII)
_OPERATOR = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*){1,2}", re.ASCII)
_INDEXED = re.compile(r"\[\s*['\"]")  # as Python reaches into a dict
_WORD = re.compile(r"[\w-]+")
_UNSAFE = re.compile(r"[^A-Za-z0-9._@=,+\[\]-]")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)


def plain(value: Any, path: KeyPath, say: Report) -> Any:
    """Read a name of an entry or a checkpoint: printable, one path component, not like a command-line option."""
    if type(value) is not str:
        return readers.string(value, path, say)
    if not value.strip():
        say(path, "the name is empty")
    elif not value.isprintable():
        say(path, f"{quoted(value)} holds a character that can't be printed")
    elif "/" in value or "\\" in value:
        better = re.sub(r"[/\\.]*[/\\]+", "-", value).strip("-.") or "model"
        say(path, f"{quoted(value)} could lead out of the output folder", f"write {quoted(better)}")
    elif value.startswith((".", "-")):
        why = (
            "looks like an option of a command line"
            if value[0] == "-"
            else "is hidden, or leads out of the output folder"
        )
        say(
            path,
            f'a name that starts with "{value[0]}" {why}',
            f"write {quoted(value.lstrip('.-') or 'model')}",
        )
    elif value != value.strip():
        say(path, f"{quoted(value)} has spaces around it", f"write {quoted(value.strip())}")
    else:
        return value
    return INVALID


def model(value: Any, path: KeyPath, say: Report) -> Any:
    """Read `module:attribute`, `timm:NAME`, `torchvision:NAME`, `transformers:TYPE`, or a path to .pt2 or .pt."""
    if type(value) is str and _REFERENCE.fullmatch(value) and ".py:" not in value:
        return value
    value = readers.string(value, path, say)
    if value is INVALID:
        return INVALID
    if value.endswith((".pt2", ".pt")):
        return readers.file_path(value, path, say)
    head, colon, tail = value.partition(":")
    if colon and head in REGISTRIES and _REGISTERED.fullmatch(tail):
        return value
    say(path, f"{quoted(value)} names no model", _model_hint(head, colon, tail))
    return INVALID


def is_transformer(model: str) -> bool:
    """Return True for `transformers:TYPE`."""
    return model.startswith("transformers:")


def head(value: Any, path: KeyPath, say: Report) -> Any:
    """Read the head of a transformers model, without what its class begins with: `SequenceClassification`."""
    value = readers.string(value, path, say)
    if value is INVALID:
        return INVALID
    if value.isidentifier() and not value.startswith("Auto"):
        return value
    better = value.rpartition("For")[2]
    better = better if better.isidentifier() else "SequenceClassification"
    say(path, f"{quoted(value)} is not a head", f"write {quoted(better)}")
    return INVALID


def _model_hint(head: str, colon: str, tail: str) -> str:
    if not colon and head.endswith(WEIGHTS_SUFFIXES):
        return 'weights go into "weights"; a model is "module:attribute", or a file that ends in .pt2 or .pt'
    if not colon and _OF_A_HUB.fullmatch(head):
        return (
            'models are not downloaded by the name that a hub gives them: write model = "transformers:TYPE" with '
            'kwargs and weights, or "module:attribute" for a function that loads it'
        )
    module = head.removesuffix(".py").removeprefix("./").replace("/", ".")
    outer, dot, last = module.rpartition(".")
    attribute = tail.partition("(")[0]
    guess = f"{module}:{attribute}" if colon else f"{outer}:{last}"
    if _REFERENCE.fullmatch(guess) and (colon or (dot and not head.endswith(".py"))):
        return f"write {quoted(guess)}"
    known = [registry for registry in REGISTRIES if colon and did_you_mean(head, (registry,))]
    if known and _REGISTERED.fullmatch(tail):
        return f"did you mean {quoted(f'{known[0]}:{tail}')}?"
    return 'write "module:attribute", timm:NAME, torchvision:NAME, transformers:TYPE, or a path to a .pt2 or .pt file'


def is_reference(text: str) -> bool:
    """Return True for `module:attribute`."""
    return _REFERENCE.fullmatch(text) is not None


def inputs_source(value: Any, path: KeyPath, say: Report) -> Any:
    """Read a factory `module:attribute` or the path of a file of tensors."""
    if is_reference(value):
        return value
    if value.endswith(WEIGHTS_SUFFIXES[:3]):
        return readers.file_path(value, path, say)
    hint = f'write a table or list of inputs, "module:attribute", or a file: {listing(WEIGHTS_SUFFIXES[:3])}'
    say(path, f"{quoted(value)} is neither a factory nor a file of tensors", hint)
    return INVALID


def weights(value: Any, path: KeyPath, say: Report) -> Any:
    """Read a path with a suffix that weights are loaded from."""
    value = readers.file_path(value, path, say)
    if value is INVALID or value.endswith(WEIGHTS_SUFFIXES):
        return value
    say(path, f"{quoted(value)} is not a weights file", f"supported: {listing(WEIGHTS_SUFFIXES)}")
    return INVALID


def weights_key(value: Any, path: KeyPath, say: Report) -> Any:
    """Read the dotted path of a state_dict that a file nests: `state_dict` or `model.state_dict`."""
    value = _text(value, path, say, ".")
    if value is INVALID:
        return INVALID
    parts_are_right = all(part and part == part.strip() for part in value.split("."))
    if parts_are_right and value.isprintable() and not _INDEXED.search(value):
        return value
    better = ".".join(_WORD.findall(value)) or "state_dict"
    say(path, f"{quoted(value)} is not the key of a nested state_dict", f"write {quoted(better)}")
    return INVALID


def weights_prefix(value: Any, path: KeyPath, say: Report) -> Any:
    """Read what is taken off the names in a file of weights: `module.`; it does not end within a word."""
    value = _text(value, path, say, "")
    if value is INVALID:
        return INVALID
    better = "".join(filter(str.isprintable, value)).strip().lstrip(".").rstrip("*")
    better += "." if better[-1:].isalnum() else ""
    if value == better:
        return value
    say(path, f"{quoted(value)} is not the beginning of names", f"write {quoted(better or 'module.')}")
    return INVALID


def _text(value: Any, path: KeyPath, say: Report, joint: str) -> Any:
    """Read a string; for a list of strings, the hint is to join them."""
    if type(value) is list and value and all(type(part) is str for part in value):
        say(path, f"expected a string, found {describe(value)}", f"write {quoted(joint.join(value))}")
        return INVALID
    return readers.string(value, path, say)


def target(value: Any, path: KeyPath, say: Report) -> Any:
    """Read `cpu`, `cpu-avx2`, `cpu-avx512`, `cuda` or `cuda-smNN`."""
    if type(value) is str and _TARGET.fullmatch(value):
        return value
    what = f"unknown target {quoted(value)}" if isinstance(value, str) else f"found {describe(value)}"
    known = ("cpu", "cpu-avx2", "cpu-avx512", "cuda", "cuda-sm80", "cuda-sm90")
    near = None
    if isinstance(value, str):
        near = did_you_mean("cuda" if value.lower() in ("gpu", "nvidia") else value.replace("_", "-"), known)
    say(path, what, near or "write cpu, cpu-avx2, cpu-avx512, cuda, or cuda-sm and a number")
    return INVALID


def targets(value: Any, path: KeyPath, say: Report) -> Any:
    """Read at least one target, each once."""
    read = readers.list_of(target, "targets", may_be_empty=False)(value, path, say)
    if read is not INVALID:
        for index, one in enumerate(read):
            if one in read[:index]:
                say((*path, index), f"the target {quoted(one)} is listed twice", "keep one")
                return INVALID
    return read


def dotted(what: str) -> readers.Reader:
    """Read dotted identifiers, such as a module of the model or a method. `what` names it in messages."""

    def read(value: Any, path: KeyPath, say: Report) -> Any:
        value = readers.string(value, path, say)
        if value is INVALID or _DOTS.fullmatch(value) or (what != "method" and re.fullmatch(r"\w+(\.\w+)*", value)):
            return value
        say(path, f"{quoted(value)} is not the name of a {what}")
        return INVALID

    return readers.made(read, "dotted")


def operator(value: Any, path: KeyPath, say: Report) -> Any:
    """Read an operator: `aten.silu` or `aten.silu.default`."""
    value = readers.string(value, path, say)
    if value is INVALID or _OPERATOR.fullmatch(value):
        return value
    better = value.removeprefix("torch.ops.").replace("::", ".")
    better = better if _OPERATOR.fullmatch(better) else f"aten.{better}" if better.isidentifier() else "aten.silu"
    say(path, f"{quoted(value)} is not the name of an operator", f"write {quoted(better)}")
    return INVALID


def member(value: str) -> bool:
    """Return True if `value` can name a file inside an archive without leading out of it."""
    parts = value.replace("\\", "/").split("/")
    return value.isprintable() and ":" not in value and not any(part in ("", ".", "..") for part in parts)


def job(entry: str, ids: Iterable[str], target: str) -> str:
    """Return the name of a job, in the form of a pytest id: `bert-base[layers=4,float32]@cpu`."""
    inner = ",".join(ids)
    return f"{entry}[{inner}]@{target}" if inner else f"{entry}@{target}"


def folders(names: Sequence[str]) -> list[str]:
    """Return a folder name for every job name: safe on every file system, no two equal when case is ignored.

    A name that had to be cut, or that would clash with another, ends in a hash of the name, so that no folder
    depends on the order of the jobs.
    """
    simple = [_safe(name) for name in names]
    count = Counter(folder.lower() for folder in simple)
    result = simple
    for digits in (6, 16, 64):
        result = [
            _hashed(folder, name, digits) if len(folder) > MAX_FOLDER or count[folder.lower()] > 1 else folder
            for folder, name in zip(simple, names, strict=True)
        ]
        if len({folder.lower() for folder in result}) == len(names):
            break
    return result


def _safe(name: str) -> str:
    folder = _UNSAFE.sub("_", name)
    if folder.startswith((".", "-")) or _RESERVED.match(folder):
        folder = "_" + folder
    return folder if not folder.endswith(".") else folder + "_"  # Windows drops a dot at the end


def _hashed(folder: str, name: str, digits: int) -> str:
    return f"{folder[: MAX_FOLDER - 1 - digits]}-{hashlib.sha256(name.encode()).hexdigest()[:digits]}"
