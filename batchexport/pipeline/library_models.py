"""Find models of timm, torchvision and transformers by name."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from batchexport.pipeline.failure import Kind, StageFailure, classified

SOURCES = ("timm", "torchvision", "transformers")
_NEAR = 0.8  # difflib's measure, from 0 to 1, for a name that is taken for a misspelling although it would be accepted


def library_model(reference: str) -> Callable[..., Any]:
    """Return what makes the model that `timm:NAME`, `torchvision:NAME` or `transformers:TYPE` names.

    Raises StageFailure of kind import or build.
    """
    source, _, name = reference.partition(":")
    try:
        library = importlib.import_module(source)
    except Exception as error:
        raise classified(error, Kind.IMPORT, f"importing {source}", f"install {source}") from error
    if source == "timm":
        return lambda **options: library.create_model(name, pretrained=False, **options)
    if source == "torchvision":
        models = importlib.import_module("torchvision.models")
        return lambda **options: models.get_model(name, weights=None, **options)
    return lambda **options: library.AutoModel.from_config(_library_config(library, name, options))


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
    for option in options:
        near = difflib.get_close_matches(option, list(known.to_dict()), n=1, cutoff=_NEAR)
        if not hasattr(known, option) and near:
            message = f"transformers:{name} would ignore the argument {option!r}"
            raise StageFailure(Kind.BUILD, message, f"did you mean {near[0]!r}?")
    return library.AutoConfig.for_model(name, **options)
