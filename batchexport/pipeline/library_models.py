"""Find models of timm, torchvision and transformers by name."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from batchexport.core.wheels import install_torchvision
from batchexport.pipeline.config_facts import value_in
from batchexport.pipeline.failure import Kind, StageFailure, classified

SOURCES = ("timm", "torchvision", "transformers")
_NEAR = 0.8  # difflib's measure, from 0 to 1, for a name that is taken for a misspelling although it would be accepted
_HEADS = "AutoModelFor"
_CACHE = "use_cache"
_NEEDED = re.compile(r"requires the (\w+) library")


def library_model(reference: str, head: str | None = None) -> Callable[..., Any]:
    """Return what makes the model that `timm:NAME`, `torchvision:NAME` or `transformers:TYPE` names.

    `head` is that of a transformers model: `SequenceClassification`. Raises StageFailure of kind import or build.
    """
    source, _, name = reference.partition(":")
    try:
        library = importlib.import_module(source)
    except Exception as error:
        raise classified(error, Kind.IMPORT, f"importing {source}", _to_install(source)) from error
    if source == "timm":
        return lambda **options: library.create_model(name, pretrained=False, **options)
    if source == "torchvision":
        models = importlib.import_module("torchvision.models")
        return lambda **options: models.get_model(name, weights=None, **options)
    return lambda **options: _transformer(library, name, head, options)


def is_transformer(spec: Mapping[str, Any]) -> bool:
    """Return whether an export spec names a model of transformers."""
    return bool(spec["model"].startswith("transformers:"))


def _to_install(source: str) -> str:
    if source == "transformers":
        return "pip install transformers"
    return install_torchvision(torch.__version__, *(["timm"] if source == "timm" else []))


def told_of(spec: Mapping[str, Any]) -> list[str]:
    """Return what the report says of the library model of an export spec: whether its caches were turned off."""
    source, _, name = spec["model"].partition(":")
    if not is_transformer(spec):
        return []
    config = importlib.import_module(source).AutoConfig.for_model(name, **spec["kwargs"])
    if all(map(_is_encoder, _unasked_caches(config, spec["kwargs"]))):
        return []
    return ["the model's caches of keys and values are off; `kwargs.use_cache = true` in the entry leaves them on"]


def _transformer(library: Any, name: str, head: str | None, options: Mapping[str, Any]) -> Any:
    """Make a model of transformers, without caches unless they are asked for. Raises StageFailure of kind build."""
    config = _library_config(library, name, options)
    for part in _unasked_caches(config, options):
        part.use_cache = False
    made = getattr(library, f"{_HEADS}{head}" if head else "AutoModel", None)
    if made is None:
        heads = [one.removeprefix(_HEADS) for one in dir(library) if one.startswith(_HEADS)]
        near = difflib.get_close_matches(str(head), heads, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else None
        raise StageFailure(Kind.BUILD, f"transformers has no head {head!r}", remedy)
    config.architectures = config.architectures or []  # read where a type has several models of one head
    try:
        return made.from_config(config)
    except ImportError as error:  # transformers names the package that a model needs beside it
        needed = _NEEDED.search(str(error))
        remedy = f"pip install {needed[1]}" if needed else None
        raise classified(error, Kind.IMPORT, f"building transformers:{name}", remedy) from error


def _unasked_caches(config: Any, options: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the configuration and those within it that have caches on, if the options do not speak of them."""
    if _CACHE in options:
        return
    if value_in(config, _CACHE):
        yield config
    for name, part in vars(config).items():
        if hasattr(part, "to_dict") and hasattr(part, "model_type"):
            inner = options.get(name)
            yield from _unasked_caches(part, inner if isinstance(inner, Mapping) else {})


def _is_encoder(config: Any) -> bool:
    """Return whether a configuration is that of an encoder, which returns no caches whatever it says of them."""
    return getattr(config, "is_decoder", None) is False and not getattr(config, "is_encoder_decoder", False)


def _library_config(library: Any, name: str, options: Mapping[str, Any]) -> Any:
    """Return the configuration of a transformers model. Raises StageFailure for a name or option that it has not.

    A configuration takes any option, and ignores the unknown.
    """
    try:
        known = library.AutoConfig.for_model(name)
    except ValueError as error:
        near = difflib.get_close_matches(name, list(library.CONFIG_MAPPING), n=1)
        remedy = f"did you mean 'transformers:{near[0]}'?" if near else None
        raise StageFailure(Kind.BUILD, f"transformers has no model {name!r}", remedy) from error
    names = list(known.to_dict())
    for option in options:
        near = difflib.get_close_matches(option, names, n=1, cutoff=_NEAR)
        if near and option not in names and value_in(known, option) is None:
            message = f"transformers:{name} would ignore the argument {option!r}"
            raise StageFailure(Kind.BUILD, message, f"did you mean {near[0]!r}?")
    return library.AutoConfig.for_model(name, **options)
