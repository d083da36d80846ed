"""Classify the error of a failed capture: as a case of exportdb, torch's own collection, or by torch's error type."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch._export.db.case import ExportCase, SupportLevel
from torch._export.db.logging import get_class_if_classified_error

from batchexport.pipeline.failure import causes, one_line, text_of
from batchexport.pipeline.guards import KNOWN_CALLS

_LINK = re.compile(r"exportdb/index\.html#([\w-]+)")
_GUARD = re.compile(r"satisfy the generated guard (.+)")
_CALL = re.compile(r"\b([A-Za-z_]\w*)\(")
# What differs between two errors of one sort: texts in quotes, symbols such as `u0`, numbers.
_PARTICULAR = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|\b[A-Za-z_]*\d+\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorClass:
    """The exportdb case that an error is one of, with what exportdb says of it, or None; and torch's error type."""

    case: str | None = None
    description: str = ""
    error_type: str | None = None

    @property
    def name(self) -> str | None:
        """Return the case, else the error type."""
        return self.case or self.error_type

    def __str__(self) -> str:
        """Return words to add to a message."""
        if self.case:
            return f" (torch's exportdb case {self.case})"
        return f" (torch's error type {self.error_type})" if self.error_type else ""


def classify(error: Exception) -> ErrorClass:
    """Return the class of an error of `torch.export`: the case that torch names, else the unsupported one like it."""
    error_type = next((name for cause in causes(error) if (name := _error_type(cause))), None)
    try:
        case = _named_case(error) or _similar_case(error)
    except Exception:  # these are private parts of torch, and the failure that is being explained is the one to tell
        case = None
    if case is None:
        return ErrorClass(error_type=error_type)
    return ErrorClass(case=case.name, description=" ".join(case.description.split()), error_type=error_type)


def _error_type(error: BaseException) -> str | None:
    """Return torch's type of a user's error, or of what Dynamo does not support."""
    found = getattr(getattr(error, "error_type", None), "name", None) or getattr(error, "gb_type", None)
    return found if isinstance(found, str) else None


@lru_cache(maxsize=1)
def _cases() -> Mapping[str, ExportCase]:
    """Return all cases by name. Importing them runs tensor operations, which the fork server must never do."""
    from torch._export.db import examples

    cases: Mapping[str, ExportCase] = examples.all_examples()  # type: ignore[no-untyped-call]
    return cases


def _named_case(error: Exception) -> ExportCase | None:
    """Return the case that torch names in an attribute of the error, or as a link in its text."""
    known = _cases()
    for cause in causes(error):
        named = get_class_if_classified_error(cause) if isinstance(cause, Exception) else None
        links = [link.replace("-", "_") for link in _LINK.findall(text_of(cause))]
        for name in (named, *links):
            if name in known:
                return known[name]
    return None


def _similar_case(error: Exception) -> ExportCase | None:
    """Return the case that exportdb calls unsupported and that fails in the same way, when it is exported here."""
    signs = _signs(error)
    return next((case for case, others in _unsupported() if signs & others), None)


@lru_cache(maxsize=1)
def _unsupported() -> tuple[tuple[ExportCase, frozenset[str]], ...]:
    """Export the cases that exportdb calls unsupported; return those that fail, with the signs of their errors."""
    found = []
    for case in _cases().values():
        if case.support_level is not SupportLevel.NOT_SUPPORTED_YET:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = copy.deepcopy(case.model)
                torch.export.export(
                    model, case.example_args, case.example_kwargs, dynamic_shapes=case.dynamic_shapes, strict=False
                )
        except Exception as error:
            found.append((case, _signs(error)))
    return tuple(found)


def _signs(error: Exception) -> frozenset[str]:
    """Return what another error of the same sort shares: a function in guards that torch can't solve, else its text."""
    text = text_of(error)
    if guards := _GUARD.findall(text):
        calls = {call for guard in guards for call in _CALL.findall(guard)}
        return frozenset(f"{call}(…) in a guard" for call in calls - KNOWN_CALLS - {"size"})
    if "Constraints violated" in text:  # for reasons that the manifest can satisfy
        return frozenset()
    return frozenset({_PARTICULAR.sub("…", one_line(error))})
