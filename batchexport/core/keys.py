"""Cache keys: the SHA-256 of a canonical encoding of everything that a result depends on.

Every hashed structure is a list `[tag, version, ...]`. The tag keeps kinds of keys from colliding. Raise the version
whenever the parts of a key change.
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
    """Encode a JSON-like value in its one canonical form: sorted keys, no spaces, ASCII.

    Raises:
        ValueError: on NaN or infinity, which have no JSON form.
        TypeError: on anything that is not JSON-like.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def digest(tag: str, version: int, *parts: Any) -> str:
    """Return the key (64 hex digits) of a tagged, versioned structure."""
    return hashlib.sha256(canonical([tag, version, *parts])).hexdigest()


def toolchain_key(facts: Mapping[str, Any]) -> str:
    """Return the key of the toolchain: Python, torch, compiler, pipeline version, ISA, environment."""
    return digest("toolchain", TOOLCHAIN_VERSION, dict(facts))


def request_key(spec: Any, toolchain: str) -> str:
    """Return the key under which traces of earlier runs are kept, made of the request and the toolchain."""
    return digest("ask", ASK_VERSION, spec, toolchain)


def export_key(request_key: str, source: str, state: str) -> str:
    """Return the key of an exported program: spec and toolchain (both in `request_key`), source, state ids."""
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
    """Return the key of compiled code.

    `program` is the digest of the graph, `layout` that of the state without contents, `folded` that of constants
    that may be folded, `spec` the target and options. `embedded_state` is the digest of all state ids when the
    weights end up inside the code, else None.
    """
    return digest("compile", COMPILE_VERSION, program, layout, folded, spec, toolchain, embedded_state)


def package_key(compile_key: str, state: str) -> str:
    """Return the key of compiled code packed with one set of weights."""
    return digest("package", PACKAGE_VERSION, compile_key, state)


def verify_key(*, artifacts: Sequence[str], reference: str, spec: Any, toolchain: str) -> str:
    """Return the key of a verification: the artifacts, the eager outputs they are compared with, and how."""
    return digest("verify", VERIFY_VERSION, list(artifacts), reference, spec, toolchain)
