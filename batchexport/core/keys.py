"""A key is the SHA-256 of one canonical encoding, tagged and versioned, so equal keys mean equal questions.

Every hashed structure is a list `[tag, version, ...]`: a change to what a key is made of raises
the version, and no two kinds of key can collide (DESIGN section 4).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

TOOLCHAIN_VERSION = 1
ASK_VERSION = 1
SOURCE_VERSION = 1
STATE_VERSION = 1
EXPORT_VERSION = 1
COMPILE_VERSION = 1
PACKAGE_VERSION = 1
VERIFY_VERSION = 1


def canonical(value: Any) -> bytes:
    """The one encoding of a JSON-like value: sorted keys, no spaces, ASCII.

    Raises:
        ValueError: on NaN or infinity, which have no JSON form.
        TypeError: on anything that is not JSON-like.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def digest(tag: str, version: int, *parts: Any) -> str:
    """The key (64 hex digits) of a tagged, versioned structure."""
    return hashlib.sha256(canonical([tag, version, *parts])).hexdigest()


def toolchain_key(facts: Mapping[str, Any]) -> str:
    """The key of what does the work: Python, torch, compiler, pipeline version, ISA, environment."""
    return digest("toolchain", TOOLCHAIN_VERSION, dict(facts))


def request_key(spec: Any, toolchain: str) -> str:
    """The key under which traces of earlier runs are kept: what was asked, and of which toolchain."""
    return digest("ask", ASK_VERSION, spec, toolchain)


def export_key(request_key: str, source: str, state: str) -> str:
    """spec + toolchain (both in `request_key`) + source + state ids."""
    return digest("export", EXPORT_VERSION, request_key, source, state)


def compile_key(
    *,
    program: str,
    layout: str,
    folded: str,
    spec: Any,
    toolchain: str,
    embedded_state: str | None,
) -> str:
    """program digest + state layout + constants that may be folded + target, options + toolchain.

    `embedded_state` is the digest of all state ids when the weights end up inside the code, else None.
    """
    return digest("compile", COMPILE_VERSION, program, layout, folded, spec, toolchain, embedded_state)


def package_key(compile_key: str, state: str) -> str:
    """Compiled code with one set of weights packed beside it."""
    return digest("package", PACKAGE_VERSION, compile_key, state)


def verify_key(*, artifacts: Sequence[str], reference: str, spec: Any, toolchain: str) -> str:
    """The bytes that will be shipped, the eager numbers they are held against, and how."""
    return digest("verify", VERIFY_VERSION, list(artifacts), reference, spec, toolchain)
